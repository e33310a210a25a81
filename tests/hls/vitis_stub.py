"""Stands in for `vitis_hls`, `vitis-run` and `v++`: evaluates the real Tcl script, or reads the real hls.cfg, and
writes reports in the vendor's form.

A command or option that the tools do not document is an error, as in the tools. $VITIS_STUB says what goes wrong:
`<step>=fail` (the step fails), `<step>=silent` (it says that it passed but writes no report), `<step>=hang`,
`<step>=broken` (half a report). With $VITIS_STUB_COMPILE the C simulation really happens, with g++ and the headers of
that folder.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

#: options per Tcl command (UG1399, "Vitis HLS Command Reference"), with the number of words that follow
TCL = {"open_project": {"-reset": 0}, "set_top": {}, "add_files": {"-tb": 0, "-cflags": 1},
       "open_solution": {"-reset": 0, "-flow_target": 1}, "set_part": {}, "create_clock": {"-period": 1, "-name": 1},
       "csim_design": {}, "csynth_design": {}, "cosim_design": {"-rtl": 1, "-tool": 1, "-trace_level": 1},
       "export_design": {"-format": 1, "-rtl": 1}, "close_project": {}}
#: keys of a config file (UG1399, "HLS Config File Commands")
CONFIG = {"part", "flow_target", "clock", "syn.top", "syn.file", "syn.cflags", "tb.file", "tb.cflags", "cosim.rtl",
          "cosim.tool", "cosim.trace_level", "package.output.format", "package.output.syn"}

CSYNTH = """<?xml version="1.0" encoding="UTF-8" ?>
<profile>
  <section name="Vitis HLS Report for '{top}'" level="0"/>
  <ReportVersion><Version>2023.2</Version></ReportVersion>
  <UserAssignments>
    <unit>ns</unit><ProductFamily>zynquplus</ProductFamily><Part>{part}</Part><TopModelName>{top}</TopModelName>
    <TargetClockPeriod>{period}</TargetClockPeriod><ClockUncertainty>1.08</ClockUncertainty>
    <FlowTarget>vivado</FlowTarget>
  </UserAssignments>
  <PerformanceEstimates>
    <PipelineType>none</PipelineType>
    <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>2.913</EstimatedClockPeriod></SummaryOfTimingAnalysis>
    <SummaryOfOverallLatency>
      <unit>clock cycles</unit>
      <Best-caseLatency>18</Best-caseLatency><Average-caseLatency>18</Average-caseLatency>
      <Worst-caseLatency>{worst}</Worst-caseLatency>
      <Best-caseRealTimeLatency>72.000 ns</Best-caseRealTimeLatency>
      <Interval-min>19</Interval-min><Interval-max>19</Interval-max>
    </SummaryOfOverallLatency>
  </PerformanceEstimates>
  <AreaEstimates>
    <Resources><FF>136</FF><LUT>417</LUT><BRAM_18K>2</BRAM_18K><DSP>3</DSP><URAM>0</URAM></Resources>
    <AvailableResources><BRAM_18K>624</BRAM_18K><DSP>1728</DSP><FF>460800</FF><LUT>230400</LUT><URAM>96</URAM>
    </AvailableResources>
  </AreaEstimates>
</profile>
"""
COSIM = """
Report time       : Fri Nov 21 10:12:13 UTC 2026.
Solution          : solution1.
Simulation tool   : xsim.

+----------+----------+-----------------------------------+-----------------------------------+----------------------+
|          |          |     Latency(Clock Cycles)         |     Interval(Clock Cycles)        | Total Execution Time |
+   RTL    +  Status  +-----------------------------------+-----------------------------------+    (Clock Cycles)    +
|          |          |    min    |    avg    |    max    |    min    |    avg    |    max    |                      |
+----------+----------+-----------------------------------+-----------------------------------+----------------------+
|      VHDL|        NA|         NA|         NA|         NA|         NA|         NA|         NA|                    NA|
|   Verilog|{status:>10}|         20|         21|         23|         21|         22|         24|                    69|
+----------+----------+-----------------------------------+-----------------------------------+----------------------+
"""


class Failed(Exception):
    """The tool's own error."""


class Project:
    """What the commands have said so far, and the steps."""

    def __init__(self, solution: Path) -> None:
        self.solution = solution
        self.top = self.part = self.period = ""
        self.sources: list[Path] = []
        self.testbench: list[Path] = []
        self.flags: list[str] = []
        self.done: set[str] = set()
        self.wrong = dict(x.split("=") for x in os.environ.get("VITIS_STUB", "").split())

    def step(self, name: str) -> None:
        """Take a step: do it, or what $VITIS_STUB asks for."""
        for f in (*self.sources, *self.testbench):
            if not f.is_file():
                raise Failed(f"ERROR: [HLS 200-70] file {f} does not exist")
        if not (self.top and self.part and self.period and self.sources and self.testbench):
            raise Failed("ERROR: [HLS 200-70] the project is not complete")
        if name in ("cosim", "export") and not (self.solution / "syn").is_dir():
            raise Failed(f"ERROR: [HLS 200-70] {name} before synthesis")
        wrong = self.wrong.get(name)
        if wrong == "hang":
            print(f"{name} hangs", flush=True)
            subprocess.run(["sleep", "300"])  # a child of its own, as the tools have
        getattr(self, name)(wrong)
        if wrong == "fail" and name != "cosim":
            raise Failed(f"ERROR: [HLS 200-1] {name} went wrong")

    def csim(self, wrong: str | None) -> None:
        headers = os.environ.get("VITIS_STUB_COMPILE")
        if headers:
            work = self.solution / "csim/build"
            work.mkdir(parents=True, exist_ok=True)
            cpp = [f for f in (*self.sources, *self.testbench) if f.suffix == ".cpp"]
            for f in set(self.testbench) - set(cpp):
                (work / f.name).write_bytes(f.read_bytes())
            command = ["g++", "-O0", *self.flags, "-isystem", headers, "-Wno-unknown-pragmas", *map(str, cpp), "-o",
                       "csim"]
            if subprocess.run(command, cwd=work).returncode or subprocess.run(["./csim"], cwd=work).returncode:
                raise Failed("ERROR: [SIM 211-100] 'csim_design' failed: nonzero return value.")
        elif wrong == "fail":
            print(f"mismatch {self.top} out0 3 01 00")
        print("INFO: [SIM 211-1] CSim done with 0 errors.", flush=True)

    def csynth(self, wrong: str | None) -> None:
        if wrong in ("fail", "silent"):
            return
        report = self.solution / "syn/report"
        report.mkdir(parents=True, exist_ok=True)
        text = CSYNTH.format(top=self.top, part=self.part, period=self.period, worst=18)
        (report / f"{self.top}_csynth.xml").write_text(text[: len(text) // 2] if wrong == "broken" else text)
        (self.solution / "syn/verilog").mkdir(exist_ok=True)
        (self.solution / f"syn/verilog/{self.top}.v").write_text(f"module {self.top} ();\nendmodule\n")

    def cosim(self, wrong: str | None) -> None:
        if wrong != "silent":
            report = self.solution / "sim/report"
            report.mkdir(parents=True, exist_ok=True)
            (report / f"{self.top}_cosim.rpt").write_text(
                "" if wrong == "broken" else COSIM.format(status="Fail" if wrong == "fail" else "Pass"))
        if wrong == "fail":
            print(f"mismatch {self.top} out0 7 01 00")
            raise Failed("ERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***")
        print("INFO: [COSIM 212-1000] *** C/RTL co-simulation finished: PASS ***", flush=True)

    def export(self, wrong: str | None) -> None:
        (self.solution / "impl/ip").mkdir(parents=True, exist_ok=True)


def classic(script: str) -> int:
    """Evaluate a Tcl script; the exit code."""
    import tkinter

    tcl, project, code = tkinter.Tcl(), Project(Path("prj/solution1").resolve()), []

    def call(command: str, *words: str) -> str:
        options, positional, todo = {}, [], list(words)
        while todo:
            w = todo.pop(0)
            if w.startswith("-"):
                if w not in TCL[command]:
                    raise Failed(f"ERROR: [HLS 200-101] '{command}': Unknown option '{w}'.")
                options[w] = todo.pop(0) if TCL[command][w] else True
            else:
                positional.append(w)
        if command == "set_top":
            (project.top,) = positional
        elif command == "set_part":
            (project.part,) = positional
        elif command == "create_clock":
            project.period = options["-period"]
        elif command == "add_files":
            (project.testbench if "-tb" in options else project.sources).append(Path(positional[0]))
            project.flags = shlex.split(options.get("-cflags", "")) or project.flags
        elif command in ("open_project", "open_solution"):
            (project.solution.parent if command == "open_project" else project.solution).mkdir(exist_ok=True)
        elif command.endswith("_design"):
            project.step(command.removesuffix("_design"))
        return ""

    def shielded(command: str):
        def run(*words: str) -> str:
            try:
                return call(command, *words)
            except Failed as e:
                print(e, flush=True)
                return "the command failed"  # the tools' own texts are not much better
        return run

    for command in TCL:  # tkinter loses the message of an error, so that is raised in Tcl
        tcl.createcommand(f"python_{command}", shielded(command))
        tcl.eval(f"proc {command} args {{ set e [python_{command} {{*}}$args]; if {{$e ne {{}}}} {{ error $e }} }}")
    tcl.createcommand("exit", lambda c="0": (code.append(int(c)), tcl.eval("error exit"))[0])
    sys.stdout.flush()
    try:
        tcl.eval("fconfigure stdout -buffering line")
        tcl.eval(f"source {{{script}}}")
    except tkinter.TclError as e:
        if not code:
            print(f"ERROR: {e}", flush=True)
            return 1
    return code[0] if code else 0


def unified(step: str, words: list[str]) -> int:
    """A step of `v++` or `vitis-run` after hls.cfg; the exit code."""
    options = dict(zip(words[::2], words[1::2], strict=True))
    project = Project(Path(options.pop("--work_dir")).resolve() / "hls")
    project.solution.mkdir(parents=True, exist_ok=True)
    config = Path(options.pop("--config"))
    assert not options, options
    for line in config.read_text().splitlines():
        key, _, value = line.partition("=")
        if key in ("", "[hls]"):
            continue
        if key not in CONFIG:
            print(f"ERROR: [v++ 60-603] unknown option {key}")
            return 1
        if key == "syn.top":
            project.top = value
        elif key == "part":
            project.part = value
        elif key == "clock":
            project.period = value.removesuffix("ns")
        elif key in ("syn.file", "tb.file"):
            (project.sources if key == "syn.file" else project.testbench).append(config.parent.resolve() / value)
        elif key == "syn.cflags":
            project.flags = shlex.split(value)
    try:
        project.step(step)
    except Failed as e:
        print(e, flush=True)
        return 1
    return 0


def main() -> int:
    tool, words = Path(sys.argv[0]).name, sys.argv[1:]
    if tool == "vitis_hls" and words[0] == "-f" and len(words) == 2:
        return classic(words[1])
    if tool == "vitis-run" and words[:2] == ["--mode", "hls"]:
        if words[2] == "--tcl":
            return classic(words[3])
        return unified({"--csim": "csim", "--cosim": "cosim", "--package": "export"}[words[2]], words[3:])
    if tool == "v++" and words[:3] == ["-c", "--mode", "hls"]:
        return unified("csynth", words[3:])
    print(f"ERROR: {tool} does not know {words}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
