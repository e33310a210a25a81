"""Frames through the simulated shell, bytes in memory to bytes in memory, with faults and resets between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .design import ShellParameters
from .driver import DONE, ERRORS, FAILED, Feeder, Host, Outside, TransferFailed, place
from .loader import RECORD, table
from .sim import ShellSim

#: where memory begins: above 4 GiB, so that upper halves of addresses count
BASE = 0x12_0000_0000
FILL = 0xEE
#: where constants from outside are
CONSTANTS = 0x15_0000_0000


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
    loads: int = 0
    cycles: int = 0
    first_difference: str | None = None
    figures: dict[str, int] = field(default_factory=dict)
    paces: list[Pace] = field(default_factory=list)


class Session:
    """A simulated shell with memory, for frames of packed bytes.

    Args:
        parameters: of the shell. slots: frames that memory has room for. patience: cycles until a batch is given up.
        constants: those from outside, of designs that have some; :meth:`feed` brings them in.
    """

    def __init__(self, sim: ShellSim, parameters: ShellParameters, slots: int, patience: int,
                 rng: np.random.Generator, constants: Outside | None = None) -> None:
        self.sim, self.p, self.rng, self.patience = sim, parameters, rng, patience
        room = 8192 + slots * max(parameters.input_bytes, parameters.output_bytes)
        self.half = (room + 4095) // 4096 * 4096
        self.memory = sim.memory(BASE, 2 * self.half)
        self.host = Host(sim, patience)
        self.slots = slots
        self.outcome = Outcome()
        self.feeder = None
        if constants is not None and parameters.feeder:
            self.feeder = Feeder(sim, constants, CONSTANTS, parameters.axi_bits // 8, rng)

    # ---- constants from outside
    def feed(self, data: np.ndarray, want: np.ndarray, cycles: int = 300) -> None:
        """Bring the constants in, while a batch waits for them: it must not enter before they are there.

        The first load fails (a bit of the table is wrong, then the memory answers an error) and is repeated.
        """
        assert self.feeder
        self.sim.set(**vars(Pace.draw(self.rng)))
        at, size = self.begin(data)
        for step in ("nothing", "damage", "error", "load", "weights"):
            if step in ("damage", "error", "load") and self.p.load:
                self.load(step)
            if step == "weights":
                break
            self.sim.ask("run", cycles)
            entered = self.sim.read("control", "FRAMES_IN") or self.sim.field("control", "STATUS", "busy")
            if entered and (step != "load" or self.p.weights):
                self._note(f"a frame has entered before the constants were there (after: {step})")
        if self.p.weights:
            self.feeder.start_weights()
        self.host.finish()
        got = self.memory[at: at + size].reshape(want.shape)
        self.outcome.batches += 1
        self._compare(got, want)

    def load(self, how: str = "load") -> None:
        """Load, or try to: "damage": a bit in the table is wrong; "error": the memory answers an error."""
        assert self.feeder
        f, rng = self.feeder, self.rng
        spoiled = int(rng.integers(f.table.start, f.table.stop))
        if spoiled < f.table.start + RECORD:  # the last word of the header says nothing
            spoiled = f.table.start + spoiled % (RECORD - 8)
        beats = (f.table.stop - f.table.start) // 8
        if how == "damage":
            f.memory[spoiled] ^= 1 << int(rng.integers(0, 8))
            kept = f.memory.copy()
        elif how == "error":
            self.sim.set(load_fault_in=int(rng.integers(1, beats + 1)), feed_fault=int(rng.integers(2, 4)))
        state = f.load(self.patience + 100 * beats, self.sim.field("feeder", "START", "weights") == 1)
        self.sim.set(load_fault_in=0)
        if how == "damage":
            assert np.array_equal(kept, f.memory)
            place(f.memory, f.table.start, table(f.constants.segments, f.table_at))
        if state != (DONE if how == "load" else FAILED):
            self._note(f"LOADER_STATUS is {state} after a load ({how})")
        if how == "load" and self.sim.get("load_open"):
            self._note("reads of the loader are open after its end")
        self.outcome.loads += 1

    def fault_of_weights(self, data: np.ndarray, beats: int, response: int) -> None:
        """A batch in which a read of weights is answered with an error; recover as a host does."""
        port = int(self.rng.integers(0, len(self.p.weights)))
        self.sim.set(**vars(Pace.draw(self.rng)), feed_fault=response)
        self.sim.set(**{f"weight{port}_fault_in": beats})
        self.begin(data)
        end = self.sim.cycle + self.patience
        while not self.sim.field("control", "STATUS", "weight_error") and self.sim.cycle < end:
            self.sim.ask("run", 100)
        if not self.sim.field("control", "STATUS", "weight_error"):
            self._note("an error answer to a read of weights does not show in STATUS")
        if self.sim.read("feeder", "ERRORS") != response << 2 * port:
            self._note(f"ERRORS is {self.sim.read('feeder', 'ERRORS'):#x} after answer {response} at port {port}")
        self.host.soft_reset()
        self.sim.set(**{f"weight{port}_fault_in": 0})
        if self.sim.field("control", "STATUS", "weight_error"):
            self._note("the error of a port of weights is there after a reset")
        self.outcome.faults += 1
        self.settled("an error of weights")

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
        o.paces.append(pace)
        self._compare(got, want)
        around = np.concatenate([self.memory[self.half: at], self.memory[at + size:]])
        counted = [self.sim.read("control", r) - b for r, b in zip(("FRAMES_IN", "FRAMES_OUT"), before)]
        if (around != FILL).any():
            self._note(f"batch {o.batches}: {int((around != FILL).sum())} bytes outside of the answer were written")
        if counted != [len(data)] * 2:
            self._note(f"batch {o.batches}: {len(data)} frames, counted {counted[0]} in and {counted[1]} out")
        if self.sim.field("control", "STATUS", "busy"):
            self._note(f"batch {o.batches}: busy after its end")

    def _compare(self, got: np.ndarray, want: np.ndarray) -> None:
        o = self.outcome
        equal = (got == want).all(axis=1)
        o.frames += len(want)
        o.exact += int(equal.sum())
        if not equal.all():
            f = int(np.argmin(equal))
            b = int(np.argmax(got[f] != want[f]))
            self._note(f"frame {f} of batch {o.batches}, byte {b}: expected {want[f][b]}, got {got[f][b]}")

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
    if session.feeder:
        done = min(3, len(data), session.slots)
        session.feed(data[:done], want[:done])
    loaded = session.sim.get("load_beats") if session.p.load else 0
    while done < len(data):
        n = min(int(rng.integers(1, (most or session.slots) + 1)), len(data) - done)
        if disturb and session.outcome.batches:
            some = data[rng.integers(0, len(data), min(n, 3))]
            kind = int(rng.integers(0, 5 if session.p.weights else 4))
            if kind == 0:
                session.reset_in_the_middle(some, int(rng.integers(0, 3 * frame_cycles)))
            elif kind == 1:
                beats = some.size // (session.p.axi_bits // 8)
                session.fault(some, False, int(rng.integers(1, max(2, beats))), int(rng.integers(2, 4)))
            elif kind == 2:
                session.fault(some, True, 1, int(rng.integers(2, 4)))
            elif kind == 4:
                words, size = session.p.weights[0]
                beats = max(1, words * size // (session.p.axi_bits // 8))
                session.fault_of_weights(some, int(rng.integers(1, beats + 1)), int(rng.integers(2, 4)))
        session.batch(data[done: done + n], want[done: done + n])
        done += n
        if progress:
            progress(done)
    o = session.outcome
    if session.p.load and session.sim.get("load_beats") != loaded:
        session._note("constants were loaded again")
    o.cycles = session.sim.cycle
    o.figures = {k: session.sim.get(k) for k in ("read_bursts", "write_bursts", "most_reads", "most_writes",
                                                 "longest_read", "longest_write")}
    return o
