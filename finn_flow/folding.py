"""Foldings: how many channels and tokens each layer takes per cycle.

:func:`choose` picks for each node the cheapest legal PE/SIMD/TP that meets a target interval; the cost counts the width
converters that a layout different from its neighbours' would need. Foldings are read and written in
FINN's JSON format: ``{"Defaults": {"SIMD": [4, ["BvAffine_rtl"]]}, "<node>": {"PE": 2, "SIMD": 8}}``.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import graph, ops
from .fold_search import Search, axes
from .layers.base import FoldingError
from .layers.registry import layers
from .prices import DEFAULT, Prices


def target_cycles(clock_mhz: float, fps: float) -> int:
    """Cycles per frame that a frame rate leaves."""
    return int(clock_mhz * 1e6 / fps)


def choose(model: ModelWrapper, target: int, prices: Prices = DEFAULT, tokens: int | None = None,
           ) -> dict[str, dict[str, int]]:
    """Foldings by node name that meet ``target`` cycles per frame.

    See :mod:`.fold_search` for how. tokens: at most so many tokens per beat, where the target allows.

    Raises:
        UserError: a layer cannot reach the target with any legal folding; the message names the fastest.
    """
    found = Search(model, target, prices, tokens).run()
    return {name: {a: getattr(layer, a) for a in layer.fold_axes} for name, layer in found.items() if layer.fold_axes}


def apply(model: ModelWrapper, foldings: dict[str, dict[str, int]]) -> ModelWrapper:
    """Write foldings (and FIFO depths) by node name into the graph."""
    for node in model.graph.node:
        if node.name in foldings:
            layer = ops.layer_from_node(node)
            ops.set_layer(node, ops.refold(layer, **foldings[node.name]))
    return model


def current(model: ModelWrapper) -> dict[str, dict[str, int]]:
    """Foldings of a graph by node name; FIFOs appear with their depth."""
    found = {}
    for node in model.graph.node:
        layer = ops.layer_from_node(node)
        names = ["depth"] if graph.stem(node) == "fifo" else [] if graph.stem(node) == "width_converter" \
            else list(layer.fold_axes)
        if names:
            found[node.name] = {a: getattr(layer, a) for a in names}
    return found


def write(path: Path, foldings: dict[str, dict[str, int]]) -> None:
    """FINN's folding file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Defaults": {}, **foldings}, indent=2) + "\n")


def read(path: Path, model: ModelWrapper) -> dict[str, dict[str, int]]:
    """Read and check a folding file for this graph.

    Raises:
        UserError: unknown node or attribute, or a value that is not legal; the message lists the choices.
    """
    try:
        data = json.loads(Path(path).read_text())
    except OSError as e:
        raise UserError("The folding file cannot be read.", path, e.strerror) from e
    except UnicodeDecodeError as e:
        raise UserError("The folding file is no text file.", path, str(e)) from e
    except json.JSONDecodeError as e:
        raise UserError("The folding file is no JSON.", f"{path}:{e.lineno}", e.msg) from e
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise UserError("The folding file has a wrong form.", path, "it must be an object of objects",
                        'write {"Defaults": {}, "<node>": {"PE": 1, "SIMD": 1}}')
    nodes = {n.name: n for n in model.graph.node}
    found: dict[str, dict[str, int]] = {}
    defaults = data.pop("Defaults", {})
    kinds = {ops.op_type(c) + suffix for c in layers().values() for suffix in ("", "_rtl", "_hls")}
    every = {a for c in layers().values() for a in c.fold_axes}
    for attribute, value in defaults.items():
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], list)):
            raise UserError(f"`Defaults.{attribute}` has a wrong form.", path,
                            do='write {"SIMD": [4, ["BvAffine_rtl"]]} or {"SIMD": [4, ["all"]]}')
        unknown = [attribute] if attribute not in every else sorted(set(value[1]) - {"all"} - kinds)
        if unknown:
            near = difflib.get_close_matches(unknown[0], every if attribute not in every else kinds, n=3)
            raise UserError(f"`Defaults.{attribute}` names `{unknown[0]}`, which does not exist.", path,
                            do=f"did you mean {', '.join(near)}?" if near else "see docs/layers.md for the names")
        for name, n in nodes.items():
            if ("all" in value[1] or {n.op_type, ops.op_type(ops.layer_class(n))} & set(value[1])) \
                    and attribute in ops.layer_class(n).fold_axes:
                found.setdefault(name, {})[attribute] = value[0]
    for name, attributes in data.items():
        if name not in nodes and attributes.keys() == {"depth"}:
            continue  # a FIFO of final_hw_config.json: depths come from simulation
        if name not in nodes:
            near = difflib.get_close_matches(name, nodes, n=3)
            raise UserError(f"The folding file names `{name}`, which is no layer of this network.", path,
                            do=f"did you mean {', '.join(near)}?" if near
                            else "see auto_folding_config.json for the names")
        found.setdefault(name, {}).update(attributes)
    for name, attributes in found.items():
        _check(path, nodes[name], attributes)
    return found


def _check(path: Path, node: Any, attributes: dict[str, Any]) -> None:
    layer = ops.layer_from_node(node)
    legal = {"depth"} if graph.stem(node) == "fifo" else set(layer.fold_axes)
    for a, v in attributes.items():
        if a not in legal:
            raise UserError(f"`{node.name}` has no folding `{a}`.", path,
                            do=f"choose one of {', '.join(sorted(legal)) or 'none: this layer cannot be folded'}")
        if not isinstance(v, int) or isinstance(v, bool):
            raise UserError(f"`{node.name}.{a}` is {v!r}.", path, "a whole number is needed")
    try:
        ops.refold(layer, **attributes)
    except FoldingError as e:
        raise UserError(f"The folding of `{node.name}` does not fit.", path, e.what,
                        "; ".join(f"{a}: {', '.join(map(str, v))}" for a, v in axes(layer).items())) from e
