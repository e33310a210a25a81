"""What a host does with the registers, for the simulation: transfers, frames in batches, constants, recovery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bhvit.errors import UserError

from ..load import Segment, read
from ..stitch import Design
from .loader import table
from .registers import CONTROL, DMA, FEEDER, LENGTH_BITS
from .sim import ShellSim

RS, RESET = DMA.mask("MM2S_DMACR", "RS"), DMA.mask("MM2S_DMACR", "Reset")
IRQS = DMA.mask("MM2S_DMACR", "IOC_IrqEn") | DMA.mask("MM2S_DMACR", "Err_IrqEn")
HALTED, IDLE = DMA.mask("MM2S_DMASR", "Halted"), DMA.mask("MM2S_DMASR", "Idle")
ERRORS = sum(DMA.mask("MM2S_DMASR", f) for f in ("DMAIntErr", "DMASlvErr", "DMADecErr"))
IRQ = DMA.mask("MM2S_DMASR", "IOC_Irq") | DMA.mask("MM2S_DMASR", "Err_Irq")
LOAD, WEIGHTS = FEEDER.mask("START", "load"), FEEDER.mask("START", "weights")
LOADING, DONE, FAILED = 1, 2, 3  #: LOADER_STATUS
SOFT_RESET = CONTROL.mask("CONTROL", "soft_reset")


class TransferFailed(UserError, RuntimeError):
    """A channel reported an error or did not come to an end."""


@dataclass
class Channel:
    """One DMA channel: prefix "MM2S" or "S2MM"."""

    sim: ShellSim
    prefix: str

    @property
    def address(self) -> str:
        return "SA" if self.prefix == "MM2S" else "DA"

    def register(self, name: str, value: int | None = None) -> int:
        if value is None:
            return self.sim.read("dma", f"{self.prefix}_{name}")
        self.sim.write("dma", f"{self.prefix}_{name}", value)
        return value

    def status(self) -> int:
        return self.register("DMASR")

    def run(self) -> None:
        """Let the channel run, with interrupts."""
        self.register("DMACR", RS | IRQS)

    def start(self, address: int, length: int) -> None:
        self.register(self.address, address & 0xFFFFFFFF)
        self.register(f"{self.address}_MSB", address >> 32)
        self.register("LENGTH", length)

    def finish(self, cycles: int) -> None:
        """Wait for the end of the transfer and acknowledge its interrupt.

        Raises:
            TransferFailed: an error bit is set, or it took more cycles.
        """
        status = self.sim.poll("dma", f"{self.prefix}_DMASR", IDLE | ERRORS, cycles)
        if status & ERRORS or not status & IDLE:
            what = "reported an error" if status & ERRORS else f"is not done after {cycles} cycles"
            raise TransferFailed(f"The {self.prefix} channel {what}.", "DMASR", f"{status:#010x}")
        self.register("DMASR", IRQ)


class Host:
    """Runs frames through the simulated shell.

    Args:
        sim: with memory mapped. patience: cycles until a transfer is given up.
    """

    def __init__(self, sim: ShellSim, patience: int) -> None:
        self.sim, self.patience = sim, patience
        self.send, self.receive = Channel(sim, "MM2S"), Channel(sim, "S2MM")
        self.start()

    def start(self) -> None:
        for c in (self.receive, self.send):
            c.run()

    def begin(self, source: int, length: int, target: int, answer: int) -> None:
        """Begin both transfers: ``length`` bytes from ``source``, ``answer`` bytes to ``target``."""
        assert max(length, answer) < 1 << LENGTH_BITS
        self.receive.start(target, answer)
        self.send.start(source, length)

    def finish(self) -> None:
        self.send.finish(self.patience)
        self.receive.finish(self.patience)

    def soft_reset(self, cycles: int = 20_000) -> None:
        """Reset accelerator and DMA and let the channels run again.

        Raises:
            TransferFailed: it did not end; AXI transactions are open.
        """
        self.sim.write("control", "CONTROL", SOFT_RESET)
        end = self.sim.cycle + cycles
        while self.sim.read("control", "CONTROL") & SOFT_RESET:
            if self.sim.cycle > end:
                raise TransferFailed("The soft reset does not end.", "CONTROL", f"more than {cycles} cycles")
            self.sim.ask("run", 20)
        self.start()


@dataclass(frozen=True)
class Outside:
    """Constants of a design that come from outside: segments to load, words (words, bytes) of each port of weights."""

    segments: list[Segment]
    weights: list[np.ndarray]

    @classmethod
    def of(cls, design: Design) -> Outside:
        words = [np.fromfile(design.memories / f"{w['port']}.bin", np.uint8).reshape(w["words"], w["bytes"])
                 for w in design.weights]
        return cls(read(design.load_file) if design.load_file else [], words)


class Feeder:
    """Constants in simulated memory, and the registers that bring them into the accelerator.

    Args:
        base: where memory for them is mapped. align: bytes of a beat of the ports. rng: of where things lie there.
    """

    def __init__(self, sim: ShellSim, constants: Outside, base: int, align: int, rng: np.random.Generator) -> None:
        self.sim, self.constants = sim, constants
        at, places = base, []
        pieces = [b"\0" * len(table(constants.segments, 0)), *(w.tobytes() for w in constants.weights)]
        for data in pieces:
            at += int(rng.integers(0, 4096 // align)) * align
            places.append(at)
            at = -(-(at + len(data)) // align) * align
        self.memory = sim.memory(base, (at - base + 4095) // 4096 * 4096)
        self.table_at, self.weights_at = places[0], places[1:]
        self.table = slice(places[0] - base, places[0] - base + len(pieces[0]))
        place(self.memory, self.table.start, table(constants.segments, self.table_at))
        for where, data in zip(self.weights_at, pieces[1:]):
            place(self.memory, where - base, data)

    @property
    def state(self) -> int:
        """LOADER_STATUS."""
        return self.sim.field("control", "LOADER_STATUS", "state")

    def _address(self, register: str, value: int) -> None:
        self.sim.write("feeder", register, value & 0xFFFFFFFF)
        self.sim.write("feeder", f"{register}_MSB", value >> 32)

    def load(self, cycles: int, weights: bool) -> int:
        """Write the constants; returns LOADER_STATUS at the end. weights: whether they are on meanwhile."""
        self._address("LOAD_TABLE", self.table_at)
        self.sim.write("feeder", "START", LOAD | WEIGHTS * weights)
        end = self.sim.cycle + cycles
        while (state := self.state) == LOADING:
            if self.sim.cycle > end:
                raise TransferFailed("The load does not end.", "LOADER_STATUS", f"more than {cycles} cycles")
            self.sim.ask("run", 50)
        return state

    def start_weights(self) -> None:
        for i, at in enumerate(self.weights_at):
            self._address(f"WEIGHT{i}", at)
        self.sim.write("feeder", "START", WEIGHTS)


def place(memory: np.ndarray, at: int, data: bytes) -> None:
    """Copy bytes into a memory array."""
    memory[at: at + len(data)] = np.frombuffer(data, np.uint8)
