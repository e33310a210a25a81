"""The parts of the shell and how they are connected: one table, from which the simulated top is generated.

A board's block design (tcl/block_design.tcl) draws the same connections; a test compares them. Designs whose constants
come from outside have a fourth part, the feeder: generated here around bhvit_feeder, bhvit_loader and bhvit_constants.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from ..load import BUS
from ..stitch import TOP
from .design import CONTROL_TOP, DMA_TOP, FEEDER_TOP, SHELL, SHELL_TOP, ShellParameters

Port = tuple[str, int, str]  #: (direction, width, name)
CLOCK, RESET = "ap_clk", "ap_rst_n"
_PORT = re.compile(r"^\s*(input|output)\s+logic\s*(?:\[([^\]]*):0\])?\s*([\w\s,]+?),?\s*(?://.*)?$")
_STREAM = ("tdata", "tvalid", "tready")


def ports(module: str, parameters: dict[str, int]) -> list[Port]:
    """Ports of ``rtl/shell/<module>.sv`` with these parameters."""
    text = (SHELL / f"{module}.sv").read_text()
    head = text[text.index("\n) (\n"): text.index("\n);\n")]
    found = []
    for line in head.splitlines():
        m = _PORT.match(line)
        if m:
            top = m[2]
            width = 1 if top is None else int(eval(top.replace("/", "//"), {"__builtins__": {}}, dict(parameters))) + 1
            found += [(m[1], width, n.strip()) for n in m[3].split(",")]
    return found


def _module(name: str, declared: list[Port], body: list[str], about: str) -> str:
    lines = ",\n".join(f"    {d} wire {f'[{w - 1}:0] ' if w > 1 or _is_vector(n) else ''}{n}" for d, w, n in declared)
    return (f"// Generated: {about}.\n`default_nettype none\nmodule {name} (\n{lines}\n);\n" + "\n".join(body)
            + "\nendmodule\n`default_nettype wire\n")


def _instance(module: str, name: str, parameters: dict[str, int], connections: dict[str, str]) -> str:
    values = ", ".join(f".{k}({_number(k, v)})" for k, v in parameters.items())
    connected = ",\n".join(f"    .{p}({net})" for p, net in connections.items())
    return f"  {module} {f'#({values}) ' if values else ''}{name} (\n{connected}\n  );"


def _number(name: str, value: int) -> str:
    width = {"BUILD_HASH": 128, "BYTES": 256}.get(name)
    return str(value) if width is None else f"{width}'h{value:0{width // 4}x}"


def _is_vector(name: str) -> bool:
    """Ports that AXI declares as vectors even when they have one bit."""
    return name.endswith(("tdata", "wstrb"))


def verilog_top(name: str, module: str, parameters: dict[str, int]) -> str:
    """A Verilog module without parameters around ``module``: what IP packagers and simulators take as top."""
    ps = ports(module, parameters)
    return _module(name, ps, [_instance(module, "inst", parameters, {n: n for _, _, n in ps})],
                   f"{module} with the parameters of a build")


#: memory ports of the processing system that the feeder may have, beside that of the DMA
MEMORY_PORTS = 3


# ---- the feeder ---------------------------------------------------------------------------------------------------
def weight_stream(i: int) -> str:
    """Name of a stream of weights at the feeder and at the accelerator."""
    return f"weight{i}_V"


def requests(i: int) -> str:
    """Name of the stream on which the accelerator asks for words of a port."""
    return f"weight{i}_R"


def feeding_streams(p: ShellParameters) -> list[str]:
    """Streams between feeder and accelerator, in either direction."""
    return [*(weight_stream(i) for i in range(len(p.weights))), *(requests(i) for i in p.asked)]


def masters(p: ShellParameters) -> list[str]:
    """AXI read masters of the feeder."""
    return [*(["m_axi_load"] if p.load else []), *(f"m_axi_weight{i}" for i in range(len(p.weights)))]


def memory_ports(p: ShellParameters) -> list[list[str]]:
    """Read masters of the feeder by the memory port of the processing system that they share.

    As few ports as have twice the bytes per cycle that a frame needs, three at most; the master that reads most goes
    first, each to the port with the least to do. What is loaded once, before the first frame, counts as nothing.
    """
    passes = p.passes or (1,) * len(p.weights)
    need = {"m_axi_load": 0} | {f"m_axi_weight{i}": words * size * n
                                for i, ((words, size), n) in enumerate(zip(p.weights, passes, strict=True))}
    need = {m: need[m] for m in masters(p)}
    enough = math.ceil(2 * 8 * sum(need.values()) / (p.axi_bits * p.cycles)) if p.cycles else 1
    ports: list[list[str]] = [[] for _ in range(max(1, min(MEMORY_PORTS, enough, len(need))))]
    for m in sorted(need, key=lambda m: -need[m]):
        min(ports, key=lambda port: (sum(need[n] for n in port), len(port))).append(m)
    return [sorted(port, key=masters(p).index) for port in ports] if need else []


def feeder_ports(p: ShellParameters) -> list[Port]:
    """Ports of the feeder of a design, those of a packaged part."""
    inner = ("loader_rst", "loader_start", "table_addr", "loader_state", "loader_quiet")
    found = [q for q in ports("bhvit_feeder", {}) if q[2] not in inner and not (
        q[2].startswith("weights_") and q[2] not in ("weights_open", "weights_failed"))]
    if p.load:
        found.append(("output", BUS, "load"))
        found += _axi(ports("bhvit_loader", {}), "m_axi_load")
    for i, (_words, size) in enumerate(p.weights):
        s = weight_stream(i)
        found += [("output", 8 * size, f"{s}_tdata"), ("output", 1, f"{s}_tvalid"), ("input", 1, f"{s}_tready")]
        if i in p.asked:
            r = requests(i)
            found += [("input", 64, f"{r}_tdata"), ("input", 1, f"{r}_tvalid"), ("output", 1, f"{r}_tready")]
        found += _axi(ports("bhvit_constants", {"DW": p.axi_bits, "OB": size, "LB": 32}), f"m_axi_weight{i}")
    return found


def _axi(found: list[Port], prefix: str) -> list[Port]:
    return [(d, w, prefix + n.removeprefix("m_axi")) for d, w, n in found if n.startswith("m_axi_")]


def _masters(module: str, parameters: dict[str, int], prefix: str) -> dict[str, str]:
    """Connections of the AXI ports of a reader."""
    return {n: prefix + n.removeprefix("m_axi") for _, _, n in ports(module, parameters) if n.startswith("m_axi_")}


def feeder(p: ShellParameters) -> str:
    """Verilog of the feeder: registers, loader, one reader for each port of weights."""
    declared = feeder_ports(p)
    body = ["  wire loader_rst, loader_start, loader_quiet, weights_rst, weights_enable, weights_halt;",
            "  wire [63:0] table_addr;", "  wire [511:0] weights_addr;", "  wire [7:0] weights_quiet;",
            "  wire [15:0] weights_error;", "  wire [1:0] loader_state;"]
    own = {n: n for _, _, n in ports("bhvit_feeder", {})}
    body.append(_instance("bhvit_feeder", "u_registers", p.of_feeder(), own))
    burst = {"BURST": p.burst, "OUTSTANDING": p.outstanding}
    if p.load:
        # the bus never waits; its first register is here
        body += ["  wire load_head, load_last, load_valid;", "  wire [63:0] load_data;",
                 f"  reg [{BUS - 1}:0] load_bus;", "  assign load = load_bus;",
                 "  always @(posedge ap_clk) load_bus <= {load_valid && !loader_rst, load_head, load_data};"]
        nets = {"clk": CLOCK, "rst": "loader_rst", "start": "loader_start", "halt": "1'b0", "table_addr": "table_addr",
                "status": "loader_state", "quiet": "loader_quiet", "load_data": "load_data", "load_head": "load_head",
                "load_last": "load_last", "load_valid": "load_valid", "load_ready": "1'b1"}
        body.append(_instance("bhvit_loader", "u_loader", burst, nets | _masters("bhvit_loader", {}, "m_axi_load")))
    else:
        body += ["  assign loader_state = 2'd0;", "  assign loader_quiet = 1'b1;"]
    for i, (words, size) in enumerate(p.weights):
        s = weight_stream(i)
        nets = {"clk": CLOCK, "rst": "weights_rst", "enable": "weights_enable", "halt": "weights_halt",
                "addr": f"weights_addr[{64 * i + 63}:{64 * i}]",
                "quiet": f"weights_quiet[{i}]", "error": f"weights_error[{2 * i + 1}:{2 * i}]",
                "out0_data": f"{s}_tdata", "out0_valid": f"{s}_tvalid", "out0_ready": f"{s}_tready"}
        module, values = "bhvit_constants", {"DW": p.axi_bits, **burst, "LB": 32, "OB": size}
        if i in p.asked:
            module, values = "bhvit_sets", {"DW": p.axi_bits, **burst}
            nets |= {f"ask_{k}": f"{requests(i)}_t{k}" for k in ("data", "valid", "ready")}
        else:
            nets["length"] = f"32'd{words * size}"
        body.append(_instance(module, f"u_weight{i}", values, nets | _masters(module, values, f"m_axi_weight{i}")))
    n = len(p.weights)
    spare = ["load_last"] if p.load else ["loader_rst", "loader_start", "table_addr"]
    spare += [] if n else ["weights_rst", "weights_enable", "weights_halt"]
    spare += [f"weights_addr[511:{64 * n}]"] if n < 8 else []
    body += ["  wire unused;", f"  assign unused = &{{1'b0, {', '.join(spare)}}};"]
    if n < 8:
        body += [f"  assign weights_quiet[7:{n}] = {8 - n}'d{(1 << 8 - n) - 1};",
                 f"  assign weights_error[15:{2 * n}] = {16 - 2 * n}'d0;"]
    return _module(FEEDER_TOP, declared, body, "loader and readers of weights of a build")


# ---- the shell ----------------------------------------------------------------------------------------------------
def accelerator_ports(p: ShellParameters) -> list[Port]:
    """Ports of the stitched design."""
    found = [("input", 1, CLOCK), ("input", 1, RESET), *_axis("input", "in0_V", p.in_bytes),
             *_axis("output", "out0_V", p.out_bytes)]
    if p.load:
        found.append(("input", BUS, "load"))
    for i, (_, size) in enumerate(p.weights):
        found += _axis("input", weight_stream(i), size)
    for i in p.asked:
        found += _axis("output", requests(i), 8)
    return found


def _axis(direction: str, name: str, size: int) -> list[Port]:
    back = "output" if direction == "input" else "input"
    return [(direction, 8 * size, f"{name}_TDATA"), (direction, 1, f"{name}_TVALID"), (back, 1, f"{name}_TREADY")]


def links(p: ShellParameters) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(nets, streams): pairs "part/pin" or "part/interface", driver first, besides clock and reset."""
    nets = [(f"control/{n}", f"dma/{n}") for n in ("drain", "clear")]
    nets += [(f"dma/{n}", f"control/{n}") for n in ("drained", "in_beat", "out_beat", "mm2s_failed", "s2mm_failed")]
    nets.append(("control/accel_rst_n", f"accelerator/{RESET}"))
    streams = [("dma/m_axis", "accelerator/in0_V"), ("accelerator/out0_V", "dma/s_axis")]
    if p.feeder:
        nets += [(f"control/{n}", f"feeder/{n}") for n in ("drain", "clear")]
        nets += [(f"feeder/{n}", f"control/{n}") for n in ("loader_status", "weights_open", "weights_failed")]
        nets.append(("feeder/hold", "dma/hold"))
        if p.load:
            nets.append(("feeder/load", "accelerator/load"))
        streams += [(f"feeder/{weight_stream(i)}", f"accelerator/{weight_stream(i)}") for i in range(len(p.weights))]
        streams += [(f"accelerator/{requests(i)}", f"feeder/{requests(i)}") for i in p.asked]
    return nets, streams


#: inputs of the parts that are 0 in designs without a feeder
UNUSED = {"dma": ("hold",), "control": ("loader_status", "weights_open", "weights_failed")}


def shell(p: ShellParameters) -> str:
    """Verilog of the simulated top: all parts; what is not connected between them is a port."""
    parts: dict[str, tuple[str, list[Port]]] = {
        "dma": (DMA_TOP, ports("bhvit_dma", p.of_dma())),
        "control": (CONTROL_TOP, ports("bhvit_control", p.of_control()))}
    if p.feeder:
        parts["feeder"] = (FEEDER_TOP, feeder_ports(p))
    parts["accelerator"] = (TOP, accelerator_ports(p))
    widths = {f"{part}/{n}": w for part, (_, ps) in parts.items() for _, w, n in ps}
    nets, streams = links(p)
    for a, b in streams:
        nets += [tuple(f"{e}_{_case(e, s)}" for e in (a, b)) for s in _STREAM]
    wire: dict[str, str] = {}
    for a, b in nets:
        assert widths[a] == widths[b], f"{a} has {widths[a]} bits, {b} {widths[b]}"
        wire[a] = wire[b] = wire.get(a) or a.replace("/", "_")
    declared: list[Port] = [("input", 1, CLOCK), ("input", 1, RESET)]
    body = [f"  wire {f'[{widths[e] - 1}:0] ' if widths[e] > 1 else ''}{n};"
            for e, n in wire.items() if n == e.replace("/", "_")]
    for part, (module, ps) in parts.items():
        connections = {}
        for d, w, n in ps:
            end = f"{part}/{n}"
            if end in wire:
                connections[n] = wire[end]
            elif n in (CLOCK, RESET):
                connections[n] = n
            elif n in UNUSED.get(part, ()):
                connections[n] = f"{w}'d0"
            else:
                connections[n] = n.replace("s_axi_", f"s_axi_{part}_", 1) if n.startswith("s_axi_") else n
                declared.append((d, w, connections[n]))
        body.append(_instance(module, f"u_{part}", {}, connections))
    return _module(SHELL_TOP, declared, body, "the shell of a build and its accelerator")


def _case(end: str, suffix: str) -> str:
    return suffix.upper() if end.startswith("accelerator/") else suffix


def write_tops(p: ShellParameters, folder: Path, *, whole: bool) -> dict[str, Path]:
    """Write the generated Verilog by part: dma, control, feeder where there is one, and with ``whole`` the shell."""
    texts = {"dma": (DMA_TOP, verilog_top(DMA_TOP, "bhvit_dma", p.of_dma())),
             "control": (CONTROL_TOP, verilog_top(CONTROL_TOP, "bhvit_control", p.of_control()))}
    if p.feeder:
        texts["feeder"] = (FEEDER_TOP, feeder(p))
    if whole:
        texts["shell"] = (SHELL_TOP, shell(p))
    made = {}
    for part, (name, text) in texts.items():
        made[part] = folder / f"{name}.v"
        made[part].write_text(text)
    return made
