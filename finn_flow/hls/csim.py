"""C simulation: instances of a layer's HLS kernel, compiled with g++ and compared with the golden model.

No vendor tool takes part: ``ap_int.h`` comes from the PyPI package hls4ml, ``hls_stream.h`` from ``hls/sim``. Several
instances go into one program, under AddressSanitizer and UBSan unless told otherwise.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bhvit.errors import CheckFailed, UserError
from bhvit.tools import ToolMissing, compiler

from ..layers.base import Constants, Layer
from ..layers.loop import Loop
from ..sim.verilate import SimulationError, _cached, _run
from ..streams import Stream
from .generate import IN_SET, INCLUDE, OUT_SET, SETS, SIM, instance, kernel, max_width, ports, preamble
from .spread import spread

#: UBSan's shift check stops in the ap_int headers themselves
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize=shift", "-fno-sanitize-recover=undefined")
#: warnings about allocation: the kernels allocate nothing, and g++'s pass that looks for them takes a time that grows
#: with the square of the number of words in a memory image (ten seconds for 4,000)
NO_ALLOCATION = ("-Wno-free-nonheap-object", "-Wno-mismatched-dealloc", "-Wno-mismatched-new-delete")
#: C++14 is the oldest standard that the vendor's compilers take; the other warnings come from inside ap_int
FLAGS = ("-std=c++14", "-O0", "-g0", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-uninitialized",
         "-Wno-maybe-uninitialized", *NO_ALLOCATION, "-DAP_INT_MAX_W=32768")


class HlsCompileError(UserError):
    """g++ refused a kernel: a static_assert speaks, or the source is wrong."""


def ap_types() -> Path:
    """Folder of ``ap_int.h``."""
    spec = importlib.util.find_spec("hls4ml")
    folder = Path(spec.submodule_search_locations[0]) / "templates/vivado/ap_types" if spec else None  # type: ignore
    if folder is None or not (folder / "ap_int.h").exists():
        raise ToolMissing("The headers of ap_int are not installed in this environment.", where="ap_int.h",
                          why="C simulation of HLS kernels takes them from the PyPI package `hls4ml`",
                          do="run `make setup`")
    return folder


@dataclass
class HlsCase:
    """One instance with its data: what it gets and what the golden model says."""

    layer: Layer
    name: str
    constants: Constants
    inputs: list[np.ndarray]
    expected: list[np.ndarray]
    sets: np.ndarray | None = None  # of every frame in an engine that blocks share, (F,); default: in turn

    def __post_init__(self) -> None:
        self.frames = len(self.inputs[0])

    @classmethod
    def random(cls, layer: Layer, name: str, seed: int = 7, constants: Constants | None = None) -> HlsCase:
        """Random inputs and, unless they are given, random constants."""
        rng = np.random.default_rng(seed)
        if constants is None:
            constants = layer.random_constants(rng)
        smallest = min(s.beats for s in layer.outputs())
        frames = max(3, layer.sets * max(1, layer.repeat) + 1, min(16, 40 // smallest))
        inputs = layer.random_inputs(rng, frames)
        if isinstance(layer, Loop):
            inputs[1] = layer.random_inputs(rng, frames * layer.rounds)[1]
            return cls(layer, name, constants, inputs, layer.golden_of_returns(*inputs))
        return cls(layer, name, constants, inputs, layer.golden(inputs, constants))

    def vectors(self) -> dict[str, tuple[Stream, np.ndarray]]:
        """Frames by port."""
        data = {f"in{i}": x for i, x in enumerate(self.inputs)} | {f"out{i}": x for i, x in enumerate(self.expected)}
        data[IN_SET] = self.layer.set_of_frame(self.frames) if self.sets is None else self.sets
        data[OUT_SET] = np.tile(np.arange(self.layer.rounds), self.frames) if isinstance(self.layer, Loop) else None
        return {p: (s, data[p].reshape(-1, 1, 1) if s is SETS else data[p]) for p, s in ports(self.layer)}


@dataclass
class CsimResult:
    """``failures``: one sentence per failing case."""

    cases: int
    beats: int
    failures: list[str] = field(default_factory=list)
    compile_seconds: float = 0.0
    run_seconds: float = 0.0


def hex_beats(stream: Stream, frames: np.ndarray) -> str:
    """One beat a line, most significant digit first."""
    return "".join(row[::-1].tobytes().hex() + "\n" for row in stream.pack(frames))


def testbench(cases: Sequence[HlsCase]) -> str:
    """C++ of the testbench: a main program that runs all cases, or those whose names are its arguments."""
    text = ["#include <string>\n"]
    for c in cases:
        streams = [f'    hls::stream<ap_uint<{s.padded_width}>> {p}("{p}");' for p, s in ports(c.layer)]
        inputs = [p for p, _ in ports(c.layer) if p.startswith("in")]
        outputs = [p for p, _ in ports(c.layer) if p.startswith("out")]
        text.append("\n".join([
            f"static bool run_{c.name}(const std::string& folder) {{",
            f'  return bhvit_sim::Case("{c.name}", folder).run([](bhvit_sim::Case& t) {{', *streams,
            *(f'    t.feed({p}, "{p}");' for p in inputs),
            f"    for (int frame = 0; frame < {c.frames}; frame++)",
            f"      {c.name}({', '.join(p for p, _ in ports(c.layer))});",
            *(f"    t.used_up({p});" for p in inputs), *(f'    t.compare({p}, "{p}");' for p in outputs),
            "  });", "}\n"]))
    calls = "".join(f"  if (selected(\"{c.name}\")) good &= run_{c.name}(folder);\n" for c in cases)
    return "\n".join(text) + (
        "\nint main(int count, char** words) {\n"
        "  const std::string folder = count > 1 ? words[1] : \".\";\n"
        "  const auto selected = [&](const std::string& name) {\n"
        "    for (int i = 2; i < count; i++)\n      if (name == words[i]) return true;\n"
        "    return count <= 2;\n  };\n"
        f"  bool good = true;\n{calls}  return good ? 0 : 1;\n}}\n")


def program(cases: Sequence[HlsCase]) -> str:
    """One source file with all instances and the testbench."""
    stems = sorted({c.layer.stem for c in cases})
    width = max(max_width(c.layer, c.constants) for c in cases)
    # the testbench header is given to the compiler first, precompiled
    return preamble(stems, width) + "".join(instance(c.layer, c.name, c.constants) + "\n" for c in cases) + \
        testbench(cases)


def _headers(flags: Sequence[str], search: Sequence[str]) -> list[str | Path]:
    """Flags that make g++ take the testbench header, with ap_int behind it, precompiled: seconds per program.

    The compiler does not notice when a precompiled header is stale, so a digest of the sources is kept beside it.
    """
    plain: list[str | Path] = ["-include", SIM / "testbench.hpp"]
    if not compiler().name.startswith("g++"):
        return plain
    sources = (SIM / "testbench.hpp", SIM / "hls_stream.h", INCLUDE / "bhvit" / "core.hpp")
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in sources)).hexdigest()
    with _cached("hls", str(compiler()), os.path.getmtime(compiler()), list(flags), list(search)) as folder:
        header, done, partial, mark = (folder / n for n in ("hls.h", "hls.h.gch", "partial", "digest"))
        if not done.exists() or not mark.exists() or mark.read_text() != digest:
            try:
                done.unlink(missing_ok=True)
                header.write_text(f'#include "{SIM / "testbench.hpp"}"\n')
                _run([compiler(), *flags, *search, "-x", "c++-header", header, "-o", partial], folder)
                partial.rename(done)
                mark.write_text(digest)
            except (SimulationError, OSError):
                partial.unlink(missing_ok=True)
                return plain
    return ["-include", header]


def compile_source(text: str, kernels: Iterable[type[Layer]], folder: Path, *, sanitize: bool = True,
                   first: Sequence[Path] = (), name: str = "csim", objects: Sequence[Path] | None = ()) -> Path:
    """Write a program to ``folder/<name>.cpp`` and compile it to ``folder/<name>``.

    Without optimization: compiling takes most of the time, running next to nothing.

    Args:
        kernels: the layers that the program uses. first: include folders that come before the kernels' own (mutated
            kernels). objects: object files to link; None: do not link, the result is the object file ``<name>.o``.
    Raises:
        HlsCompileError: with the first error that the compiler printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.cpp"
    source.write_text(text)
    outside = sorted({str(kernel(k).parent) for k in kernels} - {str(INCLUDE / "bhvit")})
    search = [f"-I{SIM}", f"-I{INCLUDE}", "-isystem", str(ap_types())]
    flags = [*FLAGS, *(SANITIZE if sanitize else ())]
    result = folder / (name if objects is not None else f"{name}.o")
    link = ["-c"] if objects is None else [*objects, "-pthread"]
    command = [compiler(), *flags, *_headers(flags, search), *(f"-I{d}" for d in (*first, *outside)), *search, source,
               *link, "-o", result]
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        error = next((line for line in p.stderr.splitlines() if "error:" in line), p.stderr[-500:])
        raise HlsCompileError("The C++ compiler refused an HLS kernel.", where=str(source), why=error.strip())
    return result


def compile_program(text: str, vectors: dict[str, tuple[Stream, np.ndarray]], kernels: Iterable[type[Layer]],
                    folder: Path, **options) -> Path:
    """Write a program and its vectors into ``folder`` and compile it; see :func:`compile_source` for the options.

    Args:
        vectors: frames by the name of their file. kernels: the layers that the program uses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (stream, frames) in vectors.items():
        (folder / f"{name}.hex").write_text(hex_beats(stream, frames))
    return compile_source(text, kernels, folder, **options)


def compile_cases(cases: Sequence[HlsCase], folder: Path, **options) -> Path:
    """Compile one program with all cases; see :func:`compile_source` for the options."""
    vectors = {f"{c.name}_{port}": v for c in cases for port, v in c.vectors().items()}
    return compile_program(program(cases), vectors, {type(c.layer) for c in cases}, folder, **options)


def _place(stream: Stream, index: int) -> str:
    frame, rest = divmod(index, stream.beats)
    group, fold = divmod(rest, stream.channels // stream.SIMD)
    token, channel = group * stream.TP, fold * stream.SIMD
    return (f"frame {frame}, tokens {token} to {token + stream.TP - 1}, "
            f"channels {channel} to {channel + stream.SIMD - 1}")


def run_program(exe: Path, streams: dict[str, dict[str, Stream]], timeout: float = 600) -> CsimResult:
    """Run a compiled program. streams: by case and port; every case must end with its own verdict."""
    start = time.monotonic()
    try:
        p = subprocess.run([exe, exe.parent], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise CheckFailed(f"The C++ program has not ended after {timeout:.0f} s.", exe,
                          "it stands still, or the machine is too busy") from error
    result = CsimResult(len(streams), 0, run_seconds=time.monotonic() - start)
    missing = list(streams)
    for line in p.stdout.splitlines():
        kind, name, *rest = line.split(" ", 2)
        if kind not in ("ok", "mismatch", "error") or name not in missing:
            continue
        missing.remove(name)
        if kind == "ok":
            result.beats += int(rest[0])
            continue
        what = rest[0]
        if kind == "mismatch":
            port, index, got, expected = what.split()
            place = _place(streams[name][port], int(index))
            what = f"{port} beat {index} ({place}) is {got}, expected {expected}"
        result.failures.append(f"{name}: {what}")
    if missing:
        said = [x for x in p.stderr.splitlines() if re.search(r"ERROR|error|Assertion|terminate", x)]
        result.failures.append(f"{missing[0]}: the program ended with exit code {p.returncode}: "
                               + (said[0] if said else p.stderr[-300:].strip()))
    return result


def run_cases(exe: Path, cases: Sequence[HlsCase]) -> CsimResult:
    """Run a program made by :func:`compile_cases`."""
    return run_program(exe, {c.name: dict(ports(c.layer)) for c in cases})


def csim(cases: Sequence[HlsCase], folder: Path, **options) -> CsimResult:
    """Compile and run."""
    start = time.monotonic()
    exe = compile_cases(cases, folder, **options)
    seconds = time.monotonic() - start
    result = run_cases(exe, cases)
    result.compile_seconds = seconds
    return result


def layer_cases(cls: type[Layer], quick: bool = False) -> list[HlsCase]:
    """The instances of a layer that are simulated.

    Args:
        quick: only the declaration's examples, each in its own folding.
    """
    layers = spread(cls, 0, 1) if quick else spread(cls)
    return [HlsCase.random(layer, f"{cls.stem}_{i}", seed=i) for i, layer in enumerate(layers)]


def gaps(layers: dict[str, type[Layer]]) -> list[str]:
    """Layers without an HLS kernel."""
    return [stem for stem, cls in layers.items() if not kernel(cls).exists()]


def check(result: CsimResult, stem: str) -> None:
    """Raises CheckFailed unless every case was equal."""
    if result.failures:
        raise CheckFailed(f"The HLS kernel of {stem} does not equal the golden model in {len(result.failures)} of "
                          f"{result.cases} cases.", where=f"hls/include/bhvit/{stem}.hpp", why=result.failures[0])
