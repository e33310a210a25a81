"""FIFO depths snapped to memories: where a smaller memory holds most of what a FIFO ever held, it gets that one.

High-water marks fall where they will, memories come in steps: 8382 beats of 64 bits take three UltraRAMs, 8192 take
two. A producer that finds its FIFO full a little earlier waits, which costs nothing where it had run ahead. So the next
cheaper memory that holds at least a share of the mark is proposed for every FIFO, residuals included, and all proposals
are simulated together with the input unthrottled: what keeps the interval there needs no other confirmation. If the
interval is lost, what is full at a standstill gets its depth back; without a standstill, groups are halved, those that
save most first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .sim.design import FifoState
from .sim.verilate import SimResult

#: parts of the marks that the cheaper memories must hold, one after the other
SHARES = (0.75, 0.5)
#: simulations at most
TRIALS = 6
#: look-up tables, or as much in block RAM and UltraRAM, that a proposal and a trial must save
WORTH, WORTH_TRIAL = 40.0, 400.0


@dataclass
class Snapper:
    """Snaps depths; ``depths`` is the set that kept the interval last, or the one given.

    Attributes:
        depths: depths that need no proof yet. high: high-water marks. run: simulates depths by FIFO, with a word for
        the log. keeps: whether a run keeps the interval. price: of a FIFO with a depth. rounded: depth for a
        high-water mark.
        last: the run that ``depths`` kept the interval in, None where no trial did.
    """

    depths: dict[str, int]
    high: Mapping[str, int]
    run: Callable[[dict[str, int], str], tuple[SimResult, list[FifoState]]]
    keeps: Callable[[SimResult], bool]
    price: Callable[[str, int], float]
    rounded: Callable[[int], int]
    trials: int = field(default=0, init=False)
    last: tuple[SimResult, list[FifoState]] | None = field(default=None, init=False)

    def snap(self) -> None:
        """Take what keeps the interval, first what costs the producers little."""
        for share in SHARES:
            refused = self._take(self.proposals(share))
            if refused:  # what is too small by a quarter is too small by half
                self.high = {n: h for n, h in self.high.items() if n not in refused}

    def proposals(self, share: float) -> dict[str, int]:
        """The depth of the cheaper memory by FIFO, those that save most first."""
        found = {}
        for n, mark in self.high.items():
            depth = cheaper(mark, self.depths[n], share, lambda d, n=n: self.price(n, d), WORTH)
            if depth is not None:
                found[n] = depth
        return dict(sorted(found.items(), key=lambda f: -self._saved(*f)))

    def _saved(self, name: str, depth: int) -> float:
        return self.price(name, self.depths[name]) - self.price(name, depth)

    def _take(self, group: dict[str, int]) -> set[str]:
        """Try a group and then its parts; the FIFOs that were not snapped."""
        saved = sum(self._saved(*f) for f in group.items())
        if not group or saved < WORTH_TRIAL or self.trials >= TRIALS:
            return set(group)
        self.trials += 1
        result, states = self.run({**self.depths, **group}, f"{len(group)} FIFOs snapped to smaller memories")
        if self.keeps(result):
            self._keep({**self.depths, **group}, result, states)
            return set()
        stuck = {s.name for s in states if s.full} & set(group) if result.status else set()
        if stuck and len(stuck) < len(group):
            return stuck | self._take({n: d for n, d in group.items() if n not in stuck})
        if len(group) == 1:
            return set(group)
        half = (len(group) + 1) // 2
        parts = list(group.items())
        return self._take(dict(parts[:half])) | self._take(dict(parts[half:]))

    def _keep(self, depths: dict[str, int], result: SimResult, states: list[FifoState]) -> None:
        """A FIFO that never was full in a run may lose what it did not use: the run stays the same."""
        marks = {s.name: s.max_count for s in states}
        self.depths = {n: min(d, self.rounded(marks[n])) if d > 64 and n in marks else d for n, d in depths.items()}
        self.last = result, states


def cheaper(mark: int, depth: int, share: float, price: Callable[[int], float], worth: float) -> int | None:
    """The greatest depth below the mark that costs ``worth`` less and as little as one of ``share`` of the mark."""
    low, high = max(3, math.ceil(share * mark)), min(mark, depth - 1)
    target = price(low) if low <= high else price(depth)
    if price(depth) - target < worth:
        return None
    while low < high:  # prices grow with the depth
        middle = (low + high + 1) // 2
        if price(middle) <= target:
            low = middle
        else:
            high = middle - 1
    return low
