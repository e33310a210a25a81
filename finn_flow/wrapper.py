"""The FINN-facing Verilog wrapper of one layer instance: AXI-stream port names, padding, reset polarity, parameters."""

from __future__ import annotations

import inspect
from pathlib import Path

from .layers.base import Constants, Layer
from .load import BUS, loaded, streamed

RTL = Path(__file__).resolve().parent.parent / "rtl"


def sources(layer: type[Layer]) -> list[Path]:
    """SystemVerilog files of a layer: what its kernel instantiates and, last, the kernel.

    A file beside the declaration (a layer outside this tree, see ``layers/__init__.py``) is taken before one in rtl/.
    """
    beside = Path(inspect.getfile(layer)).parent
    files = [f"{n}.sv" for n in (*dict.fromkeys(("bv_util", *layer.sources)), f"bv_{layer.stem}")]
    return [next((d / f for d in (beside, RTL) if (d / f).exists()), RTL / f) for f in files]


def follows_schedule(layer: Layer) -> bool:
    """Whether the layer takes the numbers of its constant sets from the gate of an engine."""
    return layer.repeat == 0 and bool(layer.constants())


def memory_files(layer: Layer, name: str, constants: Constants) -> dict[str, list[str]]:
    """File name -> lines of every memory image of instance ``name`` (not of those that arrive from outside)."""
    late = [*loaded(layer), *streamed(layer)]
    return {f"{name}_{k.lower()}.mem": m.hex_lines() for k, m in layer.memories(constants).items() if k not in late}


def wrapper(layer: Layer, name: str, constants: Constants, first_target: int = 0) -> str:
    """Verilog source of module ``name``.

    Args:
        first_target: target number of the first memory that a loader fills, in the order of :func:`.load.loaded`. Such
            a module has the load bus as ports ``load_in`` and, a register later, ``load_out``. A memory whose words
            come as a stream is an AXI stream port ``<name>_V``.
    """
    ins, outs = layer.inputs(), layer.outputs()
    late, coming = loaded(layer), streamed(layer)
    ports = ["input wire ap_clk", "input wire ap_rst_n"]
    for k, d, streams in (("in", "input", ins), ("out", "output", outs)):
        back = "output" if d == "input" else "input"
        for i, st in enumerate(streams):
            p = f"{k}{i}_V"
            ports += [f"{d} wire [{st.padded_width - 1}:0] {p}_TDATA", f"{d} wire {p}_TVALID",
                      f"{back} wire {p}_TREADY"]
    params = [f".{k}({verilog_number(v)})" for k, v in layer.rtl_parameters().items()]
    params += [f'.{k}_FILE("{name}_{k.lower()}.mem")' for k in layer.memories(constants)
               if k not in (*late, *coming)]
    params += [f".{k}_TARGET({first_target + i})" for i, k in enumerate(late)]
    params += [f'.{k}_STYLE("{style}")' for k, style in layer.style_map().items()]
    conns = [".clk(ap_clk)", ".rst(!ap_rst_n)"]
    body = []
    if layer.stem == "loop":
        ports.append("output wire [63:0] schedule")
        conns.append(".schedule(schedule)")
    elif follows_schedule(layer):
        ports.append("input wire [63:0] schedule")
        conns.append(".schedule(schedule)")
    if late:
        ports += [f"input wire [{BUS - 1}:0] load_in", f"output reg [{BUS - 1}:0] load_out"]
        body.append("  always @(posedge ap_clk) load_out <= load_in;")
        conns.append(".load(load_out)")
    for k in coming:
        width = layer.memories(constants)[k].width
        p, n = f"{k.lower()}_V", k.lower()
        ports += [f"input wire [{-(-width // 8) * 8 - 1}:0] {p}_TDATA", f"input wire {p}_TVALID",
                  f"output wire {p}_TREADY"]
        conns += [f".{n}_data({p}_TDATA[{width - 1}:0])", f".{n}_valid({p}_TVALID)", f".{n}_ready({p}_TREADY)"]
    for i, st in enumerate(ins):
        conns += [f".in{i}_data(in{i}_V_TDATA[{st.width - 1}:0])", f".in{i}_valid(in{i}_V_TVALID)",
                  f".in{i}_ready(in{i}_V_TREADY)"]
    for i, st in enumerate(outs):
        body.append(f"  wire [{st.width - 1}:0] out{i}_data;")
        pad = st.padded_width - st.width
        body.append(f"  assign out{i}_V_TDATA = " + (f"{{{pad}'d0, out{i}_data}};" if pad else f"out{i}_data;"))
        conns += [f".out{i}_data(out{i}_data)", f".out{i}_valid(out{i}_V_TVALID)", f".out{i}_ready(out{i}_V_TREADY)"]
    nl = ",\n    "
    return (f"// Generated: instance {name} of bv_{layer.stem}.\n`default_nettype none\n"
            f"module {name} (\n    {nl.join(ports)}\n);\n" + "\n".join(body) + "\n"
            f"  bv_{layer.stem} #(\n    {nl.join(params)}\n  ) core (\n    {nl.join(conns)}\n  );\n"
            "endmodule\n`default_nettype wire\n")


def verilog_number(value: int) -> str:
    """A Verilog number. A plain one has 32 bits; larger ones get the width of the kernels' packed parameters."""
    return str(value) if abs(value) < 2**31 else f"512'h{value:x}"
