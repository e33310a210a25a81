"""Resource figures of one layer instance from Yosys (`read_slang`, `synth_xilinx`): evidence level "yosys".

Yosys does not pair two small functions in one LUT6_2 (an instantiated LUT6_2 counts once) and does not place: its LUT
count is an upper bound of what a vendor tool reports for logic, and it says nothing about timing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from bhvit.errors import UserError, says_full
from bhvit.tools import yosys

from .layers.base import Constants, Layer
from .netlist import longest_path
from .wrapper import RTL, memory_files, sources, verilog_number, wrapper

#: LUT sites of the memory primitives
LUTRAM = {"RAM32X1S": 1, "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4,
          "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
#: primitives that the RTL instantiates: Yosys replaces these stubs with its own cells
STUB = """(* blackbox *) module CARRY4 (output logic [3:0] CO, output logic [3:0] O, input logic CI, input logic CYINIT,
    input logic [3:0] DI, input logic [3:0] S);
endmodule
(* blackbox *) module LUT6 #(parameter logic [63:0] INIT = 0) (output logic O, input logic I0, input logic I1,
    input logic I2, input logic I3, input logic I4, input logic I5);
endmodule
(* blackbox *) module LUT6_2 #(parameter logic [63:0] INIT = 0) (output logic O6, output logic O5, input logic I0,
    input logic I1, input logic I2, input logic I3, input logic I4, input logic I5);
endmodule
"""


def _dsp_stub(name: str, d_bits: int, opmode_bits: int) -> str:
    """Interface of a DSP slice. The options that no kernel sets keep the vendor's defaults."""
    registers = ("A", "B", "C", "D", "AD", "M", "P", "INMODE", "OPMODE", "ALUMODE", "CARRYIN", "CARRYINSEL", "ACASC",
                 "BCASC")
    outputs = {"ACOUT": 30, "BCOUT": 18, "PCOUT": 48, "P": 48, "CARRYOUT": 4}
    flags = ("CARRYCASCOUT", "MULTSIGNOUT", "OVERFLOW", "UNDERFLOW", "PATTERNDETECT", "PATTERNBDETECT")
    outputs |= dict.fromkeys(flags, 1)
    inputs = {"A": 30, "B": 18, "C": 48, "D": d_bits, "ACIN": 30, "BCIN": 18, "PCIN": 48, "OPMODE": opmode_bits,
              "INMODE": 5, "ALUMODE": 4, "CARRYINSEL": 3}
    inputs |= dict.fromkeys(("CARRYIN", "CARRYCASCIN", "MULTSIGNIN", "CLK"), 1)
    enables = ("A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P", "INMODE", "CTRL", "ALUMODE", "CARRYIN")
    resets = ("A", "B", "C", "D", "M", "P", "INMODE", "CTRL", "ALUMODE", "ALLCARRYIN")
    inputs |= {**{f"CE{e}": 1 for e in enables}, **{f"RST{r}": 1 for r in resets}}
    parameters = [f"parameter int {r}REG = 1" for r in registers]
    parameters += ["parameter logic [47:0] MASK = 0", "parameter logic [47:0] PATTERN = 0"]
    parameters += [f'parameter {k} = ""' for k in ("USE_MULT", "USE_DPORT", "AMULTSEL", "USE_PATTERN_DETECT")
                   if k != ("AMULTSEL" if name == "DSP48E1" else "USE_DPORT")]
    ports = [f"{d} logic [{b - 1}:0] {p}" for d, x in (("output", outputs), ("input", inputs)) for p, b in x.items()]
    return f"(* blackbox *) module {name} #({', '.join(parameters)}) ({', '.join(ports)});\nendmodule\n"


STUB += _dsp_stub("DSP48E1", 25, 7) + _dsp_stub("DSP48E2", 27, 9)


class SynthesisError(UserError, RuntimeError):
    """Yosys failed or wrote nothing."""


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


def dependencies(top: Path) -> list[Path]:
    """RTL files of ``top`` and of every ``bv_*`` module that it instantiates, directly or not."""
    cells = {m: f for f in sorted(RTL.glob("*.sv")) for m in re.findall(r"^module\s+(bv_\w+)", f.read_text(), re.M)}
    todo, found = [top], {}
    while todo:
        f = todo.pop()
        if f in found:
            continue
        text = re.sub(r"//[^\n]*", "", f.read_text())
        found[f] = None
        todo += [cells[m] for m in re.findall(r"\b(bv_\w+)\b", text) if m in cells]
    return sorted(found)


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


def synthesize(layer: Layer, constants: Constants | None = None, *, cache: Path, family: str = "xcup",
               timeout: float = 1800) -> SynthResult:
    """Synthesize one instance for AMD ``family`` (xcup: UltraScale+, xc7: 7 series) and count its primitives.

    Args:
        layer: the declaration with its attributes. constants: integer constants (default: random ones).
        cache: folder of the results, one file per content hash of everything that Yosys reads.
    """
    if constants is None:
        constants = layer.random_constants(np.random.default_rng(0))
    name = "dut"
    files = instance_files(layer, name, constants)
    job = _job(name, files, family)
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:20]
    cached = Path(cache) / f"{layer.stem}_{key}.json"
    if not cached.exists():
        found = count_cells(name, files, Path(cache) / f"{layer.stem}_{key}.log", family=family, timeout=timeout)
        tmp = cached.with_suffix(".tmp")
        tmp.write_text(json.dumps({"attributes": layer.model_dump(), **asdict(found)}, indent=1))
        tmp.rename(cached)
    data = json.loads(cached.read_text())
    data.pop("attributes")
    return SynthResult(**data)


def instance_files(layer: Layer, name: str, constants: Constants) -> dict[str, str]:
    """Verilog and memory images of one instance by file name; module ``name`` is on top."""
    files = {f.name: f.read_text() for f in dependencies(sources(type(layer))[-1])}
    files |= {f: "\n".join(x) + "\n" for f, x in memory_files(layer, name, constants).items()}
    return {**files, f"{name}.v": wrapper(layer, name, constants)}


def netlist(layer: Layer, constants: Constants, *, log: Path, family: str = "xcup", timeout: float = 1800) -> str:
    """Verilog of the synthesized instance: module ``dut`` of primitives."""
    job = _job("dut", instance_files(layer, "dut", constants), family)
    job["run.ys"] += "write_verilog -noattr netlist.v\n"
    return _run_yosys(job, log, timeout, ["netlist.v"])[0]


def count_cells(top: str, files: dict[str, str], log: Path, *, family: str = "xcup",
                parameters: dict[str, int] | None = None, timeout: float = 1800) -> SynthResult:
    """Synthesize module ``top`` and count its primitives.

    Args:
        files: contents by name, Verilog and memory images. log: what Yosys says. parameters: of ``top``.
    """
    stat, circuit = _run_yosys(_job(top, files, family, parameters), log, timeout, ["stat.json", "netlist.json"])
    found = longest_path(json.loads(circuit), top)
    return replace(parse(json.loads(stat)), levels=found.levels, path=found.cells)


def _job(top: str, files: dict[str, str], family: str, parameters: dict[str, int] | None = None) -> dict[str, str]:
    """Everything that Yosys reads, its script included."""
    files = {**files, "stub.sv": STUB}
    hdl = " ".join(sorted(f for f in files if f.endswith((".sv", ".v"))))
    options = "".join(f" -G {k}={verilog_number(v)}" for k, v in (parameters or {}).items())
    define = " -D BV_XC7" if family == "xc7" else ""
    return {**files, "run.ys": f"read_slang --threads 1 -D SYNTHESIS{define}{options} --top {top} {hdl}\n"
                               f"synth_xilinx -family {family} -flatten -noiopad -top {top}\n"
                               "tee -q -o stat.json stat -json\nwrite_json netlist.json\n"}


def _run_yosys(files: dict[str, str], log: Path, timeout: float, results: list[str]) -> list[str]:
    """Texts of the files ``results`` that the script run.ys writes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="synth-", dir=log.parent))       # YoWASP does not see the temporary directory
    try:
        for f, text in files.items():
            (work / f).write_text(text)
        tool = yosys()
        r = subprocess.run([str(tool.path), "-q", "run.ys"], cwd=work, env=tool.env, capture_output=True, text=True,
                           timeout=timeout)
        log.write_text(r.stdout + r.stderr)
        if r.returncode or not all((work / f).exists() for f in results):
            said = r.stdout + r.stderr
            full = says_full(said)
            raise SynthesisError("The disk is full, or a size limit was reached." if full else
                                 f"Yosys failed (exit code {r.returncode}).", log, said[-2000:].strip(),
                                 "free some space, then run the same command again" if full else None)
        return [(work / f).read_text() for f in results]
    finally:
        shutil.rmtree(work, ignore_errors=True)
