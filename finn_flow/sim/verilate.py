"""Compile a SystemVerilog top with FINN-style stream ports into an executable simulator, and run it."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bhvit.errors import UserError, says_full
from bhvit.tools import ToolMissing, compiler, package_version, verilator

from ..streams import Stream

#: status of a run in which nothing moved any more
STANDSTILL = 3
#: mean interval, relative to the median, from which frames leave unevenly
UNEVEN = 1.01
#: frames from which the pace at the input is that of the steady state
MANY = 24
HARNESS = Path(__file__).with_name("harness.cpp")
#: what every simulator includes first
HEADERS = ("verilated.h", "chrono", "cinttypes", "cstdint", "cstdio", "cstdlib", "cstring", "string", "vector")
#: style warnings that generated wrappers may cause; the kernels themselves are linted with -Wall by the tests
QUIET = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-MULTITOP", "-Wno-WIDTH", "-Wno-PINMISSING"]


class SimulationError(UserError, RuntimeError):
    """Verilator or the C++ compiler failed, or the simulation ended abnormally."""


@dataclass(frozen=True)
class Stalls:
    """Random stalls: each cycle an idle input stays idle / an output is not ready with the given probability.

    With ``burst``, stretches of up to so many cycles in which the port does nothing alternate with stretches of the
    former: only stalls about as long as a frame press back through a whole design.
    """

    seed: int = 1
    input_percent: int = 0
    output_percent: int = 0
    burst: int = 0


NO_STALLS = Stalls()


@dataclass
class SimResult:
    """Outcome of a run. ``outputs``: int64 (F, *dims) per output stream (partial frames are cut off)."""

    status: int
    cycles: int
    seconds: float
    outputs: list[np.ndarray]
    input_frame_cycles: list[list[int]]
    output_frame_cycles: list[list[int]]
    log: str
    #: bytes that came from the memory of the system on ports of weights
    streamed: int = 0

    @property
    def interval(self) -> float | None:
        """Median cycles between frames on output 0 in steady state (first third dropped), None below 3 frames."""
        c = self.output_frame_cycles[0]
        if len(c) < 3:
            return None
        d = np.diff(c)
        return float(np.median(d[len(d) // 3:]))

    @property
    def mean_interval(self) -> float | None:
        """Mean of the same intervals: more than the median where frames leave in groups."""
        c = self.output_frame_cycles[0]
        return float(np.diff(c)[(len(c) - 1) // 3:].mean()) if len(c) >= 3 else None

    @property
    def pace(self) -> float | None:
        """Cycles per frame that the throughput follows from: the mean interval where frames leave unevenly.

        A run that ends lets frames leave faster than others could follow: with enough frames the input's pace counts,
        if that is slower.
        """
        median, mean, taken = self.interval, self.mean_interval, self.input_interval
        found = mean if median is not None and mean > UNEVEN * median else median
        return taken if found and taken and taken > found and len(self.output_frame_cycles[0]) >= MANY else found

    @property
    def input_interval(self) -> float | None:
        """Mean cycles between the last third of the frames that went in on input 0, None below 3 frames."""
        c = self.input_frame_cycles[0]
        last = c[-(len(c) // 3 + 1):]
        return (last[-1] - last[0]) / (len(last) - 1) if len(c) >= 3 else None

    def least_mean(self, frames: int) -> float | None:
        """Least mean interval of so many successive ones, or of all where there are fewer; None below 3 frames.

        What a steady design of engines reaches once its start is over, however long that takes: no group of frames, as
        large as one may be, is faster for longer.
        """
        c = np.array(self.output_frame_cycles[0])
        frames = min(frames, len(c) - 1)
        return float((c[frames:] - c[:-frames]).min() / frames) if len(c) >= 3 else None

    @property
    def latency(self) -> int:
        """Cycles from the first input beat to the last output beat of frame 0."""
        return self.output_frame_cycles[0][0] - self.input_frame_cycles[0][0] + 1


def _run(cmd: Sequence[str | Path], cwd: Path, env: dict[str, str] | None = None) -> None:
    name = Path(cmd[0]).name
    try:
        r = subprocess.run([str(c) for c in cmd], cwd=cwd, env=env, capture_output=True, text=True)
    except FileNotFoundError as e:
        raise ToolMissing(f"`{name}` could not be started.", e.filename, e.strerror,
                          "run `bhvit doctor`; `ld` comes with the compiler (`apt-get install g++`)") from e
    said = r.stdout + r.stderr
    if r.returncode:
        _explain(r.returncode, said, cwd)
    with (cwd / "compile.log").open("a") as f:
        f.write(" ".join(map(str, cmd)) + "\n" + said + "\n")
    if r.returncode:
        raise SimulationError(f"{name} failed (exit code {r.returncode}).", cwd / "compile.log", said[-3000:].strip(),
                              "`bhvit doctor` lists the tools; out of memory: --set jobs=1; otherwise please report it")


def _explain(code: int, said: str, where: Path) -> None:
    """Raise SimulationError when a tool failed because it could not write, or had no memory."""
    if code == -signal.SIGKILL or "Killed signal terminated" in said or "out of memory" in said:
        raise SimulationError("There is not enough memory.", where, said[-300:].strip() or None,
                              "close other programs, or compile one file at a time: `bhvit build` with --set jobs=1")
    if code == -signal.SIGXFSZ or says_full(said):
        raise SimulationError("The disk is full, or a size limit was reached.", where, said[-300:].strip() or None,
                              "free some space or choose another folder, then run the same command again")


@cache
def _cache_root() -> Path:
    """Folder for what is compiled once per user; it is executed, so nobody else may be able to write there."""
    shared = Path(tempfile.gettempdir()) / f"bhvit-verilated-{os.getuid()}"
    with suppress(FileExistsError):
        shared.mkdir(mode=0o700)
    found = shared.lstat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others_write:
        return shared
    private = Path(tempfile.mkdtemp(prefix="bhvit-verilated-"))
    process = os.getpid()
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(private, ignore_errors=True))
    return private


@cache
def compiled_by() -> tuple[str, ...]:
    """What a simulator depends on besides the design: Verilator, the C++ compiler, and how they are called."""
    return (package_version("verilator"), str(compiler()), hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12])


@contextmanager
def _cached(*key: object) -> Iterator[Path]:
    """The folder of a key, locked."""
    folder = _cache_root() / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _runtime(cxxflags: list[str], root: Path) -> Path:
    """Verilator's runtime, compiled once per user, compiler and version."""
    stamp = os.path.getmtime(root / "include/verilated.cpp")
    with _cached("runtime", str(compiler()), cxxflags, str(root), stamp) as folder:
        obj = folder / "runtime.o"
        if not obj.exists():
            objs = []
            for n in ("verilated", "verilated_threads"):
                objs.append(folder / f"{n}.o")
                _run([compiler(), *cxxflags, "-c", root / f"include/{n}.cpp", "-o", objs[-1]], folder)
            _run(["ld", "-r", *objs, "-o", folder / "runtime.tmp"], folder)
            (folder / "runtime.tmp").rename(obj)
    return obj


def _headers(cxxflags: list[str], root: Path) -> list[str | Path]:
    """Flags that make g++ take Verilator's headers from a precompiled one: a third of a second per compiled file.

    It is 70 MB large; where it cannot be written, the headers are read as they are.
    """
    if not compiler().name.startswith("g++"):
        return []
    stamp = os.path.getmtime(root / "include/verilated.h")
    with _cached("headers", str(compiler()), cxxflags, str(root), stamp) as folder:
        header, done, partial = (folder / f"headers.{k}" for k in ("h", "h.gch", "partial"))
        if not done.exists():
            try:
                header.write_text("".join(f"#include <{h}>\n" for h in HEADERS))
                _run([compiler(), *cxxflags, "-x", "c++-header", header, "-o", partial], folder)
                partial.rename(done)
            except (SimulationError, OSError):
                partial.unlink(missing_ok=True)
                return []
    return ["-include", header]


def build_simulator(top: str, sources: Sequence[Path], n_in: int, n_out: int, work: Path, *,
                    defines: Sequence[str] = (), optimize: str = "-O1", split: int = 0, jobs: int = 2,
                    harness: Path = HARNESS, link: Sequence[str] = (), load: str | None = None,
                    load_stages: int = 1, weights: Sequence[str] = (), asked: Sequence[str] = ()) -> Path:
    """Verilate ``top`` (ports in<i>_V_*, out<i>_V_*) and compile it with a harness.

    Args:
        top: module name. sources: RTL files. work: folder for everything; created.
        defines: Verilog macros. optimize: g++ level. split: Verilator --output-split (0: one file).
        jobs: compiler processes at a time when split. harness: the C++ main program. link: more flags for the linker.
        weights: names of the ports that take words of weights from the memory of the system; asked: those of them that
            take what they have asked for (port <name>_R beside <name>_V).
        load: port of the load bus, where the top has one, and how many registers it passes.
    Returns:
        The executable. Memory images are looked up in the folder in which it is run.
    """
    work.mkdir(parents=True, exist_ok=True)
    tool = verilator()
    root = Path(tool.env["VERILATOR_ROOT"])
    ports = [f"IN_PORT({i}, in{i}_V_TDATA, in{i}_V_TVALID, in{i}_V_TREADY)" for i in range(n_in)]
    ports += [f"OUT_PORT({i}, out{i}_V_TDATA, out{i}_V_TVALID, out{i}_V_TREADY)" for i in range(n_out)]
    ports += [f"WEIGHT_PORT({i}, {p}_TDATA, {p}_TVALID, {p}_TREADY)" for i, p in enumerate(weights)]
    ports += [f"REQUEST_PORT({i}, {p}_TDATA, {p}_TVALID, {p}_TREADY)"
              for i, p in enumerate(f"{w[:-2]}_R" if w in asked else "" for w in weights) if p]
    if load:  # defined once: the file is read several times
        ports.insert(0, f"#ifndef BV_LOAD\n#define BV_LOAD {load}\n#define BV_LOAD_STAGES {load_stages + 2}\n#endif")
    shutil.rmtree(work / "obj", ignore_errors=True)  # Verilator leaves pieces of another design there
    (work / "ports.inc").write_text("\n".join(ports) + "\n")
    cmd = [tool.path, "--cc", "--Mdir", "obj", "--prefix", "Vtop", "--top-module", top, "--no-timing", "-O3",
           "--x-assign", "fast", "--x-initial", "unique", "--no-assert-case", *QUIET, *[f"-D{d}" for d in defines]]
    if split:
        cmd += ["--output-split", str(split)]
    _run([*cmd, *sources], work, tool.env)
    base = ["-std=c++17", "-w", f"-I{root}/include", f"-I{root}/include/vltstd", "-DVM_COVERAGE=0", "-DVM_SC=0",
            "-DVM_TIMING=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0"]
    flags = [*base, optimize]
    runtime = _runtime([*base, "-O2"], root)
    headers = _headers(flags, root)
    generated = sorted((work / "obj").glob("*.cpp"))
    if split:
        def compile_one(source: Path) -> Path:
            obj = work / "obj" / (source.stem + ".o")
            # Verilator marks what runs once or rarely as slow: optimizing it only costs compile time
            how = [*base, "-O0"] if "Slow" in source.stem else [*flags, *headers]
            _run([compiler(), *how, "-Iobj", "-I.", "-c", source, "-o", obj], work)
            return obj

        with ThreadPoolExecutor(jobs) as pool:
            objs = list(pool.map(compile_one, [*generated, harness]))
        _run([compiler(), *link, *objs, runtime, "-lpthread", "-latomic", "-o", "sim"], work)
    else:
        (work / "all.cc").write_text("".join(f'#include "{g}"\n' for g in generated) + f'#include "{harness}"\n')
        _run([compiler(), *link, *flags, *headers, "-Iobj", "-I.", "all.cc", runtime, "-lpthread", "-latomic", "-o",
              "sim"], work)
    return work / "sim"


def run_simulator(exe: Path, inputs: Sequence[tuple[Stream, np.ndarray]], outputs: Sequence[Stream], frames: int, *,
                  cwd: Path, stalls: Stalls = NO_STALLS, patience: int = 100_000, throttle: int = 0,
                  progress: Callable[[int, int], None] | None = None, progress_every: int = 0,
                  plusargs: Sequence[str] = (), load: Path | None = None,
                  weights: Sequence[tuple[Path, int]] = (), bandwidth: float = 0.0) -> SimResult:
    """Stream ``frames`` frames through a simulator made by :func:`build_simulator`.

    Args:
        inputs: stream and int frames (F, *dims) per input. outputs: streams. cwd: folder with the memory images.
        stalls: random stalls. patience: cycles without movement at the boundary after which the run ends (status 3).
        throttle: if > 0, the beats of an input are spread evenly, one frame per ``throttle`` cycles.
        plusargs: for ``$value$plusargs`` of the design, each beginning with "+".
        load: what goes down the load bus first (see :mod:`..load`). weights: file and bytes of a word for each port of
        weights. bandwidth: bytes per cycle of the memory that they come from (0: no limit).
    """
    with tempfile.TemporaryDirectory(prefix="bhvit-sim-") as tmp:
        cmd: list[str] = [str(exe)]
        for i, (st, data) in enumerate(inputs):
            f = Path(tmp) / f"in{i}.bin"
            f.write_bytes(st.pack(data).tobytes())
            cmd += ["--in", str(i), str(f), str(st.padded_width // 8), str(st.beats)]
        for i, st in enumerate(outputs):
            cmd += ["--out", str(i), str(Path(tmp) / f"out{i}.bin"), str(st.padded_width // 8), str(st.beats),
                    str(st.beats * frames)]
        if stalls.input_percent:
            cmd += ["--stall-in", str(stalls.seed), str(stalls.input_percent)]
        if stalls.output_percent:
            cmd += ["--stall-out", str(stalls.seed), str(stalls.output_percent)]
        if stalls.burst:
            cmd += ["--burst", str(stalls.burst)]
        cmd += ["--patience", str(patience), "--throttle", str(throttle), "--progress", str(progress_every), *plusargs]
        cmd += ["--load", str(load.resolve())] if load else []
        for i, (f, size) in enumerate(weights):
            cmd += ["--weights", str(i), str(f.resolve()), str(size)]
        cmd += ["--memory", str(bandwidth)] if bandwidth else []
        said_last = Path(tmp) / "stdout"  # a file, since nobody would empty a pipe while standard error is read
        with said_last.open("w") as stdout:
            p = subprocess.Popen(cmd, cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True)
        log: list[str] = []
        assert p.stderr
        try:
            for line in p.stderr:
                if line.startswith("progress "):
                    if progress:
                        _, c, f_done = line.split()
                        progress(int(c), int(f_done))
                else:
                    log.append(line)
            p.wait()
        except BaseException:  # interrupted: do not leave a simulator behind
            p.kill()
            p.wait()
            raise
        out = said_last.read_text()
        last = out.strip().splitlines()[-1] if out.strip() else ""
        if not last.startswith("{"):
            said = "".join(log) + out
            _explain(p.returncode, said, Path(tmp))
            raise SimulationError(f"The simulator ended with exit code {p.returncode}.", exe, said[-3000:].strip())
        info = json.loads(last)
        results = []
        for i, st in enumerate(outputs):
            width = st.padded_width // 8
            raw = np.fromfile(Path(tmp) / f"out{i}.bin", dtype=np.uint8).reshape(-1, width)
            results.append(st.unpack(raw[: raw.shape[0] // st.beats * st.beats]))
        return SimResult(info["status"], info["cycles"], info["seconds"], results,
                         [s["frame_cycles"] for s in info["inputs"]], [s["frame_cycles"] for s in info["outputs"]],
                         "".join(log) + "\n".join(out.strip().splitlines()[:-1]), sum(info["weights"]))
