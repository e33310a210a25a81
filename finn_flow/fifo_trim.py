"""Smaller FIFOs: what bursts alone had filled is taken away, what a residual has to wait for stays.

With unlimited FIFOs a fast layer runs ahead and fills whatever lies behind it, although it could as well wait. Only
where streams join again must a FIFO hold what the slower branch still works on, and where a layer that is never idle
gets its data in bursts. So FIFOs that are no residuals are cut to a few beats: the largest, the next two, the next
four and so on, halves of groups that need their depth, as long as that is worth a simulation and the design keeps its
interval. Residuals have no limit meanwhile and show what they need, which is less than before where nothing runs ahead
any more.

Where beats are far apart, a memory becomes two registers in a row where that is enough: they take no look-up tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qonnx.core.modelwrapper import ModelWrapper

from . import graph, ops
from .sim.design import FifoState
from .sim.verilate import SimResult

#: beats that a cut FIFO keeps (one row of look-up table memory)
LEAST = 32
#: part of all FIFO bits that a group must have to be worth a simulation, and simulations at most
WORTH, TRIALS = 0.03, 16
#: look-up tables of all FIFOs of a group that makes it worth a simulation to turn memories into registers
WORTH_LUT = 400


@dataclass
class Trimmer:
    """Cuts the FIFOs of a graph; ``depths`` is the smallest set that kept the interval, ``high`` its marks.

    Attributes:
        run: simulates depths by FIFO, with a word for the log. keeps: whether a run keeps the interval.
        bounds: unlimited depths. rounded: depth for a high-water mark.
    """

    model: ModelWrapper
    depths: dict[str, int]
    high: dict[str, int]
    bounds: Mapping[str, int]
    run: Callable[[dict[str, int], str], tuple[SimResult, list[FifoState]]]
    keeps: Callable[[SimResult], bool]
    rounded: Callable[[int], int]
    trials: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        fifos = {n.name: ops.layer_from_node(n) for n in graph.fifos(self.model)}
        self.width = {n: f.inputs()[0].width for n, f in fifos.items()}
        self.slow = {n: f.slow for n, f in fifos.items()}
        self.residuals = residuals(self.model, self.high)

    def trim(self) -> None:
        """Cut what can be cut: to registers where beats are far apart, then to a few beats."""
        slow = [n for n in self.depths if self.slow[n] and n not in self.residuals and 2 < self.depths[n] <= LEAST]
        slow.sort(key=lambda n: -self.width[n])
        self._cut(slow, lambda g: sum(self.width[n] for n in g) / 2 >= WORTH_LUT, 2)
        others = [n for n in self.depths if n not in self.residuals and self.depths[n] > LEAST]
        others.sort(key=lambda n: -self.bits(n))
        worth = self.bits(*self.depths) * WORTH
        begin, size = 0, 1
        while begin < len(others):  # the largest alone, the many small ones together
            self._cut(others[begin:begin + size], lambda g: self.bits(*g) >= worth, LEAST)
            begin, size = begin + size, 2 * size

    def bits(self, *names: str) -> int:
        """Bits of the FIFOs named, as deep as they are."""
        return self.size({n: self.depths[n] for n in names})

    def _cut(self, group: list[str], worth: Callable[[list[str]], bool], depth: int) -> None:
        if not group or not worth(group) or self.trials >= TRIALS:
            return
        if self._try(group, depth):
            return
        if len(group) == 1:
            if depth < self.depths[group[0]] // 2:
                self._try(group, self.depths[group[0]] // 2)
            return
        half = (len(group) + 1) // 2
        self._cut(group[:half], worth, depth)
        self._cut(group[half:], worth, depth)

    def _try(self, group: list[str], depth: int) -> bool:
        trial = {n: depth if n in group else self.bounds[n] if n in self.residuals else d
                 for n, d in self.depths.items()}
        self.trials += 1
        mbit = self.bits(*group) / 1e6
        result, states = self.run(trial, f"{len(group)} FIFOs of {mbit:.2f} Mbit cut to {depth} beats")
        if not self.keeps(result):
            return False
        high = {s.name: s.max_count for s in states}
        depths = {n: self.rounded(high[n]) if n in self.residuals else d for n, d in trial.items()}
        if self.size(depths) >= self.size(self.depths):  # what was taken away waits in residuals now
            return False
        self.high, self.depths = high, depths
        return True

    def size(self, depths: Mapping[str, int]) -> int:
        """Bits of FIFOs with these depths."""
        return sum(d * self.width[n] for n, d in depths.items())


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
