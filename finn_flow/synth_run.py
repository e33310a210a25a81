"""Runs of Yosys for AMD devices: many modules in one process, results as they come.

What is the same for every module is done once in a process: the cells of the device are read, and the rules for block
RAM, which take five of the thirteen seconds that a small kernel needs on its own. Otherwise the passes are those of
`synth_xilinx`; a test compares its `map_memory` with the lines here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bhvit.errors import UserError, says_full
from bhvit.tools import yosys

from .wrapper import verilog_number

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

#: what `synth_xilinx` does in its step `map_memory`, by family; %rams: rules for block RAM, read before
MAP_MEMORY = {
    "xcup": ("memory_libmap -logic-cost-rom 0.015625 -lib +/xilinx/lutrams_xcu.txt -lib +/xilinx/brams_xc4v.txt "
             "-D HAS_SIZE_36 -D HAS_MIXWIDTH_SDP -D HAS_ADDRCE -lib +/xilinx/urams.txt -no-auto-huge",
             "techmap -map +/xilinx/lutrams_xc5v_map.v", "techmap -map %rams", "techmap -map +/xilinx/urams_map.v"),
    "xc7": ("memory_libmap -logic-cost-rom 0.015625 -lib +/xilinx/lutrams_xc5v.txt -lib +/xilinx/brams_xc4v.txt "
            "-D HAS_SIZE_36 -D HAS_CASCADE -D HAS_MIXWIDTH_SDP -no-auto-huge",
            "techmap -map +/xilinx/lutrams_xc5v_map.v", "techmap -map %rams")}
BLOCK_RAMS = {"xcup": "+/xilinx/brams_xcu_map.v", "xc7": "+/xilinx/brams_xc6v_map.v"}
#: seconds between two looks at what is done
LOOK = 0.2


class SynthesisError(UserError, RuntimeError):
    """Yosys failed or wrote nothing."""


@dataclass(frozen=True)
class Top:
    """A module to synthesize.

    Attributes:
        name: of the module. files: contents by name, Verilog and memory images; equal names must have equal contents in
            all modules of a run. parameters: of the module. rules: modules for `techmap`, which come before those of
            Yosys for memories. verilog: also write the netlist as Verilog.
    """

    name: str
    files: dict[str, str] = field(hash=False)
    parameters: dict[str, int] = field(default_factory=dict, hash=False)
    rules: str = field(default="", hash=False)
    verilog: bool = False

    @property
    def results(self) -> list[str]:
        """Files that a run writes: counts, netlist, and Verilog if wanted."""
        return [f"{self.name}.stat.json", f"{self.name}.json", *([f"{self.name}_netlist.v"] if self.verilog else [])]


def script(tops: list[Top], family: str) -> str:
    """Commands for Yosys, one line each."""
    return "\n".join([*_preparation(family), *(line for t in tops for line in _commands(t, family))]) + "\n"


def _preparation(family: str) -> list[str]:
    return ["read_verilog -lib -specify +/xilinx/cells_sim.v", "read_verilog -lib +/xilinx/cells_xtra.v",
            "design -stash cells", f"read_verilog -noblackbox -nooverwrite {BLOCK_RAMS[family]}", "design -stash rams"]


def _commands(top: Top, family: str) -> list[str]:
    hdl = " ".join(sorted([f for f in top.files if f.endswith((".sv", ".v"))] + ["stub.sv"]))
    options = "".join(f" -G {k}={verilog_number(v)}" for k, v in top.parameters.items())
    define = " -D BV_XC7" if family == "xc7" else ""
    name = top.name
    steps = f"synth_xilinx -family {family} -flatten -noiopad -top {name} -run"
    return ["design -reset", f"read_slang --threads 1 -D SYNTHESIS{define}{options} --top {name} {hdl}",
            "design -copy-from cells =*", f"hierarchy -check -top {name}", f"{steps} prepare:map_memory",
            MAP_MEMORY[family][0], *([f"techmap -map {_rules(top)}"] if top.rules else []), *MAP_MEMORY[family][1:],
            f"{steps} map_ffram:", f"tee -q -o {name}.stat.json stat -json",
            *([f"write_verilog -noattr {name}_netlist.v"] if top.verilog else []),
            f"select {name}", f"write_json -selected {name}.json", "select -clear", f"tee -q -a done log {name}"]


def _rules(top: Top) -> str:
    return f"{top.name}_rules.v"


def run(tops: list[Top], log: Path, *, family: str = "xcup", timeout: float = 1800,
        done: Callable[[Top, list[str]], None], stopped: Callable[[], bool] = lambda: False) -> None:
    """Synthesize modules one after the other, in as few processes as it takes.

    Args:
        log: what Yosys says. timeout: seconds for one module. done: called with each module and the texts of its
            ``results`` as soon as they are there. stopped: looked at now and then; true ends the work, done or not.
    Raises:
        SynthesisError: a module fails in a process of its own, or as the first of one.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    left = list(tops)
    while left:
        finished, said = _process(left, log, family, timeout, done, stopped)
        if stopped():
            return
        if not finished:
            full = says_full(said)
            raise SynthesisError("The disk is full, or a size limit was reached." if full else
                                 f"Yosys failed at module {left[0].name}.", log, said[-2000:].strip(),
                                 "free some space, then run the same command again" if full else None)
        left = left[finished:]  # it can die of a module before: memory that is never given back


def _process(tops: list[Top], log: Path, family: str, timeout: float, done: Callable[[Top, list[str]], None],
             stopped: Callable[[], bool] = lambda: False) -> tuple[int, str]:
    """One process; returns how many modules it has finished, and what it said."""
    work = Path(tempfile.mkdtemp(prefix="synth-", dir=log.parent))       # YoWASP does not see the temporary directory
    try:
        for name, text in {k: v for t in tops for k, v in t.files.items()}.items():
            (work / name).write_text(text)
        for top in tops:
            (work / _rules(top)).write_text(top.rules)
        (work / "stub.sv").write_text(STUB)
        (work / "run.ys").write_text(script(tops, family))
        tool, finished, since = yosys(), 0, time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen([str(tool.path), "-q", "run.ys"], cwd=work, env=tool.env, stdout=out,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                while True:
                    over = process.poll() is not None
                    names = (work / "done").read_text().split() if (work / "done").exists() else []
                    for top in tops[finished:len(names)]:
                        done(top, [(work / f).read_text() for f in top.results])
                        finished, since = finished + 1, time.monotonic()
                    if over or stopped() or time.monotonic() - since > timeout:
                        break
                    time.sleep(LOOK)
            finally:
                process.kill()
                process.wait()
        said = log.read_text(errors="replace")
        if process.returncode == 0 and finished == len(tops):
            return finished, said
        why = f"no result after {timeout:.0f} s" if not over else f"exit code {process.returncode}"
        return finished, f"{said}\n({why})"
    finally:
        shutil.rmtree(work, ignore_errors=True)
