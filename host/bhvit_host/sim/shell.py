"""The simulated RTL behind the registers: shell (DMA, control block) and accelerator, as one process.

The process is the flow's `shell_sim.cpp`, compiled for one design. It is spoken to in lines; its clock runs while it is
asked for something. Reading a status register lets time pass until the channel is idle or has failed, at first about
as long as an access takes on a board, and longer while nothing else is asked.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

from ..errors import HostError
from ..settings import Registers
from .memory import Memory
from .slave import Slave

#: cycles that pass at most with a read of a status register: the first one after a write, and later ones
FIRST, MOST = 64, 16384
#: cycles that pass with any other read
ACCESS = 32


class ShellProcess:
    """A running simulation. exe: compiled for the design. cwd: folder of its memory images."""

    def __init__(self, exe: Path, cwd: Path, memory: Memory, seed: int = 1) -> None:
        self._memory, self._pause = memory, FIRST
        try:
            self._process = subprocess.Popen([str(exe), str(seed)], cwd=cwd, stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, text=True, bufsize=1)
        except OSError as e:
            raise HostError("The simulation of the accelerator does not start.", exe, e.strerror,
                            "the package's simulator runs on Linux of the processor kind that it was built on; make "
                            "the package again on this machine with `bhvit deploy`") from e
        for address, size, path in memory.regions():
            self._map("map", address, size, path)
        memory.changed = self._map

    def read(self, slave: int, offset: int, until: int = 0) -> int:
        """until: bits of which one ends the waiting; 0: no status register."""
        if not until:
            self._ask("run", ACCESS)
            return self._ask("read", slave, offset)
        self._pause = min(2 * self._pause, MOST)
        return self._ask("poll", slave, offset, until, self._pause)

    def write(self, slave: int, offset: int, value: int) -> None:
        self._pause = FIRST
        self._ask("write", slave, offset, value)

    def close(self) -> None:
        """End the process."""
        if self._memory.changed == self._map:
            self._memory.changed = None
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _map(self, what: str, address: int, size: int, path: Path | None) -> None:
        if what == "map":
            self._ask("map", address, size, path)
        elif self._process.poll() is None:
            with suppress(HostError):  # it is freed, whatever became of the simulation
                self._ask("unmap", address)

    def _ask(self, *words: object) -> int:
        text = " ".join(map(str, words))
        try:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            while answer and not answer.startswith(("ok ", "violation ", "error ")):
                answer = self._process.stdout.readline()  # messages of the design
        except (OSError, ValueError):
            answer = ""
        kind, _, rest = answer.strip().partition(" ")
        if kind == "violation":
            raise HostError("The design broke a rule of AXI.", text, rest, "this is a defect of the RTL")
        if kind != "ok":
            raise HostError("The simulation of the accelerator failed.", text,
                            rest or f"it ended with exit code {self._process.poll()}", "load the overlay again")
        return int(rest.split()[0])


class ShellSlave(Slave):
    """One AXI4-Lite slave of the simulated RTL: 0 the DMA, 1 the control block, 2 the feeder, where there is one."""

    INDEX = {"dma": 0, "control": 1, "feeder": 2}

    def __init__(self, process: ShellProcess, block: str, registers: Registers) -> None:
        super().__init__()
        self._process, self._index, self._until = process, self.INDEX[block], {}
        if block == "dma":
            ends = ("Idle", "DMAIntErr", "DMASlvErr", "DMADecErr")
            self._until = {registers[f"{c}_DMASR"]: sum(registers.mask(f"{c}_DMASR", f) for f in ends)
                           for c in ("MM2S", "S2MM")}
        elif block == "control":  # 2 and 3: the load has ended
            self._until = {registers["LOADER_STATUS"]: registers.mask("LOADER_STATUS", "state") & ~1}

    def read(self, offset: int) -> int:
        return self._process.read(self._index, offset, self._until.get(offset, 0))

    def write(self, offset: int, value: int) -> None:
        self._process.write(self._index, offset, value)
