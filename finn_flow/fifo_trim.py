"""Smaller FIFOs: what bursts alone had filled is taken away, what a residual has to wait for stays.

With unlimited FIFOs a fast layer runs ahead and fills whatever lies behind it, although it could as well wait. Only
where streams join again must a FIFO hold what the slower branch still works on. So all FIFOs but those of residuals are
cut to a part of a frame, the smallest part with which the design keeps its interval; the residuals, without a limit,
then show what they need, which is less than before, because nothing runs ahead any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from . import graph, ops
from .sim.design import FifoState
from .sim.verilate import SimResult

#: parts of a frame that are tried, and beats that every FIFO keeps (one row of look-up table memory)
PARTS = (0, 1 / 64, 1 / 16, 1 / 4)
LEAST = 32


@dataclass(frozen=True)
class Trimmed:
    """Outcome: depths by FIFO, high-water marks of the trial, and the part of a frame that the others keep."""

    depths: dict[str, int]
    high: dict[str, int]
    part: float


def residuals(model: ModelWrapper, high: Mapping[str, int]) -> set[str]:
    """FIFOs in front of joins that wait for another input: all but the emptiest of each join."""
    fifo = {n.output[0]: n for n in graph.fifos(model)}
    found = set()
    for n in model.graph.node:
        into = [fifo[t] for t in ops.stream_inputs(n) if t in fifo]
        if len(into) < 2 or graph.is_loop(n):
            continue
        filled = [high[f.name] / ops.layer_from_node(f).inputs()[0].beats for f in into]
        found |= {f.name for f, share in zip(into, filled) if share > min(filled) or filled.count(share) > 1}
    return found


def trim(model: ModelWrapper, run: Callable[[dict[str, int], str], tuple[SimResult, list[FifoState]]],
         depths: Mapping[str, int], high: Mapping[str, int], bounds: Mapping[str, int],
         keeps: Callable[[SimResult], bool], rounded: Callable[[str, int], int]) -> Trimmed | None:
    """Smaller depths, or None where nothing smaller keeps the interval.

    Args:
        run: simulates given depths, with a word for the log. depths, high: by FIFO, as sized without limits.
        bounds: unlimited depths. keeps: whether a run keeps the interval. rounded: depth of a FIFO for a mark.
    """
    beats = {n.name: ops.layer_from_node(n).inputs()[0].beats for n in graph.fifos(model)}
    free = residuals(model, high)
    for part in PARTS:
        trial = {n: bounds[n] if n in free else min(d, max(LEAST, math.ceil(part * beats[n])))
                 for n, d in depths.items()}
        result, states = run(trial, f"all but residuals cut to {part:.3g} of a frame")
        if keeps(result):
            marks = {s.name: s.max_count for s in states}
            small = {n: min(d, rounded(n, marks[n]) if n in free else trial[n]) for n, d in depths.items()}
            return Trimmed(small, marks, part)
    return None
