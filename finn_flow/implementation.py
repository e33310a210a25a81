"""Which implementation each node takes: RTL, Vitis HLS, or FINN's own layer.

The build file says so by layer kind or node name, the node before the kind; everything else is RTL:

    implementation: {shift: hls, stage4_block1_mlp_tile: hls}
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from bhvit.errors import UserError

from . import graph, ops
from .hls.generate import INCLUDE, has_kernel, source
from .hls.vitis.rtl import HlsRtlError, digest
from .layers.registry import layers

#: FIFO depths come from simulating the RTL's FIFO, so there is no other
RTL_ONLY = ("fifo",)
#: put into the graph when the nodes have their names and implementations
LATER = ("width_converter", "loop")


def kinds() -> list[str]:
    """Layers for which there is a choice."""
    return [s for s, cls in layers().items() if s not in RTL_ONLY and has_kernel(cls)]


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
        if key in layers() and key not in kinds():
            raise UserError(f"`implementation` cannot choose for `{key}`.", f"implementation.{key}",
                            "this layer has no HLS kernel", "remove this entry")
        if key not in kinds() and key not in names:
            near = difflib.get_close_matches(key, [*kinds(), *names], n=2)
            raise UserError(f"`implementation` names `{key}`, which is neither a layer nor a node of this network.",
                            f"implementation.{key}", do=(f"did you mean {' or '.join(near)}? " if near else "")
                            + f"Layers: {', '.join(kinds())}; nodes: see report/implementation.json of a build")
    for n in model.graph.node:
        style = wanted.get(n.name) or wanted.get(graph.stem(n))
        if style == "hls" and graph.stem(n) not in kinds():
            raise UserError(f"`implementation` cannot choose for `{n.name}`.", f"implementation.{n.name}",
                            f"the layer {graph.stem(n)} has no HLS kernel", "remove this entry")
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


def verilog_of(node: NodeProto, model: ModelWrapper, build: Path) -> Path | None:
    """The project in which `bhvit hls cosim --build` has synthesized an HLS node as it is now.

    None when there is none, or when the node's foldings, widths or constants, or the kernels, were others then.
    """
    place = Path(build) / "hls" / node.name
    try:
        digest(place)
        written = (place / f"{node.name}.cpp").read_text()
    except (HlsRtlError, OSError):
        return None
    for carried in (place / "include" / "bhvit").glob("*.hpp"):
        own = INCLUDE / "bhvit" / carried.name
        if own.is_file() and carried.read_text() != own.read_text():
            return None
    layer, constants = ops.layer_of(node, model)
    return place if written == source(layer, node.name, constants) else None


def verilog(model: ModelWrapper, build: Path) -> dict[str, Path]:
    """:func:`verilog_of` of every HLS node that has Verilog."""
    found = {n.name: verilog_of(n, model, build) for n in hls_nodes(model)}
    return {name: place for name, place in found.items() if place is not None}


def verilog_digests(wanted: Mapping[str, str], build: Path) -> dict[str, str]:
    """Digests of all Verilog in a build folder that its HLS nodes could take; empty when all nodes are RTL."""
    found = {}
    if "hls" in wanted.values():
        for place in sorted((Path(build) / "hls").glob("*")):
            with suppress(HlsRtlError, OSError):
                found[place.name] = digest(place)
    return found


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


def refuse_without_verilog(model: ModelWrapper, verilog: Collection[str], where: Path) -> None:
    """Raise UserError when an HLS node has no Verilog: it cannot be part of a stitched design."""
    missing = [n for n in hls_nodes(model) if n.name not in verilog]
    if not missing:
        return
    every = Counter(graph.stem(n) for n in model.graph.node)
    lacking = Counter(graph.stem(n) for n in missing)
    whole = {s for s, count in lacking.items() if count == every[s]}  # named by their kind, which is shorter
    names = [*sorted(whole), *(n.name for n in missing if graph.stem(n) not in whole)]
    raise UserError(f"{len(missing)} nodes are to be HLS, and their Verilog does not exist: {', '.join(names[:8])}"
                    + (" ..." if len(names) > 8 else "") + ".", where,
                    "a stitched design needs the Verilog that Vitis HLS writes",
                    f"where Vitis HLS is installed, run `bhvit hls cosim {' '.join(names)} --build BUILD_FOLDER` and "
                    "then `bhvit build` again; elsewhere take these nodes as rtl (`implementation` in the build file), "
                    "and simulate their C++ with `bhvit hls network BUILD_FOLDER`")
