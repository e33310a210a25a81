"""The shell in simulation: compiled with a design, driven register by register, with memory models (shell_sim.cpp)."""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..sim.verilate import SimulationError, build_simulator
from ..stitch import Design
from . import registers
from .design import SHELL_TOP, ShellParameters, design_sources
from .wiring import masters, write_tops

HERE = Path(__file__).parent
HARNESS = HERE / "shell_sim.cpp"
MODEL = HERE / "axi_model.hpp"
STATIC = ("-static",)  #: the program runs without the environment of the flow


def build_shell_simulator(design: Design, parameters: ShellParameters, work: Path, *, optimize: str = "-O1",
                          sources: list[Path] | None = None, jobs: int = 2) -> Path:
    """Compile the shell with a design; one that is compiled is used again.

    Args:
        work: folder of compiled simulators. sources: instead of those of design and shell (for tests).
    Returns:
        The executable, to be run in the folder of the memory images; shell_sim.cpp says how it is spoken to.
    """
    files = sources or design_sources(design)
    with tempfile.TemporaryDirectory() as d:
        tops = [f.read_text() for f in write_tops(parameters, Path(d), whole=True).values()]
    feeds = feeder_header(parameters)
    h = hashlib.sha256(json.dumps([optimize, *tops, feeds, HARNESS.read_text(), MODEL.read_text(), *STATIC]).encode())
    for f in files:
        h.update(f.name.encode() + b"\0" + f.read_bytes())
    folder = (Path(work) / f"shell_{h.hexdigest()[:16]}").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "sim").exists():
            partial = folder.with_name(folder.name + ".partial")
            for left in (folder, partial):
                if left.exists():
                    shutil.rmtree(left)
            partial.mkdir(parents=True)
            (partial / "feeder.inc").write_text(feeds)
            generated = write_tops(parameters, partial, whole=True).values()
            build_simulator(SHELL_TOP, [*(f.resolve() for f in files), *generated], 0, 0, partial,
                            optimize=optimize, jobs=jobs, harness=HARNESS, link=STATIC)
            partial.rename(folder)
    return folder / "sim"


def feeder_header(p: ShellParameters) -> str:
    """What shell_sim.cpp has to know: the read masters of the feeder."""
    names = " ".join(f"X({i}, {m.removeprefix('m_axi_')})" for i, m in enumerate(masters(p)))
    return f"#define FEEDER {int(p.feeder)}\n#define FEEDS(X) {names}\n"


class ProtocolViolation(SimulationError):
    """The design broke a rule of AXI or AXI4-Lite."""


class LineSim:
    """A simulator that is spoken to in lines. Closes its process and its memory file when closed."""

    def __init__(self, exe: Path, cwd: Path, seed: int = 1) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="bhvit-shell-")
        self._process = subprocess.Popen([str(Path(exe).resolve()), str(seed)], cwd=cwd, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, bufsize=1)
        self._maps: list[mmap.mmap] = []
        self.cycle = 0

    def ask(self, *words: object) -> int:
        """Send a command and return the value of its answer.

        Raises:
            ProtocolViolation: a rule was broken. SimulationError: an error, or the simulator has ended.
        """
        text = " ".join(map(str, words))
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            while answer and not answer.startswith(("ok ", "violation ", "error ")):
                answer = self._process.stdout.readline()  # messages of the design
        except BrokenPipeError:
            answer = ""
        kind, _, rest = answer.strip().partition(" ")
        if kind == "violation":
            raise ProtocolViolation(f"AXI protocol: {rest}.", self._process.args[0], f"in `{text}`")
        if kind != "ok":
            raise SimulationError("The simulation of the shell failed.", self._process.args[0],
                                  f"{rest or 'it ended'}, in `{text}`")
        value, cycle = rest.split()
        self.cycle = int(cycle)
        return int(value)

    def memory(self, base: int, size: int) -> np.ndarray:
        """Map fresh memory, zeros, at an address of the design; returns it as uint8 array."""
        path = Path(self._files.name) / f"{base:x}"
        with path.open("wb+") as f:
            f.truncate(size)
            shared = mmap.mmap(f.fileno(), size)
        self._maps.append(shared)
        self.ask("map", hex(base), size, path)
        return np.frombuffer(shared, np.uint8)

    def set(self, **knobs: int) -> None:
        for name, value in knobs.items():
            self.ask("set", name, value)

    def get(self, figure: str) -> int:
        return self.ask("get", figure)

    def close(self) -> None:
        p = self._process
        with suppress(OSError, ValueError):
            assert p.stdin
            p.stdin.close()
        try:
            p.wait(timeout=20)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
        assert p.stdout
        p.stdout.close()
        self._files.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class ShellSim(LineSim):
    """A running simulation of the shell, with its registers by name."""

    BLOCKS = {b.name: (i, b) for i, b in enumerate(registers.ALL)}

    def read(self, block: str, register: str) -> int:
        index, b = self.BLOCKS[block]
        return self.ask("read", index, hex(b.offset(register)))

    def write(self, block: str, register: str, value: int) -> None:
        index, b = self.BLOCKS[block]
        self.ask("write", index, hex(b.offset(register)), hex(value))

    def field(self, block: str, register: str, name: str) -> int:
        """A field of a register, shifted down."""
        mask = self.BLOCKS[block][1].mask(register, name)
        return (self.read(block, register) & mask) // (mask & -mask)

    def poll(self, block: str, register: str, mask: int, cycles: int) -> int:
        """Read until a bit of the mask is set, for at most so many cycles; returns the last value."""
        index, b = self.BLOCKS[block]
        return self.ask("poll", index, hex(b.offset(register)), hex(mask), cycles)
