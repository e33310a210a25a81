"""Simulate a stitched design: compiled once per content, run with any data, stalls and (for sizing) FIFO depths."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..stitch import TOP, Design
from ..streams import unpack_words
from .verilate import HARNESS, NO_STALLS, SimResult, Stalls, build_simulator, compiled_by, run_simulator

FIFO_MODEL = Path(__file__).with_name("fifo_model.sv")
_LINE = re.compile(r"^BV_FIFO (\d+) (\d+) (\d+) (\d+) (\d) (\d) (\d) (\d) (\d+)\s*$", re.M)
#: cycles up to which no optimization, and from which the better one pays: compile time against run time
SHORT, LONG = 1_500_000, 10_000_000
#: designs with more nodes than this are compiled in pieces, several at a time
LARGE = 150


@dataclass(frozen=True)
class FifoState:
    """Statistics line of one FIFO at the end of a run."""

    name: str
    depth: int
    max_count: int
    count: int
    in_valid: bool
    in_ready: bool
    out_valid: bool
    out_ready: bool
    beats_in: int

    @property
    def full(self) -> bool:
        """Full, and its producer wants to push."""
        return self.count >= self.depth and self.in_valid

    @property
    def starving(self) -> bool:
        """Empty, and its consumer waits."""
        return self.count == 0 and self.out_ready


class DesignSim:
    """Simulator of a stitched design.

    Args:
        design: the design. work: folder for compiled simulators; each content has its own subfolder and is reused.
        kind: "run" (statistics), "trace" (also every beat of every FIFO, slow) or "sizing" (run-time FIFO depths).
        optimize: g++ level. "-O0" compiles five times faster than "-O1" and runs at 0.6 of its speed; "-O2" runs about
            an eighth faster and compiles more than twice as long. jobs: compilers. later: compile with the first run.
    """

    def __init__(self, design: Design, work: Path, kind: str = "run", optimize: str = "-O1",
                 jobs: int = 2, later: bool = False) -> None:
        self.design, self.kind = design, kind
        sources = [FIFO_MODEL if kind == "sizing" and f.name == "bv_fifo.sv" else f for f in design.sources]
        defines = {"run": ["BV_STATS"], "trace": ["BV_STATS", "BV_TRACE"], "sizing": []}[kind]
        split = 20000 if len(design.nodes) > LARGE and optimize != "-O0" else 0
        h = hashlib.sha256(json.dumps([defines, optimize, split, HARNESS.read_text(), *compiled_by()]).encode())
        for f in sources:
            h.update(f.name.encode() + b"\0" + f.read_bytes())
        self.work = Path(work) / f"{kind}_{h.hexdigest()[:16]}"
        self._built = self.work / "sim"
        self._make = lambda: self._compile(sources, defines, optimize, split, jobs)
        if not later:
            _ = self.exe

    @property
    def exe(self) -> Path:
        """The compiled simulator."""
        if not self._built.exists():
            self.work.parent.mkdir(parents=True, exist_ok=True)
            with self.work.with_name(self.work.name + ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # two simulations of the same design compile it once
                if not self._built.exists():
                    self._make()
        return self._built

    def _compile(self, sources: list[Path], defines: list[str], optimize: str, split: int, jobs: int) -> None:
        partial = self.work.with_name(self.work.name + ".partial")
        for left in (self.work, partial):
            if left.exists():
                shutil.rmtree(left)
        build_simulator(TOP, [f.resolve() for f in sources], len(self.design.inputs), len(self.design.outputs),
                        partial.resolve(), defines=defines, optimize=optimize, split=split, jobs=jobs,
                        load="load" if self.design.loads else None, load_stages=len(self.design.loads),
                        weights=[w["port"] for w in self.design.weights],
                        asked=[w["port"] for w in self.design.weights if w.get("asked")])
        partial.rename(self.work)

    def run(self, frames: np.ndarray, *, stalls: Stalls = NO_STALLS, throttle: int = 0, patience: int | None = None,
            depths: dict[str, int] | None = None, cwd: Path | None = None, expect: int | None = None,
            progress: Callable[[int, int], None] | None = None, progress_every: int = 0, bandwidth: float = 0.0,
            closed: str | None = None) -> tuple[SimResult, list[FifoState]]:
        """Stream ``frames`` (F, *dims) into input 0.

        Args:
            depths: FIFO depths by name (kind "sizing"). cwd: folder to run in (default: that of the memory images);
                a folder given gets links to the memory images, for traces. expect: frames expected at the output.
            bandwidth: bytes per cycle of the memory that streamed weights come from (0: no limit). closed: FIFO that
            nothing leaves (kind "sizing").
        """
        if patience is None:
            slow = 100 / (100 - min(95, max(stalls.input_percent, stalls.output_percent)))
            patience = int((4 * self.design.max_cycles + self.design.total_cycles) * slow) + 5000 + 2 * throttle
            patience += 2 * stalls.burst
        args: Sequence[str] = ()
        if depths:
            args = [f"+fifo{i}={depths[n]}" for i, n in enumerate(self.design.fifos) if n in depths]
        if closed:
            args = [*args, f"+closed={self.design.fifos.index(closed)}"]
        where = self.design.memories
        if cwd is not None:
            cwd.mkdir(parents=True, exist_ok=True)
            for m in self.design.memories.iterdir():
                if not (cwd / m.name).exists():
                    (cwd / m.name).symlink_to(m.resolve())
            where = cwd
        result = run_simulator(self.exe.resolve(), [(self.design.inputs[0], frames)], self.design.outputs,
                               len(frames) if expect is None else expect, cwd=where, stalls=stalls, patience=patience,
                               throttle=throttle, progress=progress, progress_every=progress_every, plusargs=args,
                               load=self.design.load_file, bandwidth=bandwidth,
                               weights=[(self.design.memories / f"{w['port']}.bin", w["bytes"])
                                        for w in self.design.weights])
        return result, self.states(result.log)

    def states(self, log: str) -> list[FifoState]:
        found = []
        for m in _LINE.finditer(log):
            i, depth, high, count, *bits, beats = map(int, m.groups())
            found.append(FifoState(self.design.fifos[i], depth, high, count, *map(bool, bits), beats))
        return sorted(found, key=lambda s: self.design.fifos.index(s.name))

    def trace(self, frames: np.ndarray, streams: dict[str, object], **kwargs) -> dict[str, np.ndarray]:
        """Run a "trace" build and return by FIFO name the int64 elements (beats, TP * SIMD) that left it."""
        with tempfile.TemporaryDirectory(prefix="bhvit-trace-") as tmp:
            self.run(frames, cwd=Path(tmp), **kwargs)
            out = {}
            for i, name in enumerate(self.design.fifos):
                st = streams[name]
                text = (Path(tmp) / f"trace_{i}.hex").read_text().split()
                digits = (st.padded_width // 8) * 2
                raw = np.frombuffer(bytes.fromhex("".join(w.zfill(digits) for w in text)), dtype=np.uint8)
                raw = raw.reshape(-1, digits // 2)[:, ::-1]
                out[name] = unpack_words(raw, st.TP * st.SIMD, st.dtype)
            return out
