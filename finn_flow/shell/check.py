"""Frames through the simulated shell, bytes in memory to bytes in memory, with faults and resets between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .design import ShellParameters
from .driver import ERRORS, Host, TransferFailed, place
from .sim import ShellSim

#: where memory begins: above 4 GiB, so that upper halves of addresses count
BASE = 0x12_0000_0000
FILL = 0xEE


@dataclass(frozen=True)
class Pace:
    """Behaviour of the memory and of register accesses (knobs of shell_sim.cpp)."""

    stall: int = 0
    gap: int = 0
    latency: int = 20
    queue: int = 8
    lite: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pace:
        """A random one; each behaviour is also switched off at times."""
        def one(*choices: int) -> int:
            return int(rng.choice(choices))

        return cls(stall=one(0, 0, 10, 40, 70), gap=one(0, 0, 10, 40, 70), latency=one(0, 3, 30, 120, 400),
                   queue=one(1, 2, 8), lite=one(0, 0, 3, 12))


@dataclass
class Outcome:
    """What :func:`run` saw."""

    frames: int = 0
    exact: int = 0
    batches: int = 0
    resets: int = 0
    faults: int = 0
    cycles: int = 0
    first_difference: str | None = None
    figures: dict[str, int] = field(default_factory=dict)
    paces: list[Pace] = field(default_factory=list)


class Session:
    """A simulated shell with memory, for frames of packed bytes.

    Args:
        parameters: of the shell. slots: frames that memory has room for. patience: cycles until a batch is given up.
    """

    def __init__(self, sim: ShellSim, parameters: ShellParameters, slots: int, patience: int,
                 rng: np.random.Generator) -> None:
        self.sim, self.p, self.rng, self.patience = sim, parameters, rng, patience
        room = 8192 + slots * max(parameters.input_bytes, parameters.output_bytes)
        self.half = (room + 4095) // 4096 * 4096
        self.memory = sim.memory(BASE, 2 * self.half)
        self.host = Host(sim, patience)
        self.slots = slots
        self.outcome = Outcome()

    def begin(self, data: np.ndarray) -> tuple[int, int]:
        """Begin a batch of packed frames (F, input_bytes) at random places; returns where the answer goes, its size."""
        align = self.p.axi_bits // 8
        source, target = (int(self.rng.integers(0, 4096 // align)) * align for _ in range(2))
        size = len(data) * self.p.output_bytes
        place(self.memory, source, data.tobytes())
        self.memory[self.half:] = FILL
        self.host.begin(BASE + source, data.size, BASE + self.half + target, size)
        return self.half + target, size

    def batch(self, data: np.ndarray, want: np.ndarray) -> None:
        """A batch from begin to end, compared with (F, output_bytes); nothing else may have been written."""
        pace = Pace.draw(self.rng)
        self.sim.set(**vars(pace))
        before = [self.sim.read("control", r) for r in ("FRAMES_IN", "FRAMES_OUT")]
        at, size = self.begin(data)
        self.host.finish()
        got = self.memory[at: at + size].reshape(want.shape)
        o = self.outcome
        o.batches += 1
        o.frames += len(data)
        o.paces.append(pace)
        equal = (got == want).all(axis=1)
        o.exact += int(equal.sum())
        around = np.concatenate([self.memory[self.half: at], self.memory[at + size:]])
        counted = [self.sim.read("control", r) - b for r, b in zip(("FRAMES_IN", "FRAMES_OUT"), before)]
        if not equal.all():
            f = int(np.argmin(equal))
            b = int(np.argmax(got[f] != want[f]))
            self._note(f"frame {f} of batch {o.batches}, byte {b}: expected {want[f][b]}, got {got[f][b]}")
        if (around != FILL).any():
            self._note(f"batch {o.batches}: {int((around != FILL).sum())} bytes outside of the answer were written")
        if counted != [len(data)] * 2:
            self._note(f"batch {o.batches}: {len(data)} frames, counted {counted[0]} in and {counted[1]} out")
        if self.sim.field("control", "STATUS", "busy"):
            self._note(f"batch {o.batches}: busy after its end")

    def _note(self, text: str) -> None:
        self.outcome.first_difference = self.outcome.first_difference or text

    def reset_in_the_middle(self, data: np.ndarray, cycles: int) -> None:
        """Begin a batch and reset the shell after so many cycles; no AXI transaction may stay open."""
        self.sim.set(**vars(Pace.draw(self.rng)))
        self.begin(data)
        self.sim.ask("run", cycles)
        self.host.soft_reset()
        self.outcome.resets += 1
        self.settled("a reset")

    def fault(self, data: np.ndarray, write: bool, beats: int, response: int) -> None:
        """A batch in which the memory answers an error once; recover as a host does."""
        self.sim.set(**vars(Pace.draw(self.rng)), fault=response)
        self.sim.set(**{"write_fault_in" if write else "read_fault_in": beats})
        self.begin(data)
        bad, other = (self.host.receive, self.host.send) if write else (self.host.send, self.host.receive)
        status = 0
        try:
            bad.finish(self.patience)
            self._note(f"an error answer was not reported, DMASR {bad.status():#x}")
        except TransferFailed:
            status = bad.status()
        want = {2: "DMASlvErr", 3: "DMADecErr"}[response]
        if not self.sim.field("dma", f"{bad.prefix}_DMASR", want) or not status & 1:
            self._note(f"DMASR {status:#x} after answer {response}: {want} and Halted are to be set")
        if other.status() & ERRORS:
            self._note("the other channel reports the error")
        self.host.soft_reset()
        self.sim.set(read_fault_in=0, write_fault_in=0)
        self.outcome.faults += 1
        self.settled("an error")

    def blocked(self, data: np.ndarray, cycles: int) -> None:
        """Nobody takes the results: the accelerator stands still, memory must not; a soft reset ends it."""
        self.sim.set(**vars(Pace()))
        place(self.memory, 0, data.tobytes())
        self.host.send.start(BASE, data.size)
        self.sim.ask("run", cycles)
        self.host.soft_reset()
        self.outcome.resets += 1
        self.settled("a standstill")

    def settled(self, after: str) -> None:
        """No open transaction, no error left, channels running."""
        left = {k: self.sim.get(k) for k in ("open_reads", "open_writes")}
        if any(left.values()):
            self._note(f"AXI transactions are open after {after}: {left}")
        for c in (self.host.send, self.host.receive):
            if c.status() & (ERRORS | 1):
                self._note(f"{c.prefix} DMASR is {c.status():#x} after {after}")


def run(session: Session, data: np.ndarray, want: np.ndarray, *, disturb: bool = True, frame_cycles: int = 1000,
        most: int | None = None, progress: Callable[[int], None] | None = None) -> Outcome:
    """All frames in batches of random size; between them faults and resets in the middle of frames.

    Args:
        data, want: packed frames (F, input_bytes), (F, output_bytes), uint8. frame_cycles: about the cycles of a frame:
            resets come after 0 to 3 times as many. most: frames of a batch (default: the session's slots).
    """
    rng, done = session.rng, 0
    while done < len(data):
        n = min(int(rng.integers(1, (most or session.slots) + 1)), len(data) - done)
        if disturb and session.outcome.batches:
            some = data[rng.integers(0, len(data), min(n, 3))]
            kind = int(rng.integers(0, 4))
            if kind == 0:
                session.reset_in_the_middle(some, int(rng.integers(0, 3 * frame_cycles)))
            elif kind == 1:
                beats = some.size // (session.p.axi_bits // 8)
                session.fault(some, False, int(rng.integers(1, max(2, beats))), int(rng.integers(2, 4)))
            elif kind == 2:
                session.fault(some, True, 1, int(rng.integers(2, 4)))
        session.batch(data[done: done + n], want[done: done + n])
        done += n
        if progress:
            progress(done)
    o = session.outcome
    o.cycles = session.sim.cycle
    o.figures = {k: session.sim.get(k) for k in ("read_bursts", "write_bursts", "most_reads", "most_writes",
                                                 "longest_read", "longest_write")}
    return o
