"""The search behind :func:`.folding.choose`: the cheapest foldings that meet a target, neighbours considered.

Three kinds of moves: node by node in dataflow order; every node again with its producers and consumers known, until
nothing gets cheaper; and, where memories are priced for a device, whole regions, the layers that see the same tokens,
to another number of tokens per beat (one layer alone would need width converters on all sides, and only deeper weight
memories pay for that).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import ops
from .layers.base import FoldingError, Layer
from .layers.registry import layers
from .prices import Needs, Prices, needs
from .streams import Stream

#: tokens per beat that are tried
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
#: what layers of an engine may take of the target: the frames that take turns there leave gaps
ENGINE = 0.985
#: times that the foldings are gone through again
SWEEPS = 4
_CACHE = 4096
Candidate = tuple[int, float, Layer]


def axes(layer: Layer) -> dict[str, list[int]]:
    """Legal values of each folding attribute of a layer, one attribute at a time."""
    found = {}
    for axis, name in layer.fold_axes.items():
        extent = getattr(layer, name)
        extent = extent() if callable(extent) else extent
        if isinstance(extent, tuple):
            found[axis] = list(extent)
            continue
        found[axis] = [d for d in range(1, int(extent) + 1) if extent % d == 0 and (axis != "TP" or d in TOKENS)]
    return found


@lru_cache(maxsize=_CACHE)
def _foldings(cls: type[Layer], text: str) -> tuple[Layer, ...]:
    """The layer in every legal folding."""
    base = json.loads(text)
    options = axes(cls(**base))
    found = []
    for values in product(*options.values()):
        try:
            found.append(ops.make_layer(cls, **{**base, **dict(zip(options, values))}))
        except (FoldingError, ValueError):  # pydantic wraps other complaints of a declaration in a ValueError
            continue
    return tuple(found)


@lru_cache(maxsize=_CACHE)
def _needs(cls: type[Layer], text: str, scope: Prices) -> tuple[tuple[int, Needs, Layer], ...]:
    """(cycles, needs, layer) of every legal folding: formulas are the slow part, and prices change often."""
    return tuple((c.frame_cycles, needs(c, scope), c) for c in _foldings(cls, text))


@lru_cache(maxsize=_CACHE)
def _candidates(cls: type[Layer], text: str, prices: Prices) -> tuple[Candidate, ...]:
    found = [(cycles, n.at(prices), c) for cycles, n, c in _needs(cls, text, prices.scope)]
    return tuple(sorted(found, key=lambda f: (f[1], f[2].outputs()[0].width)))


def candidates(layer: Layer, prices: Prices) -> tuple[Candidate, ...]:
    """(cycles, cost, layer) of every legal folding, the cheapest first."""
    base = {k: v for k, v in layer.model_dump().items() if k not in layer.fold_axes}
    return _candidates(type(layer), json.dumps(base, sort_keys=True), prices)


@lru_cache(maxsize=8 * _CACHE)
def _converter_needs(dims: tuple[int, ...], dtype: str, a: tuple[int, int], b: tuple[int, int], passes: int,
                     scope: Prices) -> tuple[int, Needs] | None:
    try:
        c = ops.make_layer(layers()["width_converter"], dims=list(dims), dtype=dtype, SIMD_IN=a[0], TP_IN=a[1],
                           SIMD_OUT=b[0], TP_OUT=b[1], passes=passes)
    except (FoldingError, ValueError):
        return None
    return c.frame_cycles, needs(c, scope)


@lru_cache(maxsize=8 * _CACHE)
def _converter(dims: tuple[int, ...], dtype: str, a: tuple[int, int], b: tuple[int, int], passes: int,
               prices: Prices) -> tuple[int, float]:
    """(cycles, cost) of the width converter from (SIMD, TP) a to b; nothing when they agree."""
    if a == b:
        return 0, 0.0
    found = _converter_needs(dims, dtype, a, b, passes, prices.scope)
    return (1 << 60, math.inf) if found is None else (found[0], found[1].at(prices))


class Search:
    """Foldings of a graph under a target; ``found`` holds the layer chosen for each node.

    tokens: at most so many tokens per beat, more only where a layer is too slow otherwise; None: as many as pay.
    """

    def __init__(self, model: ModelWrapper, target: int, prices: Prices, tokens: int | None = None) -> None:
        self.nodes = list(model.graph.node)
        self.target, self.prices, self.tokens = target, prices, tokens
        self.found: dict[str, Layer] = {}
        self.options = {n.name: self._options(n) for n in self.nodes}
        self._own = {n: {id(c): p for _, p, c in o} for n, o in self.options.items()}
        made = {t: (n.name, i) for n in self.nodes for i, t in enumerate(n.output)}
        #: by node: (producer, its port, consumer, its port)
        self.edges: dict[str, list[tuple[str, int, str, int]]] = {n.name: [] for n in self.nodes}
        for n in self.nodes:
            for i, t in enumerate(ops.stream_inputs(n)):
                if t in made:
                    edge = (*made[t], n.name, i)
                    self.edges[n.name].append(edge)
                    if edge[0] != n.name:
                        self.edges[edge[0]].append(edge)

    def _options(self, node: Any) -> list[Candidate]:
        layer = ops.layer_from_node(node)
        every = candidates(layer, self.prices)
        slack = ENGINE if layer.passes > 1 else 1.0
        fast = [f for f in every if f[0] <= self.target * slack] or [f for f in every if f[0] <= self.target]
        if not fast:
            fastest = min(f[0] for f in every)
            raise UserError(f"The target interval of {self.target} cycles cannot be met.",
                            where=f"layer {node.name} ({layer.stem})",
                            why=f"its fastest legal folding takes {fastest} cycles per frame",
                            do=f"ask for {fastest} cycles or more, or change the network's shape")
        if self.tokens is None:
            return fast
        most = max(self.tokens, min(getattr(c, "TP", 1) for _, _, c in fast))
        return [f for f in fast if getattr(f[2], "TP", 1) <= most]

    def join(self, edge: tuple[str, int, str, int], layer: Layer | None = None, name: str = "") -> float:
        """Cost of the converter in an edge whose ends are chosen, with ``layer`` for node ``name``."""
        source = layer if edge[0] == name else self.found.get(edge[0])
        sink = layer if edge[2] == name else self.found.get(edge[2])
        if source is None or sink is None:
            return 0.0
        a, b = source.outputs()[edge[1]], sink.inputs()[edge[3]]
        passes = source.passes  # as graph.edge_passes
        if source.stem == "loop":
            passes = source.rounds if edge[1] == 0 else 1
        slow, extra = self._converter(a, b, passes)
        return math.inf if slow > self.target else extra

    def _converter(self, a: Stream, b: Stream, passes: int) -> tuple[int, float]:
        return _converter(b.dims, b.dtype.name, (a.SIMD, a.TP), (b.SIMD, b.TP), passes, self.prices)

    def best(self, name: str, tokens: int | None = None) -> Layer | None:
        """The cheapest layer for a node together with the converters to the neighbours that are chosen."""
        best, best_cost = None, math.inf
        for _, own, cand in self.options[name]:
            if own >= best_cost:
                break  # sorted by cost: nothing cheaper follows
            if tokens is not None and getattr(cand, "TP", tokens) != tokens:
                continue
            total = own + sum(self.join(e, cand, name) for e in self.edges[name])
            if total < best_cost:
                best, best_cost = cand, total
        return best

    def run(self) -> dict[str, Layer]:
        """Choose; the layers by node name.

        Raises:
            UserError: a layer cannot reach the target with any legal folding; the message names the fastest.
        """
        for node in self.nodes:
            if (chosen := self.best(node.name)) is None:
                raise UserError(f"The target interval of {self.target} cycles cannot be met.",
                                where=f"inputs of layer {node.name} ({ops.layer_from_node(node).stem})",
                                why="every width converter between its folding and its producer's is slower",
                                do="ask for a longer interval, or give a folding file")
            self.found[node.name] = chosen
        names = [n.name for n in reversed(self.nodes)]
        self.sweep(names)
        for _ in range(SWEEPS if self.prices.planned else 0):
            if not any([self.move(region) for region in self.regions()]):
                break
            self.sweep(names)
        return self.found

    def sweep(self, names: list[str], tokens: dict[str, int] | None = None, sweeps: int = SWEEPS) -> None:
        """Choose the named nodes again until nothing gets cheaper."""
        for _ in range(sweeps):
            changed = False
            for name in names:
                better = self.best(name, (tokens or {}).get(name))
                if better is not None and better is not self.found[name]:
                    self.found[name], changed = better, True
            if not changed:
                break

    def total(self, names: Iterable[str]) -> float:
        """Cost of nodes and of all converters that touch them."""
        names = set(names)
        edges = {e for n in names for e in self.edges[n]}
        return sum(self._own[n][id(self.found[n])] for n in names) + sum(map(self.join, edges))

    def regions(self) -> list[list[str]]:
        """Connected nodes with tokens per beat and the same number of tokens, in dataflow order."""
        tokens = {n.name: self.found[n.name].inputs()[0].tokens for n in self.nodes
                  if "TP" in self.found[n.name].fold_axes}
        place = {n.name: i for i, n in enumerate(self.nodes)}
        left, out = dict(tokens), []
        for first in tokens:
            if first not in left:
                continue
            region, todo = [], [first]
            while todo:
                name = todo.pop()
                if left.pop(name, None) is None:
                    continue
                region.append(name)
                todo += [end for e in self.edges[name] for end in (e[0], e[2]) if left.get(end) == tokens[name]]
            out.append(sorted(region, key=place.__getitem__))
        return out

    def move(self, region: list[str]) -> bool:
        """Try every number of tokens per beat for a region; keep what is cheaper. Whether anything changed."""
        near = {end for n in region for e in self.edges[n] for end in (e[0], e[2])} - set(region)
        names = [*region, *near]
        start, least = dict(self.found), self.total(names)
        best = None
        for tp in TOKENS:
            forced = {n: tp for n in region if any(getattr(c, "TP", 0) == tp for _, _, c in self.options[n])}
            if not forced:
                continue
            self.found = {k: v for k, v in start.items() if k not in region}
            for name in region:
                self.found[name] = self.best(name, forced.get(name)) or self.best(name) or start[name]
            self.sweep(list(reversed(names)), forced, 2)
            self.sweep(list(reversed(names)), None, 1)
            if (total := self.total(names)) < least * (1 - 1e-9):
                least, best = total, self.found
        self.found = best if best is not None else start
        return best is not None
