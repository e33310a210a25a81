"""The FINN-facing Verilog wrapper of one layer instance: AXI-stream port names, padding, reset polarity, parameters."""

from __future__ import annotations

import inspect
from pathlib import Path

from .layers.base import Constants, Layer
from .load import BUS, beats_of_set, fetched, loaded, streamed, stride

RTL = Path(__file__).resolve().parent.parent / "rtl"
#: what layers need whose sets are fetched, beside their kernels
FETCHING = ("bv_fifo", "bv_sets", "bv_fetch")


def sources(layer: type[Layer] | Layer) -> list[Path]:
    """SystemVerilog files of a layer: what its kernel instantiates and, last, the kernel.

    A file beside the declaration (a layer outside this tree, see ``layers/__init__.py``) is taken before one in rtl/.
    """
    fetches = isinstance(layer, Layer) and layer.held
    beside = Path(inspect.getfile(type(layer) if isinstance(layer, Layer) else layer)).parent
    more = FETCHING if fetches else ("bv_fifo",) if isinstance(layer, Layer) and streamed(layer) else ()
    files = [f"{n}.sv" for n in (*dict.fromkeys(("bv_util", *more, *layer.sources)), f"bv_{layer.stem}")]
    return [next((d / f for d in (beside, RTL) if (d / f).exists()), RTL / f) for f in files]


def follows_schedule(layer: Layer) -> bool:
    """Whether the layer takes the numbers of its constant sets from the gate of an engine."""
    return layer.repeat == 0 and bool(layer.constants())


def memory_files(layer: Layer, name: str, constants: Constants) -> dict[str, list[str]]:
    """File name -> lines of every memory image of instance ``name`` (not of those that arrive from outside)."""
    late = [*loaded(layer), *streamed(layer), *fetched(layer)]
    return {f"{name}_{k.lower()}.mem": m.hex_lines() for k, m in layer.memories(constants).items() if k not in late}


def wrapper(layer: Layer, name: str, constants: Constants, first_target: int = 0, offset: int = 0) -> str:
    """Verilog source of module ``name``.

    Args:
        offset: bytes up to its first set in the memory of the system, where sets are fetched; such a module asks for
            them (stream ``ask_V``) and takes them (``set_V``).
        first_target: target number of the first memory that a loader fills, in the order of :func:`.load.loaded`. Such
            a module has the load bus as ports ``load_in`` and, a register later, ``load_out``. A memory whose words
            come as a stream is an AXI stream port ``<name>_V``.
    """
    ins, outs = layer.inputs(), layer.outputs()
    late, coming, sets = loaded(layer), streamed(layer), fetched(layer)
    ports = ["input wire ap_clk", "input wire ap_rst_n"]
    for k, d, streams in (("in", "input", ins), ("out", "output", outs)):
        back = "output" if d == "input" else "input"
        for i, st in enumerate(streams):
            p = f"{k}{i}_V"
            ports += [f"{d} wire [{st.padded_width - 1}:0] {p}_TDATA", f"{d} wire {p}_TVALID",
                      f"{back} wire {p}_TREADY"]
    values = {**layer.rtl_parameters(), **({"SETS": layer.held, "REPEAT": 1} if sets else {})}
    params = [f".{k}({verilog_number(v)})" for k, v in values.items()]
    params += [f'.{k}_FILE("{name}_{k.lower()}.mem")' for k in layer.memories(constants)
               if k not in (*late, *coming, *sets)]
    params += [f".{k}_TARGET({first_target + i})" for i, k in enumerate(late)]
    params += [f".{k}_TARGET({i})" for i, k in enumerate(sets)]
    params += [f'.{k}_STYLE("{style}")' for k, style in layer.style_map().items()]
    conns = [".clk(ap_clk)", ".rst(!ap_rst_n)"]
    body = []
    if layer.stem == "loop":
        ports += ["output wire [63:0] schedule", "output wire [3:0] admitted"]
        conns += [".schedule(schedule)", ".admitted(admitted)"]
    elif sets:
        ports += ["input wire [63:0] schedule", "input wire [3:0] admitted",
                  "output wire [63:0] ask_V_TDATA", "output wire ask_V_TVALID", "input wire ask_V_TREADY",
                  "input wire [63:0] set_V_TDATA", "input wire set_V_TVALID", "output wire set_V_TREADY"]
        body.append(set_cell(layer, constants, offset))
        conns.append(".load(load)")
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
        # two registers, as in front of every other input: the words come from outside
        body.append(f"  wire [{width - 1}:0] {n}_data; wire {n}_valid, {n}_ready;\n"
                    f"  bv_fifo #(.WIDTH({width}), .DEPTH(2), .ID(-1)) {n}_fifo (.clk(ap_clk), .rst(!ap_rst_n), "
                    f".in0_data({p}_TDATA[{width - 1}:0]),\n    .in0_valid({p}_TVALID), .in0_ready({p}_TREADY), "
                    f".out0_data({n}_data), .out0_valid({n}_valid),\n    .out0_ready({n}_ready));")
        conns += [f".{n}_{k}({n}_{k})" for k in ("data", "valid", "ready")]
    for i, st in enumerate(ins):
        gated = sets and i == 0
        conns += [f".in{i}_data(in{i}_V_TDATA[{st.width - 1}:0])",
                  f".in{i}_valid(in{i}_V_TVALID{' && open' if gated else ''})",
                  f".in{i}_ready({'in0_ready' if gated else f'in{i}_V_TREADY'})"]
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


def set_cell(layer: Layer, constants: Constants, offset: int) -> str:
    """The cell that fetches the sets of a layer: without the frame's set, the layer gets no beat of in0."""
    words, beats, size = beats_of_set(layer, constants)
    values = {"SETS": layer.sets, "MEMORIES": len(words), "WORDS": packed(words), "BEATS": packed(beats),
              "OFFSET": offset, "BYTES": size, "STRIDE": stride(size), "IN_BEATS": layer.inputs()[0].beats,
              "OUT_BEATS": layer.outputs()[0].beats}
    return (f"  wire open, in0_ready;\n  wire [{BUS - 1}:0] load;\n  assign in0_V_TREADY = in0_ready && open;\n"
            f"  bv_sets #({', '.join(f'.{k}({v})' for k, v in values.items())}) sets (\n"
            "    .clk(ap_clk), .rst(!ap_rst_n), .schedule(schedule), .admitted(admitted),\n"
            "    .in_beat(in0_V_TVALID && in0_V_TREADY), .out_beat(out0_V_TVALID && out0_V_TREADY), .open(open),\n"
            "    .ask_data(ask_V_TDATA), .ask_valid(ask_V_TVALID), .ask_ready(ask_V_TREADY), .set_data(set_V_TDATA),\n"
            "    .set_valid(set_V_TVALID), .set_ready(set_V_TREADY), .load(load));")


def packed(numbers: list[int]) -> str:
    """A Verilog constant of 512 bits with 32 bits for each number, the first one lowest."""
    return f"512'h{sum(n << 32 * i for i, n in enumerate(numbers)):x}"


def verilog_number(value: int) -> str:
    """A Verilog number. A plain one has 32 bits; larger ones get the width of the kernels' packed parameters."""
    return str(value) if abs(value) < 2**31 else f"512'h{value:x}"
