"""Which implementation each node takes: RTL, Vitis HLS, or FINN's own layer.

The build file says so by layer kind or node name, the node before the kind; everything else is RTL:

    implementation: {shift: hls, stage4_block1_mlp_tile: hls}
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from bhvit.errors import UserError

from . import graph, ops
from .layers.registry import layers

#: FIFO depths come from simulating the RTL's FIFO, so there is no other
RTL_ONLY = ("fifo",)
#: put into the graph when the nodes have their names and implementations
LATER = ("width_converter",)


def kinds() -> list[str]:
    """Layers for which there is a choice."""
    return [s for s in layers() if s not in RTL_ONLY]


def prefer(model: ModelWrapper, wanted: Mapping[str, str]) -> ModelWrapper:
    """Set ``preferred_impl_style``, which FINN's SpecializeLayers follows.

    Args:
        wanted: "rtl" or "hls" by layer kind or node name.
    Raises:
        UserError: an entry names neither a layer with a choice nor a node.
    """
    names = [n.name for n in model.graph.node]
    for key in wanted:
        if key in RTL_ONLY:
            raise UserError(f"`implementation` cannot choose for `{key}`.", f"implementation.{key}",
                            "its depths come from the simulation of its RTL, so it is always RTL", "remove this entry")
        if key not in kinds() and key not in names:
            near = difflib.get_close_matches(key, [*kinds(), *names], n=2)
            raise UserError(f"`implementation` names `{key}`, which is neither a layer nor a node of this network.",
                            f"implementation.{key}", do=(f"did you mean {' or '.join(near)}? " if near else "")
                            + f"Layers: {', '.join(kinds())}; nodes: see report/implementation.json of a build")
    for n in model.graph.node:
        style = wanted.get(n.name) or wanted.get(graph.stem(n))
        if style:
            getCustomOp(n).set_nodeattr("preferred_impl_style", style)
    return model


def finish(model: ModelWrapper, wanted: Mapping[str, str]) -> ModelWrapper:
    """The same for the layers of :data:`LATER`, by kind."""
    for n in model.graph.node:
        if graph.stem(n) in LATER and graph.stem(n) in wanted:
            ops.implement(n, wanted[graph.stem(n)])
    return model


def hls_nodes(model: ModelWrapper) -> list[NodeProto]:
    return [n for n in model.graph.node if ops.implementation(n) == "hls"]


def rtl_twin(model: ModelWrapper) -> ModelWrapper:
    """A copy in which RTL stands in for every HLS node: same streams, same cycles a frame."""
    model = copy.deepcopy(model)
    for n in hls_nodes(model):
        ops.implement(n, "rtl")
    return model


def table(model: ModelWrapper, verilog: Mapping[str, Path]) -> dict[str, Any]:
    """Contents of ``report/implementation.json``.

    Args:
        verilog: where the Verilog of HLS nodes lies, by node name.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for n in model.graph.node:
        ours = ops.is_layer(n)
        style = "hls" if n.name in verilog else ops.implementation(n)
        nodes[n.name] = {"layer": graph.stem(n) if ours else n.op_type,
                         "implementation": style if ours else f"FINN {style or 'own'}"}
        if style == "hls":
            nodes[n.name]["verilog"] = str(verilog[n.name]) if n.name in verilog else None
    styles = [v["implementation"] for v in nodes.values()]
    return {"count": {s: styles.count(s) for s in dict.fromkeys(sorted(styles, reverse=True))}, "nodes": nodes}


def lines(data: Mapping[str, Any]) -> Iterable[str]:
    """The table as text, a line per implementation and layer."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, v in data["nodes"].items():
        groups.setdefault((v["implementation"], v["layer"]), []).append(name)
    for (style, layer), names in sorted(groups.items()):
        yield f"{style:<4} {layer} ({len(names)}): {', '.join(names)}"


def refuse_without_verilog(model: ModelWrapper, verilog: Collection[str], build: Path) -> None:
    """Raise UserError when an HLS node has no Verilog: it cannot be part of a stitched design."""
    missing = [n.name for n in hls_nodes(model) if n.name not in verilog]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{len(missing)} nodes are to be HLS, and their Verilog does not exist yet: {shown}.", build,
                        "a stitched design needs what Vitis HLS writes",
                        f"where Vitis HLS is installed, run `bhvit hls cosim {' '.join(missing[:3])} --build {build}` "
                        "and this command again; without it, take these nodes as rtl (`implementation` in the build "
                        f"file) and simulate their C++ with `bhvit hls network {build}`")
