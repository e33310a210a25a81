"""Foldings: how many channels and tokens each layer takes per cycle.

:func:`choose` picks for each node the cheapest legal PE/SIMD/TP that meets a target interval; the cost counts the width
converters that a layout different from its neighbours' would need. Foldings are read and written in
FINN's JSON format: ``{"Defaults": {"SIMD": [4, ["BvAffine_rtl"]]}, "<node>": {"PE": 2, "SIMD": 8}}``.
"""

from __future__ import annotations

import difflib
import json
import math
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import graph, ops
from .layers.base import FoldingError, Layer
from .layers.registry import layers
from .streams import Stream

#: tokens per beat that are tried
TOKENS = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16)
#: LUTs that a DSP slice, half a block RAM and a URAM are worth when foldings are compared
DSP_LUTS, BRAM_LUTS, URAM_LUTS = 60.0, 120.0, 900.0
#: times that the foldings are gone through again
SWEEPS = 4
_CACHE = 4096


def target_cycles(clock_mhz: float, fps: float) -> int:
    """Cycles per frame that a frame rate leaves."""
    return int(clock_mhz * 1e6 / fps)


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def axes(layer: Layer) -> dict[str, list[int]]:
    """Legal values of each folding attribute of a layer, one attribute at a time."""
    found = {}
    for axis, name in layer.fold_axes.items():
        extent = getattr(layer, name)
        extent = extent() if callable(extent) else extent
        if isinstance(extent, tuple):
            found[axis] = list(extent)
            continue
        found[axis] = [d for d in divisors(int(extent)) if axis != "TP" or d in TOKENS]
    return found


def cost(layer: Layer) -> float:
    """Resources in LUT equivalents, the smallest FIFOs behind the outputs included."""
    r = layer.resources()
    fifos = sum(st.width + 8 for st in layer.outputs())
    return fifos + r.lut + DSP_LUTS * r.dsp + BRAM_LUTS * r.bram18 + URAM_LUTS * r.uram


@lru_cache(maxsize=_CACHE)
def _candidates(key: tuple[type[Layer], str]) -> tuple[tuple[int, float, Layer], ...]:
    """(cycles, cost, layer) of every legal folding."""
    cls, text = key
    base = json.loads(text)
    layer = cls(**base)
    options = axes(layer)
    found = []
    for values in product(*options.values()):
        try:
            c = ops.make_layer(cls, **{**base, **dict(zip(options, values))})
        except (FoldingError, ValueError):  # pydantic wraps other complaints of a declaration in a ValueError
            continue
        found.append((c.frame_cycles, cost(c), c))
    return tuple(sorted(found, key=lambda f: (f[1], f[2].outputs()[0].width)))


def candidates(layer: Layer) -> tuple[tuple[int, float, Layer], ...]:
    """(cycles, cost, layer) of every legal folding, the cheapest first."""
    base = {k: v for k, v in layer.model_dump().items() if k not in layer.fold_axes}
    return _candidates((type(layer), json.dumps(base, sort_keys=True)))


@lru_cache(maxsize=_CACHE)
def _converter(dims: tuple[int, ...], dtype: str, a: tuple[int, int], b: tuple[int, int],
               passes: int) -> tuple[int, float]:
    """(cycles, cost) of the width converter from (SIMD, TP) a to b; nothing when they agree."""
    if a == b:
        return 0, 0.0
    try:
        c = ops.make_layer(layers()["width_converter"], dims=list(dims), dtype=dtype, SIMD_IN=a[0], TP_IN=a[1],
                           SIMD_OUT=b[0], TP_OUT=b[1], passes=passes)
    except (FoldingError, ValueError):
        return 1 << 60, math.inf
    return c.frame_cycles, cost(c)


def _join(src: Stream, dst: Stream, passes: int) -> tuple[int, float]:
    return _converter(dst.dims, dst.dtype.name, (src.SIMD, src.TP), (dst.SIMD, dst.TP), passes)


def choose(model: ModelWrapper, target: int) -> dict[str, dict[str, int]]:
    """Foldings by node name that meet ``target`` cycles per frame.

    First node by node in dataflow order, each cheapest together with the width converters at its inputs; then every
    node again with its consumers known, until nothing gets cheaper.

    Raises:
        UserError: a layer cannot reach the target with any legal folding; the message names the fastest.
    """
    nodes = list(model.graph.node)
    made = {t: (n.name, i) for n in nodes for i, t in enumerate(n.output)}
    used: dict[str, list[tuple[str, int]]] = {}
    for n in nodes:
        for i, t in enumerate(ops.stream_inputs(n)):
            used.setdefault(t, []).append((n.name, i))
    options: dict[str, list[tuple[int, float, Layer]]] = {}
    found: dict[str, Layer] = {}

    def converters(node: Any, layer: Layer) -> float:
        """Cost of the converters between ``layer`` and its neighbours, as far as they are chosen."""
        edges = [(found[made[t][0]].outputs()[made[t][1]], st, layer.passes)
                 for t, st in zip(ops.stream_inputs(node), layer.inputs()) if t in made and made[t][0] in found]
        edges += [(st, found[user].inputs()[i], found[user].passes) for t, st in zip(node.output, layer.outputs())
                  for user, i in used.get(t, []) if user in found]
        joins = [_join(*edge) for edge in edges]
        return sum(math.inf if slow > target else extra for slow, extra in joins)

    def best(node: Any) -> Layer | None:
        best, best_cost = None, math.inf
        for _, own, cand in options[node.name]:
            if own >= best_cost:
                break  # sorted by cost: nothing cheaper follows
            if (total := own + converters(node, cand)) < best_cost:
                best, best_cost = cand, total
        return best

    for node in nodes:
        layer = ops.layer_from_node(node)
        every = candidates(layer)
        options[node.name] = [f for f in every if f[0] <= target]
        if not options[node.name]:
            fastest = min(f[0] for f in every)
            raise UserError(f"The target interval of {target} cycles cannot be met.",
                            where=f"layer {node.name} ({layer.stem})",
                            why=f"its fastest legal folding takes {fastest} cycles per frame",
                            do=f"ask for {fastest} cycles or more, or change the network's shape")
        if (chosen := best(node)) is None:
            raise UserError(f"The target interval of {target} cycles cannot be met.",
                            where=f"inputs of layer {node.name} ({layer.stem})",
                            why="every width converter between its folding and its producer's is slower",
                            do="ask for a longer interval, or give a folding file")
        found[node.name] = chosen
    for _ in range(SWEEPS):
        before = dict(found)
        for node in reversed(nodes):
            found[node.name] = best(node) or found[node.name]
        if found == before:
            break
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
    except json.JSONDecodeError as e:
        raise UserError("The folding file is no JSON.", f"{path}:{e.lineno}", e.msg) from e
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise UserError("The folding file has a wrong form.", path, "it must be an object of objects",
                        'write {"Defaults": {}, "<node>": {"PE": 1, "SIMD": 1}}')
    nodes = {n.name: n for n in model.graph.node}
    found: dict[str, dict[str, int]] = {}
    defaults = data.pop("Defaults", {})
    for attribute, value in defaults.items():
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], list)):
            raise UserError(f"`Defaults.{attribute}` has a wrong form.", path,
                            do='write {"SIMD": [4, ["BvAffine_rtl"]]} or {"SIMD": [4, ["all"]]}')
        for name, n in nodes.items():
            if ("all" in value[1] or {n.op_type, ops.op_type(ops.layer_class(n))} & set(value[1])) \
                    and attribute in ops.layer_class(n).fold_axes:
                found.setdefault(name, {})[attribute] = value[0]
    for name, attributes in data.items():
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
