"""A part of a hardware graph, or all of it, as one C++ dataflow simulation with the FIFO depths that the build chose.

Every FIFO node becomes a bounded stream of its depth, under its name; every other node becomes a process.

    model = ops.load(build / "intermediate_models/step_bhvit_size_fifos.onnx")
    design = dataflow(model, block(model, "stage3_block1"), images)
    result = design.run(folder)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import graph, ops
from .dataflow import HlsDataflow, HlsNode
from .generate import has_kernel

#: layers that only move data; those in front of a block carry its residual and belong to it
MOVERS = (*graph.PLUMBING, "wrap_rows")


def block(model: ModelWrapper, prefix: str) -> list[str]:
    """Names of the nodes of a block, in dataflow order.

    These are the nodes called ``<prefix>_*``, what lies between them, and what only moves data in front of them, so
    that the fork of a residual and its FIFO are part of the block.

    Raises:
        UserError: no node is called so.
    """
    nodes = list(model.graph.node)
    chosen = {i for i, n in enumerate(nodes) if n.name.startswith(prefix + "_")}
    if not chosen:
        known = sorted({m.group(0) for n in nodes if (m := re.match(r"stage\d+_block\d+(to\d+)?", n.name))})
        near = [k for k in known if k.startswith(f"{prefix}to")] or difflib.get_close_matches(prefix, known, n=1)
        raise UserError(f"No node of the network is called `{prefix}_...`.", "block",
                        do=f"did you mean `{near[0]}`?" if near else f"blocks: {', '.join(known) or 'none'}")
    producer = {t: i for i, n in enumerate(nodes) for t in n.output}
    before = [[producer[t] for t in ops.stream_inputs(n) if t in producer] for n in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for i, sources in enumerate(before):
        for j in sources:
            after[j].append(i)
    todo = list(chosen)
    while todo:
        for j in before[todo.pop()]:
            if j not in chosen and graph.stem(nodes[j]) in MOVERS:
                chosen.add(j)
                todo.append(j)
    between = _reachable(chosen, before) & _reachable(chosen, after)
    return [n.name for i, n in enumerate(nodes) if i in chosen | between]


def _reachable(start: Collection[int], edges: list[list[int]]) -> set[int]:
    found, todo = set(start), list(start)
    while todo:
        for j in edges[todo.pop()]:
            if j not in found:
                found.add(j)
                todo.append(j)
    return found


def dataflow(model: ModelWrapper, names: Collection[str], images: np.ndarray,
             depths: dict[str, int] | None = None) -> HlsDataflow:
    """The simulation of the nodes ``names``, fed with what the golden models give at its inputs for ``images``.

    Args:
        model: streaming graph with sized FIFOs. images: (F, *dims) of the graph's input.
        depths: by FIFO name, where they shall differ from the graph's.
    Raises:
        UserError: an entry of ``depths`` names no FIFO of this part, a layer does not exist in HLS, or the part holds
            some layers of an engine that blocks share, but not the engine.
    """
    for n in model.graph.node:
        if n.name in names and not has_kernel(ops.layer_class(n)):
            raise UserError(f"The layer `{graph.stem(n)}` has no HLS kernel.", n.name,
                            "the simulation is made of kernels", "choose a block without it")
    gates = graph.gates(model)
    for n in model.graph.node:
        if n.name in names and gates.get(n.name, n.name) not in names:
            raise UserError(f"The node `{n.name}` works in an engine that blocks share.", "block",
                            "its frames come in the order that the gate of the engine chooses",
                            f"simulate the whole engine: `{gates[n.name].removesuffix('_gate')}`")
    values = ops.execute(model, {model.graph.input[0].name: images}, keep="*")
    chosen = [n for n in model.graph.node if n.name in set(names)]
    fifos = [n for n in chosen if graph.stem(n) == "fifo"]
    unknown = set(depths or ()) - {n.name for n in fifos}
    if unknown:
        near = difflib.get_close_matches(min(unknown), [n.name for n in fifos], n=1)
        raise UserError(f"This part of the network has no FIFO `{min(unknown)}`.", "depths",
                        do=f"did you mean `{near[0]}`?" if near else None)
    stream: dict[str, str] = {}  # tensor -> stream: the two ends of a FIFO are one
    bound: dict[str, int] = {}
    for n in fifos:
        stream[n.input[0]] = stream[n.output[0]] = n.name
        bound[n.name] = (depths or {}).get(n.name, ops.layer_from_node(n).depth)
    nodes: list[HlsNode] = []
    made: set[str] = set()
    used: dict[str, str] = {}
    for n in chosen:
        if graph.stem(n) == "fifo":
            continue
        layer, constants = ops.layer_of(n, model)
        ins = [stream.get(t) or "s_" + re.sub(r"\W", "_", t) for t in ops.stream_inputs(n)]
        outs = [stream.get(t) or "s_" + re.sub(r"\W", "_", t) for t in n.output]
        nodes.append(HlsNode(layer, n.name, constants, ins, outs, gates.get(n.name, "")))
        made |= set(outs)
        used |= dict(zip((*ins, *outs), (*ops.stream_inputs(n), *n.output)))
    read = {s for n in nodes for s in n.inputs}
    inputs = {s: values[t].astype(np.int64) for s, t in used.items() if s not in made}
    unused = [s for n in nodes if n.gate for s in n.outputs if s not in read]  # in the order in which frames pass
    expected = {s: values[t].astype(np.int64) for s, t in used.items() if s not in {*read, *unused}}
    # nobody takes from the last streams while the simulation runs: they hold everything that comes out
    return HlsDataflow(nodes, {s: d for s, d in bound.items() if s in read and s in made}, inputs, expected,
                       unused)
