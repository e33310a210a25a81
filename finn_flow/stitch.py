"""The stitched design: one Verilog module per node, their memory images, and the top level that connects them.

Written by :func:`stitch` into a folder laid out like FINN's ``stitched_ip``:

    finn_design_wrapper.v    top level: ap_clk, ap_rst_n, in0_V_*, out0_V_*
    all_verilog_srcs.txt     every source file, relative, in compile order
    rtl/                     the kernels that are used, copied
    ip/<node>.v              the wrapper of each node
    hls/<node>/              what Vitis HLS wrote for a node that takes it in place of its kernel
    mem/<node>_<memory>.mem  constants; looked up by their basename (run simulations in this folder)
    mem/<port>.bin           words of weights that come as a stream, each in whole bytes (ports weight<i>_V), or sets
                             that the layers of an engine ask for (bv_sets) on a port weight<i>_R
    mem/load.bin             constants that a start-up loader writes (see :mod:`.load`), where there are any
    design.json              streams, nodes, FIFO numbers: what simulation and host need to know
    graph.onnx               the hardware graph that the design was made from
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import fetch, graph, implementation, load, ops
from .hls.vitis.rtl import HlsRtl, check_names, modules
from .streams import DType, Stream
from .wrapper import follows_schedule, memory_files, sources, wrapper

TOP = "finn_design_wrapper"


def stream_dict(st: Stream) -> dict[str, Any]:
    return {**asdict(st), "dtype": st.dtype.name, "dims": list(st.dims), "beats": st.beats, "width": st.width}


def stream_from_dict(d: dict[str, Any]) -> Stream:
    return Stream(tuple(d["dims"]), DType.from_name(d["dtype"]), d["SIMD"], d["TP"])


@dataclass(frozen=True)
class Design:
    """A stitched design on disk."""

    folder: Path
    inputs: list[Stream]
    outputs: list[Stream]
    fifos: list[str]
    nodes: dict[str, dict[str, Any]]
    loads: list[dict[str, Any]] = field(default_factory=list)
    #: weights that stay in the memory of the system: port, node, memory, words and bytes of a word, passes: how often
    #: a frame reads them all; asked: in the order of requests (stream weight<i>_R), not over and over
    weights: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Design:
        d = json.loads((folder / "design.json").read_text())
        ins, outs = ([stream_from_dict(s) for s in d[k]] for k in ("inputs", "outputs"))
        return cls(Path(folder), ins, outs, d["fifos"], d["nodes"], d.get("loads", []), d.get("weights", []))

    @property
    def sources(self) -> list[Path]:
        return [self.folder / f for f in (self.folder / "all_verilog_srcs.txt").read_text().split()]

    @property
    def memories(self) -> Path:
        return self.folder / "mem"

    @property
    def load_file(self) -> Path | None:
        """What has to be loaded at start-up, None when every memory has initial contents."""
        return self.memories / load.FILE if self.loads else None

    @property
    def max_cycles(self) -> int:
        """Estimated cycles per frame of the slowest node."""
        return max(n["cycles"] for n in self.nodes.values())

    @property
    def total_cycles(self) -> int:
        """Sum of all nodes' cycles: no latency is much longer, patience is measured in it."""
        return sum(n["cycles"] for n in self.nodes.values())


def load_hls(model: ModelWrapper, folders: Mapping[str, Path]) -> dict[str, HlsRtl]:
    """The Verilog of the nodes that take what Vitis HLS wrote.

    Raises:
        UserError: there is no such node, or a folder does not hold its Verilog.
    """
    known = {n.name for n in model.graph.node}
    for name in folders:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise UserError(f"`hls_rtl` names a node that the design does not have: `{name}`.", folders[name],
                            do=f"did you mean {' or '.join(near)}?" if near else "design.json of a build lists them")
    return {name: HlsRtl.load(place, name) for name, place in folders.items()}


def _copy_hls(instances: list[HlsRtl], folder: Path) -> list[str]:
    """Copy Verilog of Vitis HLS into ``hls/<node>``; relative names, each module once."""
    listed, seen = [], set()
    for r in instances:
        (folder / "hls" / r.node).mkdir(parents=True)
        for f in r.sources:
            shutil.copyfile(f, folder / "hls" / r.node / f.name)
            names = set(modules(f.read_text()))
            if not names <= seen:
                listed.append(f"hls/{r.node}/{f.name}")
            seen |= names
    return listed


def _refuse_fetching(model: ModelWrapper, hls: Mapping[str, HlsRtl]) -> None:
    gates = graph.gates(model)
    for n in model.graph.node:
        if ops.layer_from_node(n).held and (found := {n.name, gates[n.name]} & set(hls)):
            raise UserError("Sets of constants can only be fetched for layers and gates in RTL.", ", ".join(found),
                            "Verilog of Vitis HLS has no port for them",
                            "take it out of `hls_rtl`, or its stage out of `memory.fetch`")


def stitch(model: ModelWrapper, folder: Path, hls_rtl: Mapping[str, Path] | None = None) -> Design:
    """Write the stitched design of a streaming graph (see :mod:`graph`) into ``folder``, which is emptied.

    Args:
        hls_rtl: folders with Verilog of Vitis HLS by the names of nodes that take it (see :mod:`.hls.vitis.rtl`).
    Raises:
        UserError: an HLS node has no Verilog, or its sets are to be fetched.
    """
    graph.check_streaming(model)
    implementation.refuse_without_verilog(model, hls_rtl or {}, folder)
    hls = load_hls(model, hls_rtl or {})
    _refuse_fetching(model, hls)
    folder = Path(folder)
    if folder.exists():
        shutil.rmtree(folder)
    for d in ("rtl", "ip", "mem"):
        (folder / d).mkdir(parents=True)
    used: dict[str, Path] = {}
    nodes: dict[str, dict[str, Any]] = {}
    instances: list[str] = []
    wires: list[str] = []
    es = graph.edges(model)
    inputs = sorted((e for e in es if e.source is None), key=lambda e: e.source_port)
    outputs = sorted((e for e in es if e.sink is None and e.sink_port >= 0), key=lambda e: e.sink_port)
    net = {e.tensor: f"in{e.source_port}_V" for e in inputs}
    for i, e in enumerate(es):
        if e.source is not None and not (e.sink is None and e.sink_port >= 0):
            net[e.tensor] = f"s{i}"
            width = graph.source_stream(model, e).padded_width
            wires.append(f"  wire [{width - 1}:0] s{i}_TDATA; wire s{i}_TVALID, s{i}_TREADY;")
            if e.sink is None:
                wires.append(f"  assign s{i}_TREADY = 1'b1;  // output {e.source_port} of "
                             f"{model.graph.node[e.source].name} is not used")
    for e in outputs:
        net[e.tensor] = f"out{e.sink_port}_V"
    gates = graph.gates(model)
    loads: list[dict[str, Any]] = []
    segments: list[load.Segment] = []
    weights: list[dict[str, Any]] = []
    bus = "load"
    fetched = fetch.plan(model)
    for n in model.graph.node:
        layer, constants = ops.layer_of(n, model)
        if n.name in hls:
            (folder / "ip" / f"{n.name}.v").write_text(hls[n.name].wrapper(layer))
            for f in hls[n.name].data:
                shutil.copyfile(f, folder / "mem" / f.name)
        else:
            for f in sources(layer):
                used[f.name] = f
            for name, lines in memory_files(layer, n.name, constants).items():
                (folder / "mem" / name).write_text("\n".join(lines) + "\n")
            (folder / "ip" / f"{n.name}.v").write_text(wrapper(layer, n.name, constants, len(loads),
                                                               fetched.offsets.get(n.name, 0)))
        late = [] if n.name in hls else load.loaded(layer)
        ports = [".ap_clk(ap_clk)", ".ap_rst_n(ap_rst_n)"]
        for kind, tensors in (("in", ops.stream_inputs(n)), ("out", n.output)):
            ports += [f".{kind}{p}_V_{s}({net[t]}_{s})" for p, t in enumerate(tensors)
                      for s in ("TDATA", "TVALID", "TREADY")]
        if layer.stem == "loop":
            wires.append(f"  wire [63:0] {n.name}_schedule; wire [3:0] {n.name}_admitted;")
            ports.append(f".schedule({n.name}_schedule)")
            if n.name not in hls:
                ports.append(f".admitted({n.name}_admitted)")
        elif follows_schedule(layer):
            ports.append(f".schedule({gates[n.name]}_schedule)")
            if layer.held:
                ports += [f".admitted({gates[n.name]}_admitted)", *fetched.connections(n.name)]
        if late:
            wires.append(f"  wire [{load.BUS - 1}:0] {n.name}_load;")
            ports += [f".load_in({bus})", f".load_out({n.name}_load)"]
            bus = f"{n.name}_load"
            filled = load.segments(layer, constants, {k: len(loads) + i for i, k in enumerate(late)})
            loads += [{"target": s.target, "node": n.name, "memory": k, "beats": len(s.words)}
                      for s, k in zip(filled, late)]
            segments += filled
        for k in [] if n.name in hls else load.streamed(layer):
            words = load.stream_words(layer.memories(constants)[k])
            port = f"weight{len(weights)}_V"
            (folder / "mem" / f"{port}.bin").write_bytes(words.tobytes())
            weights.append({"port": port, "node": n.name, "memory": k,
                            "words": words.shape[0], "bytes": words.shape[1],
                            "passes": layer.stream_passes() * layer.passes})
            ports += [f".{k.lower()}_V_{s}({port}_{s})" for s in ("TDATA", "TVALID", "TREADY")]
        module = hls[n.name].module if n.name in hls else n.name
        instances.append(f"  {module} u_{n.name} (\n    " + ",\n    ".join(ports) + "\n  );")
        nodes[n.name] = {"stem": layer.stem, "op_type": n.op_type, "cycles": int(layer.frame_cycles),
                         **({"implementation": "Vitis HLS"} if n.name in hls else {})}
    wires += fetched.wires()
    instances += fetched.instances()
    for port in fetched.ports:
        (folder / "mem" / f"{port.name}_V.bin").write_bytes(port.image)
        weights.append(port.entry())
    ports = ["input wire ap_clk", "input wire ap_rst_n"]
    if loads:
        ports.append(f"input wire [{load.BUS - 1}:0] load")
        load.write(folder / "mem" / load.FILE, segments)
    for w in weights:
        ports += [f"input wire [{8 * w['bytes'] - 1}:0] {w['port']}_TDATA", f"input wire {w['port']}_TVALID",
                  f"output wire {w['port']}_TREADY"]
        if w.get("asked"):
            p = w["port"].replace("_V", "_R")
            ports += [f"output wire [63:0] {p}_TDATA", f"output wire {p}_TVALID", f"input wire {p}_TREADY"]
    for e in inputs:
        w = graph.sink_stream(model, e).padded_width
        p = f"in{e.source_port}_V"
        ports += [f"input wire [{w - 1}:0] {p}_TDATA", f"input wire {p}_TVALID", f"output wire {p}_TREADY"]
    for e in outputs:
        w = graph.source_stream(model, e).padded_width
        p = f"out{e.sink_port}_V"
        ports += [f"output wire [{w - 1}:0] {p}_TDATA", f"output wire {p}_TVALID", f"input wire {p}_TREADY"]
    (folder / f"{TOP}.v").write_text(
        "// Generated: the stitched design, one instance per node of the hardware graph.\n`default_nettype none\n"
        f"module {TOP} (\n    " + ",\n    ".join(ports) + "\n);\n" + "\n".join([*wires, *instances])
        + "\nendmodule\n`default_nettype wire\n")
    for f in used.values():
        shutil.copyfile(f, folder / "rtl" / f.name)
    check_names(list(hls.values()), list(used.values()))
    listed = [f"rtl/{f}" for f in used] + _copy_hls(list(hls.values()), folder)
    listed += [f"ip/{n}.v" for n in nodes] + [f"{TOP}.v"]
    (folder / "all_verilog_srcs.txt").write_text("\n".join(listed) + "\n")
    ins = [graph.sink_stream(model, e) for e in inputs]
    outs = [graph.source_stream(model, e) for e in outputs]
    design = Design(folder, ins, outs, [n.name for n in graph.fifos(model)], nodes, loads, weights)
    (folder / "design.json").write_text(json.dumps({
        "top": TOP, "inputs": [stream_dict(s) for s in ins], "outputs": [stream_dict(s) for s in outs],
        "fifos": design.fifos, "nodes": nodes, "loads": loads, "weights": weights}, indent=2) + "\n")
    model.save(str(folder / "graph.onnx"))
    return design
