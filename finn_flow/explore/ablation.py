"""What each technique of a build brings: switched off alone, and all together, by formulas.

Every variant is the build with one setting changed, lowered, folded and planned again for the same target. Only the
plain popcount has no setting: its look-up tables are added to a design that is otherwise the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import graph, ops
from ..config import BuildConfig
from ..layers.storage import STREAM
from .design import FIFOS, conditions, fold, measure, target_of, with_engines

#: width of a popcount -> LUTs per binary MAC, structural and plain (measured by `bhvit bench`)
Popcounts = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Variant:
    """A build with a technique off. change: what its configuration says then; used: whether the build has it on."""

    name: str
    what: str
    used: bool = True
    change: dict[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    plain: bool = False


def variants(config: BuildConfig) -> list[Variant]:
    """The build itself, each technique off alone, then all that it uses off."""
    memory = config.memory
    kept = {k: v for k, v in memory.styles.items() if v != STREAM}
    streamed = len(kept) < len(memory.styles)
    single = [
        Variant("rows", "row order `frame` instead of `rotate`: a frame buffer before every circular stencil",
                config.rows == "rotate", {"rows": "frame"}),
        Variant("share", "no shared engines: every block has its own layers", bool(config.share), {"share": {}}),
        Variant("tokens", "one token per beat wherever the target allows", tokens=1),
        Variant("popcount", "plain `$countones` in binary_linear instead of the structural popcount", plain=True),
        Variant("loaded", "no constants in UltraRAM: none are loaded at start-up", memory.ultra_constants,
                {"memory": memory.model_copy(update={"ultra_constants": False})}),
        Variant("streamed", "no weights from the memory of the system", streamed,
                {"memory": memory.model_copy(update={"styles": kept})}),
        Variant("fetched", "every constant set of an engine on the chip", bool(memory.fetch),
                {"memory": memory.model_copy(update={"fetch": []})}),
        Variant("fit", "`optimize: cost` instead of `fit`", config.optimize == "fit", {"optimize": "cost"}),
    ]
    used = [v for v in single if v.used]
    change = {k: x for v in used for k, x in v.change.items() if k != "memory"}
    change["memory"] = memory.model_copy(update={"ultra_constants": False, "styles": kept, "fetch": []})
    return [Variant("build", "the build as its file says"), *single,
            Variant("all", "all of these off", True, change, tokens=1, plain=True)]


def plain_luts(model: ModelWrapper, measured: Popcounts) -> float:
    """Look-up tables that plain popcounts take more than structural ones, in every binary_linear of a folded graph."""
    more = 0.0
    for n in model.graph.node:
        if graph.stem(n) == "binary_linear":
            layer = ops.layer_from_node(n)
            structural, plain = measured[min(measured, key=lambda w, s=layer.SIMD: abs(w - s))]
            more += layer.PE * layer.TP * layer.SIMD * (plain - structural)
    return more


def ablate(model: ModelWrapper, config: BuildConfig, relower: Callable[[BuildConfig], ModelWrapper],
           measured: Popcounts, *, only: set[str] | None = None,
           progress: Callable[[int, int, str], None] | None = None) -> dict[str, Any]:
    """All variants of a build.

    Args:
        model: specialized graph of the build; not changed. relower: that for a configuration with other ``rows``.
        measured: LUTs per MAC of popcounts. only: names of variants. progress: called with (done, all, next name).
    Returns:
        :func:`.design.conditions`, "target", "variants": {name: {"what", "used", and where used the row of an
        :class:`.design.Estimate`, or "impossible": why no folding meets the target}}, "popcount", "seconds".
    """
    begun, target = time.monotonic(), target_of(config)
    rows: dict[str, dict[str, Any]] = {}
    graphs = {config.rows: model}
    todo = [v for v in variants(config) if only is None or v.name in only]
    for i, v in enumerate(todo):
        if progress:
            progress(i, len(todo), v.name)
        rows[v.name] = {"what": v.what, "used": v.used}
        if not v.used:
            continue
        now = config.model_copy(update=v.change)
        if now.rows not in graphs:
            graphs[now.rows] = relower(now)
        start = time.monotonic()
        try:
            folded = fold(with_engines(graphs[now.rows], now), now, target, v.tokens)
        except UserError as e:
            rows[v.name]["impossible"] = f"{e.what} {e.where}: {e.why}"
            continue
        extra = plain_luts(folded, measured) if v.plain else 0.0
        rows[v.name] |= measure(folded, now, target, start, extra).row()
    if progress:
        progress(len(todo), len(todo), "")
    return {**conditions(config), "target": target, "variants": rows,
            "popcount": {str(w): {"structural": s, "plain": p} for w, (s, p) in measured.items()},
            "seconds": round(time.monotonic() - begun, 1)}


COLUMNS = {"logic_lut": "logic LUT", "lut": "LUT", "bram18": "BRAM18", "uram": "URAM", "dsp": "DSP",
           "memory_mbit": "memory Mbit", "interval": "interval"}


def markdown(data: dict[str, Any]) -> str:
    """The table; differences to the build in brackets."""
    base = data["variants"].get("build", {})
    lines = [f"{data['network']} on {data['board'] or data['device']}, target {data['target']:,} cycles (every figure: "
             f"{data['source']}).", f"FIFOs: {FIFOS}.", "", "| off | " + " | ".join(COLUMNS.values()) + " | fits |",
             "|---|" + "---:|" * len(COLUMNS) + "---|"]
    for name, row in data["variants"].items():
        if not row["used"]:
            lines.append(f"| {name}: not used by this build |" + " |" * (len(COLUMNS) + 1))
        elif "impossible" in row:
            lines.append(f"| {name}: {row['impossible']} |" + " |" * (len(COLUMNS) + 1))
        else:
            cells = []
            for k in COLUMNS:
                change = row[k] - base.get(k, row[k])
                cells.append(f"{row[k]:,}" + (f" ({change:+,.{1 if k == 'memory_mbit' else 0}f})" if change else ""))
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {'yes' if row['fits'] else 'no'} |")
    return "\n".join([*lines, "", *(f"* {n}: {r['what']}" for n, r in data["variants"].items())])
