"""The simulated RTL behind the registers: shell (DMA, control block) and accelerator, as one process.

The process is the flow's `shell_sim.cpp`, compiled for one design. It is spoken to in lines; its clock runs while it is
asked for something. Reading a register lets time pass, as on a board: about a microsecond, and more while the same
thing is asked again and again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..errors import HostError
from .memory import Memory
from .models import Slave

#: cycles that pass with a read: the first one after a write, and at most
FIRST, MOST = 128, 16384


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

    def read(self, slave: int, offset: int) -> int:
        self._ask("run", self._pause)
        self._pause = min(2 * self._pause, MOST)
        return self._ask("read", slave, offset)

    def write(self, slave: int, offset: int, value: int) -> None:
        self._pause = FIRST
        self._ask("write", slave, offset, value)

    def close(self) -> None:
        """End the process."""
        self._memory.changed = None
        for pipe in (self._process.stdin, self._process.stdout):
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
    """One AXI4-Lite slave of the simulated RTL: 0 the DMA, 1 the control block."""

    INDEX = {"dma": 0, "control": 1}

    def __init__(self, process: ShellProcess, block: str) -> None:
        super().__init__()
        self._process, self._index = process, self.INDEX[block]

    def read(self, offset: int) -> int:
        return self._process.read(self._index, offset)

    def write(self, offset: int, value: int) -> None:
        self._process.write(self._index, offset, value)
