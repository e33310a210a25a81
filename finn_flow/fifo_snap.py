"""FIFO depths snapped to memories: where a smaller memory holds most of what a FIFO ever held, it gets that one.

High-water marks fall where they will, memories come in steps: 8382 beats of 64 bits take three UltraRAMs, 8192 take
two. A producer that finds its FIFO full a little earlier waits, which costs nothing where it had run ahead. So the next
cheaper memory that holds at least a share of the mark is proposed for every FIFO, residuals included, and proposals are
simulated together with the input unthrottled: what keeps the interval there needs no other confirmation.

What saves most is tried first: all engines that blocks share, whose layers have time to spare, and all that is outside
of them. A group that loses the interval is divided: into engines, into what was full meanwhile and what never was,
into halves; of one that stands still, what is full gets its depth back. A group that keeps it is tried with a smaller
share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .sim.design import FifoState
from .sim.verilate import SimResult

#: parts of the marks that the cheaper memories must hold, one after the other
SHARES = (0.75, 0.5)
#: simulations of proposals at most
TRIALS = 6
#: look-up tables, or as much in block RAM and UltraRAM, that a proposal and a trial must save
WORTH, WORTH_TRIAL = 100.0, 400.0
#: depth up to which FIFOs are left alone: rows of look-up table memory
SMALL = 32


@dataclass
class Snapper:
    """Snaps depths; ``depths`` is the set that kept the interval last, or the one given.

    Attributes:
        high: high-water marks. run: simulates depths by FIFO, with a word for the log. keeps: whether the run of the
        given depths keeps the interval. keeps_on: whether that of a trial does. price: of a FIFO with a depth.
        rounded: depth for a high-water mark. engines: gate by FIFO, of those in an engine.
        last: the run in which ``depths`` kept the interval, None where even the given ones did not. failed: that run.
        ran: the depths of ``last``; those of ``depths`` that are smaller were never needed there.
        todo: (share, FIFOs) not tried yet; given from a snapper whose depths failed, what it learned is kept, and the
        depths, greater now, are shown to do first.
    """

    depths: dict[str, int]
    high: Mapping[str, int]
    run: Callable[[dict[str, int], str], tuple[SimResult, list[FifoState]]]
    keeps: Callable[[SimResult], bool]
    keeps_on: Callable[[SimResult], bool]
    price: Callable[[str, int], float]
    rounded: Callable[[int], int]
    engines: Mapping[str, str] = field(default_factory=dict)
    todo: list[tuple[int, list[str]]] | None = None
    trials: int = field(default=0, init=False)
    spared: set[tuple[str, ...]] = field(default_factory=set, init=False)  # groups that are tried next
    last: tuple[SimResult, list[FifoState]] | None = field(default=None, init=False)
    failed: tuple[SimResult, list[FifoState]] | None = field(default=None, init=False)
    ran: dict[str, int] = field(default_factory=dict, init=False)

    def snap(self) -> None:
        """Take what keeps the interval, within the trials."""
        if self.todo is None:
            inside = [n for n in self.depths if n in self.engines]
            self.todo = [(0, inside), (0, [n for n in self.depths if n not in self.engines])]
        elif not self._given_do():
            return
        todo = self.todo
        while todo and self.trials < TRIALS and not self.failed:
            likely = [i for i, (_, names) in enumerate(todo) if tuple(names) in self.spared]
            share, names = todo.pop(max(likely or range(len(todo)), key=lambda i: self._worth(*todo[i])))
            self.spared.discard(tuple(names))
            group = self.proposals(names, SHARES[share])
            kept, rest = True, [list(group)]
            if self._saved(group) >= WORTH_TRIAL:
                kept, rest = self._try(group)
            if not kept:
                todo += [(share, part) for part in rest]
            elif share + 1 < len(SHARES):
                todo.append((share + 1, names))
        self._given_do()

    def proposals(self, names: Iterable[str], share: float) -> dict[str, int]:
        """The depth of the cheaper memory by FIFO, those that save most first."""
        found = {}
        for n in names:
            depth = cheaper(self.high[n], self.depths[n], share, lambda d, n=n: self.price(n, d), WORTH)
            if depth is not None:
                found[n] = depth
        return dict(sorted(found.items(), key=lambda f: -self._saved(dict([f]))))

    def _saved(self, group: Mapping[str, int]) -> float:
        return sum(self.price(n, self.depths[n]) - self.price(n, d) for n, d in group.items())

    def _worth(self, share: int, names: list[str]) -> float:
        return self._saved(self.proposals(names, SHARES[share]))

    def _try(self, group: dict[str, int]) -> tuple[bool, list[list[str]]]:
        """Whether a group keeps the interval; if it does not, the parts that may."""
        self.trials += 1
        depths = {**self.depths, **group}
        what = f"{len(group)} FIFOs in cheaper memories, by some {self._saved(group):.0f} LUTs"
        result, states = self.run(depths, what)
        if self.keeps_on(result):
            # what was never full keeps what it used: the run stays the same, but for the latency of FIFOs that are
            # shallow now; registers would be slower
            marks = {s.name: s.max_count for s in states}
            self.depths = {n: min(d, max(4, self.rounded(marks[n]))) if d > SMALL else d for n, d in depths.items()}
            self.last, self.ran = (result, states), depths
            return True, []
        stuck = {s.name for s in states if s.full} & set(group) if result.status else set()
        self._given_do()
        if len(group) == 1:
            return False, []
        if 0 < len(stuck) < len(group):
            return False, [[n for n in group if n not in stuck]]
        return False, self._parts(list(group), {s.name for s in states if s.max_count >= s.depth})

    def _parts(self, names: list[str], full: set[str]) -> list[list[str]]:
        """By engine; then what was never full, which cost nothing in that run, and the rest; then halves."""
        gates = list(dict.fromkeys(self.engines.get(n, "") for n in names))
        if len(gates) > 1:
            return [[n for n in names if self.engines.get(n, "") == g] for g in gates]
        if 0 < len(full & set(names)) < len(names):
            free = [n for n in names if n not in full]
            self.spared.add(tuple(free))
            return [free, [n for n in names if n in full]]
        half = (len(names) + 1) // 2
        return [names[:half], names[half:]]

    def _given_do(self) -> bool:
        """Whether some depths are known that keep the interval: those of a trial, or those given."""
        if self.last is None and self.failed is None:
            shown = self.run(self.depths, "sized, input unthrottled")
            self.last, self.failed = (shown, None) if self.keeps(shown[0]) else (None, shown)
            self.ran = dict(self.depths)
        return self.last is not None


def cheaper(mark: int, depth: int, share: float, price: Callable[[int], float], worth: float) -> int | None:
    """The greatest depth up to the mark that costs ``worth`` less and as little as one of ``share`` of the mark."""
    low, high = max(SMALL, math.ceil(share * mark)), min(mark, depth - 1)
    if low > high or price(depth) - price(low) < worth:
        return None
    target = price(low)
    while low < high:  # prices grow with the depth
        middle = (low + high + 1) // 2
        if price(middle) <= target:
            low = middle
        else:
            high = middle - 1
    return low
