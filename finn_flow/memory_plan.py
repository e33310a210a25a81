"""The memory plan: what every memory of a design is made of, chosen for the whole device.

Memories of equal shape and kind form groups; an integer program chooses how many of each group are look-up tables,
block RAM or UltraRAM, so that the design costs least within the shares of the device that it may use. Where it cannot
fit, the plan with the smallest excess is returned, and the report shows a share above the limit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError
from bhvit.silence import silent_stdout

from . import graph, ops
from .config import MemoryConfig
from .devices import Device, device_of
from .layers.base import Layer
from .layers.storage import AUTO, STREAM, ULTRA, Store

#: prices in look-up tables where nothing is scarce: a block RAM of 18 kbit, an UltraRAM
BRAM_LUTS, URAM_LUTS = 120.0, 900.0
#: price of exceeding a budget by the whole device, in look-up tables
EXCESS = 1e8
#: words up to which a memory is logic whatever its style
TINY = 8


@dataclass(frozen=True)
class Placed:
    """A memory of a node with its style."""

    node: str
    store: Store

    def row(self) -> dict[str, Any]:
        s, c = self.store, self.store.cost
        return {"node": self.node, "memory": s.name, "kind": s.kind, "width": s.width, "depth": s.depth,
                "copies": s.copies, "bits": s.bits, "style": s.chosen, "planned": s.style != AUTO,
                "lut": round(c.lut, 1), "bram18": c.bram18, "uram": c.uram}


def memories(model: ModelWrapper) -> list[Placed]:
    """Every memory of a design, in dataflow order."""
    return [Placed(n.name, s) for n in model.graph.node for s in ops.layer_from_node(n).styled_stores()]


def plan(model: ModelWrapper, part: str, config: MemoryConfig | None = None, sized: bool = True) -> ModelWrapper:
    """Set the memory styles of all layers; FIFOs then take the depth that their memory has anyway.

    sized: FIFOs have their depths; where they have not, styles that are given for them wait.
    Raises:
        UserError: a given style names no memory, or one that cannot have it.
    """
    config = config or MemoryConfig()
    layers = {n.name: ops.layer_from_node(n) for n in model.graph.node}
    given = _given(config, layers, device_of(part), sized)
    styles = {n: given.get(n, {}) for n in layers}
    for (name, memory), style in _choose(layers, given, device_of(part), config).items():
        styles[name] = {**styles[name], memory: style}
    for n in model.graph.node:
        layer = _styled(layers[n.name], styles[n.name])
        if graph.stem(n) == "fifo":
            layer = layer.model_copy(update={"depth": free_depth(layer)})
        if layer != layers[n.name]:
            ops.set_layer(n, layer)
    return model


def use(model: ModelWrapper, device: Device, config: MemoryConfig) -> dict[str, float]:
    """Resources of a graph without FIFOs whose memories are planned within the shares of ``config``; it stays as it
    is."""
    layers = {n.name: ops.layer_from_node(n) for n in model.graph.node}
    given = _given(config, layers, device, sized=False)
    found = _choose(layers, given, device, config)
    total = {"lut": 0.0, "bram18": 0.0, "uram": 0.0, "dsp": 0.0}
    for name, layer in layers.items():
        total["lut"] += layer.logic_lut
        total["dsp"] += layer.resources().dsp
        for s in layer.styled_stores():
            style = found.get((name, s.name)) or given.get(name, {}).get(s.name) or s.style
            for k in ("lut", "bram18", "uram"):
                total[k] += getattr(s.with_style(style).cost, k)
    return total


def keep_outside(model: ModelWrapper, config: MemoryConfig) -> ModelWrapper:
    """Mark the weights that stay in the memory of the system: folding must know that they cost nothing."""
    for key, style in config.styles.items():
        if style == STREAM:
            node, _, memory = key.rpartition(".")
            for n in (n for n in model.graph.node if n.name == node):
                layer = ops.layer_from_node(n)
                if any(s.name == memory and s.streamable for s in layer.stores()):  # others are refused by the plan
                    ops.set_layer(n, layer.model_copy(update={"styles": f"{memory}={STREAM}"}))
    return model


def _styled(layer: Layer, styles: dict[str, str]) -> Layer:
    order = [s.name for s in layer.stores() if s.name in styles]
    return layer.model_copy(update={"styles": " ".join(f"{k}={styles[k]}" for k in order)})


def check(model: ModelWrapper, config: MemoryConfig, part: str) -> None:
    """Raise UserError where `memory.styles` names what a folded graph, whose FIFOs are not sized yet, does not have."""
    _given(config, {n.name: ops.layer_from_node(n) for n in model.graph.node}, device_of(part), sized=False)


def _given(config: MemoryConfig, layers: dict[str, Layer], device: Device | None, sized: bool = True
           ) -> dict[str, dict[str, str]]:
    """Styles of the build file by node. sized: FIFOs have the depths, and memories, that they will have."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, style in config.styles.items():
        node, _, memory = key.rpartition(".")
        stores = {s.name: s for s in layers[node].stores() if not s.fixed} if node in layers else {}
        if memory not in stores and not sized and key.endswith("_fifo.RAM"):
            continue
        if memory not in stores:
            raise UserError(f"`memory.styles` names `{key}`, which is no memory of this design.", "memory.styles",
                            do=f"its memories: {', '.join(stores)}" if stores else "report/memory.json of a build "
                            "lists nodes and memories")
        store = stores[memory]
        legal = (*store.styles(config.ultra_constants), *([STREAM] if store.streamable else []))
        if style == ULTRA and device is not None and not device.uram:
            raise UserError(f"`{key}` cannot be {style}.", "memory.styles", "the device has no UltraRAM",
                            f"choose {' or '.join(s for s in legal if s != ULTRA)}")
        if style not in legal:
            loader = ", or set `memory.ultra_constants: true`" if style in store.styles(True) else ""
            why = "only weights of a linear layer and position embeddings that no engine shares can come as a stream"
            if style != STREAM:
                why = "UltraRAM has no initial contents" + ("" if loader else ", and no loader reaches this memory")
            raise UserError(f"`{key}` cannot be {style}.", "memory.styles", why,
                            f"choose {' or '.join(legal)}{loader}")
        found[node][memory] = style
    return found


def free_depth(fifo: Layer) -> int:
    """The greatest depth of a FIFO that costs nothing more, at most twice its own."""
    depth = fifo.depth
    stores = fifo.styled_stores()
    if not stores or stores[0].fixed:
        return depth
    price, low, high = stores[0].cost, depth, 2 * depth
    while low < high:  # costs grow with the depth
        middle = (low + high + 1) // 2
        cost = fifo.model_copy(update={"depth": middle}).styled_stores()[0].cost
        if (cost.bram18, cost.uram) == (price.bram18, price.uram) and cost.lut <= price.lut:
            low = middle
        else:
            high = middle - 1
    return low


def least_price(layer: Layer, ultra: bool) -> float:
    """Look-up tables of a layer where nothing is scarce, its memories as what they are cheapest as."""
    def price(s: Store) -> float:
        return min(c.lut + BRAM_LUTS * c.bram18 + URAM_LUTS * c.uram
                   for c in (s.with_style(style).cost for style in s.styles() if ultra or style != ULTRA))

    return layer.logic_lut + sum(map(price, layer.stores()))


def _choose(layers: dict[str, Layer], given: dict[str, dict[str, str]], device: Device | None,
            config: MemoryConfig) -> dict[tuple[str, str], str]:
    """Style of every memory that is not given: the integer program over groups of equal memories; none for the tool."""
    if config.plan == "tool":
        return {}
    groups: dict[tuple[int, int, bool, bool, int, bool], list[tuple[str, str]]] = defaultdict(list)
    used = {"lut": 0.0, "bram18": 0.0, "uram": 0.0}  # by logic and by memories that are not chosen here
    for name, layer in layers.items():
        used["lut"] += layer.logic_lut
        for s in layer.stores():
            style = given.get(name, {}).get(s.name)
            if style is None and not s.fixed and s.depth > TINY:
                groups[s.width, s.depth, s.const, s.loadable, s.copies, s.fetched].append((name, s.name))
                continue
            c = s.with_style(style or s.style).cost
            for k in used:
                used[k] += getattr(c, k)
    options = []  # (group, style, cost)
    for g, (width, depth, const, loadable, copies, fetched) in enumerate(groups):
        s = Store("", width, depth, const, copies, loadable=loadable, fetched=fetched)
        for style in s.styles(config.ultra_constants):
            if style != ULTRA or config.may_be_ultra(device):
                options.append((g, style, s.with_style(style).cost))
    shares = {"lut": config.lut_share, "bram18": config.share, "uram": config.share}
    have = {k: np.inf if device is None else getattr(device, k) for k in shares}
    counts = solve([len(m) for m in groups.values()], options, {k: shares[k] * have[k] - used[k] for k in shares}, have)
    found: dict[tuple[str, str], str] = {}
    for g, members in enumerate(groups.values()):
        rest = iter(members)
        for (o, style, _), n in zip(options, counts):
            if o == g:
                found.update({next(rest): style for _ in range(n)})
    return found


def solve(sizes: list[int], options: list[tuple[int, str, Any]], budgets: dict[str, float],
          have: dict[str, float]) -> list[int]:
    """How many of each option: least cost, every member of a group in one style, within the budgets where possible.

    Args:
        sizes: members by group. options: (group, style, cost). budgets: look-up tables, block RAMs, UltraRAMs left;
        have: those of the device.
    """
    if not options:
        return []
    from scipy.optimize import Bounds, LinearConstraint, milp

    n, kinds = len(options), tuple(budgets)
    price = [c.lut + BRAM_LUTS * c.bram18 + URAM_LUTS * c.uram for _, _, c in options]
    objective = np.array([*price, *(EXCESS / max(have[k], 1) for k in kinds)])
    member = np.zeros((len(sizes), n + len(kinds)))
    for i, (g, _, _) in enumerate(options):
        member[g, i] = 1
    limit = np.zeros((len(kinds), n + len(kinds)))
    for k, kind in enumerate(kinds):
        limit[k, :n] = [getattr(c, kind) for _, _, c in options]
        limit[k, n + k] = -1
    top = np.array([min(max(budgets[k], 0.0), 1e9) for k in kinds])
    with silent_stdout():  # HiGHS says what no option stops
        result = milp(objective, integrality=[1] * n + [0] * len(kinds), bounds=Bounds(0, np.inf),
                      constraints=[LinearConstraint(member, sizes, sizes), LinearConstraint(limit, -np.inf, top)],
                      options={"time_limit": 60.0, "mip_rel_gap": 1e-4})
    if result.x is None:
        raise UserError("No memory plan was found.", "memory", str(result.message), "set `memory: tool`")
    return [int(v) for v in np.rint(result.x[:n])]


def report(model: ModelWrapper, part: str, config: MemoryConfig | None = None) -> dict[str, Any]:
    """Contents of ``memory.json``: every memory, sums by layer, kind and style, and the share of the device."""
    config = config or MemoryConfig()
    rows = [p.row() for p in memories(model)]
    keys = ("bits", "lut", "bram18", "uram")

    def sums(by: str) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for r in rows:
            one = found.setdefault(r[by], dict.fromkeys(keys, 0))
            for k in keys:
                one[k] = round(one[k] + r[k], 1)
        return found

    total = {k: round(sum(r[k] for r in rows), 1) for k in keys}
    device = device_of(part)
    share = {} if device is None else {
        k: round(total[k] / have, 4) if have else None
        for k, have in (("lut", device.lut), ("bram18", device.bram18), ("uram", device.uram))}
    logic = sum(ops.layer_from_node(n).logic_lut for n in model.graph.node)
    fits = None if device is None else (all(total[k] <= config.share * getattr(device, k) for k in ("bram18", "uram"))
                              and total["lut"] + logic <= config.lut_share * device.lut)
    return {"memories": rows, "layers": sums("node"), "kinds": sums("kind"), "styles": sums("style"), "total": total,
            "device": None if device is None else {"part": part, **vars(device)}, "share": share,
            "limit": config.share, "lut_limit": config.lut_share,
            "logic_lut": round(logic, 1), "fits": fits, "plan": config.plan, "source": "estimate"}


__all__ = ["Placed", "free_depth", "least_price", "memories", "plan", "report", "solve"]
