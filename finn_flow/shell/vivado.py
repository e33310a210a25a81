"""The `vivado` tool chain: scripts and sources in a folder that needs nothing else, Vivado run in it, its reports read.

    BUILD/bitstream/<board>/
      settings.tcl, tcl/          what is built, and the scripts (copies of finn_flow/shell/tcl)
      dma/ control/ accelerator/  sources and memory images
      <stem>.bit <stem>.hwh       the result
      reports/ vivado.log         what Vivado says

The folder may be copied to a machine that has Vivado, run there, and copied back.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bhvit.errors import CheckFailed, UserError
from bhvit.tools import ToolMissing

from ..stitch import TOP, Design
from . import registers, vivado_reports
from .boards import Board, wrong_settings
from .design import (
    CONTROL_TOP,
    DMA_TOP,
    FEEDER_TOP,
    FEEDING,
    ShellParameters,
    build_hash,
    made_of,
    mark,
    shell_sources,
)
from .wiring import UNUSED, feeding_streams, masters, memory_ports, write_tops

SCRIPTS = Path(__file__).with_name("tcl")
STEM = "bhvit"
COMMAND = ("vivado", "-mode", "batch", "-nojournal", "-log", "vivado.log", "-source", "tcl/run.tcl")
#: macros that choose the primitives of a family. They are written into the sources that ask for them: macros that a
#: project defines do not get into the IP that is packaged from it, which is synthesized on its own.
MACROS = {"zynq_ultra": (), "zynq_7000": ("BV_XC7",)}
ACCESS = {"rw": "read-write", "ro": "read-only", "w1c": "read-write", "w1s": "read-write"}


class Settings(BaseModel):
    """``settings`` of a board of this tool chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["zynq_ultra", "zynq_7000"]
    board_part: str = Field("", description="pattern of Vivado's board files, which hold the preset of the processors")
    board_connections: str = ""
    axi_bits: Literal[64, 128] = 64
    strategy: str = "Performance_Explore"


def bitstream(build: Path, board: Board, design: Design, clock_mhz: float, *, jobs: int = 2,
              run: bool = True, collect: bool = True, data: str | None = None) -> dict[str, Any]:
    """Write the folder, run Vivado in it, read its reports.

    Args:
        data: not used: the netlist is not simulated.
        run: False only writes the folder, or reads what Vivado has left there. collect: read the results.
    Returns:
        The contents of report/bitstream_<board>.json (finn_flow/shell/bitstream.py).
    Raises:
        ToolMissing: there is no Vivado; the message has the command for a machine that has it. UserError: it failed,
            or a report is missing. CheckFailed: the clock is not met.
    """
    try:
        settings = Settings.model_validate(board.settings)
    except ValidationError as e:
        raise wrong_settings(board.name, e) from e
    folder = build / "bitstream" / board.name
    if run or not collect:
        prepare(folder, board, settings, design, clock_mhz, jobs)
    if not run and not collect:
        return {"folder": str(folder), "command": command(folder)}
    if run:
        _vivado(folder, board)
    return results(folder, build_hash(design))


def command(folder: Path) -> str:
    """The line that makes the bit file, for a shell."""
    return f"cd {shlex.quote(str(folder))} && {' '.join(COMMAND)}"


# ---- the folder ---------------------------------------------------------------------------------------------------
def prepare(folder: Path, board: Board, settings: Settings, design: Design, clock_mhz: float, jobs: int) -> None:
    """Write scripts, settings and sources. A bit file that is there, hours of work, moves to `<board>.previous`."""
    if (folder / f"{STEM}.bit").is_file():
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        print(f"note: the bit file of an earlier run is kept in {previous}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark(folder, build_hash(design), clock_mhz)
    shutil.copytree(SCRIPTS, folder / "tcl")
    p = ShellParameters.of(design, clock_mhz, axi_bits=settings.axi_bits)
    shell = [f"shell/{f.name}" for f in _copy(shell_sources(*(FEEDING if p.feeder else ())), folder / "shell")]
    write_tops(p, folder / "shell", whole=False)
    for f in _copy(design.sources, folder / "accelerator"):
        define(f, MACROS[settings.family])
    images = sorted(f for f in design.memories.iterdir() if f.suffix != ".bin")  # the others come from outside
    memories = [f"accelerator/{f.name}" for f in _copy(images, folder / "accelerator")]
    weights = feeding_streams(p)
    unused = {} if p.feeder else UNUSED
    blocks = [
        _block("dma", DMA_TOP, registers.DMA.vlnv, [*shell, f"shell/{DMA_TOP}.v"], masters=["m_axi_mm2s",
               "m_axi_s2mm"], slaves=["s_axi"], streams=["m_axis", "s_axis"], unused=unused.get("dma"),
               block=registers.DMA, parameters=registers.dma_parameters(settings.axi_bits)),
        _block("control", CONTROL_TOP, registers.CONTROL.vlnv, [*shell, f"shell/{CONTROL_TOP}.v"],
               slaves=["s_axi"], unused=unused.get("control"), block=registers.CONTROL),
        _block("accelerator", TOP, accelerator_vlnv(), [f"accelerator/{f.name}" for f in design.sources], memories,
               streams=["in0_V", "out0_V", *weights])]
    if p.feeder:
        blocks.append(_block("feeder", FEEDER_TOP, registers.FEEDER.vlnv, [*shell, f"shell/{FEEDER_TOP}.v"],
                             masters=masters(p), slaves=["s_axi"], streams=weights, block=registers.FEEDER))
    for b in blocks:
        b["master_parameters"] = {"SUPPORTS_NARROW_BURST": 0, "MAX_BURST_LENGTH": p.burst,
                                  "NUM_READ_OUTSTANDING": p.outstanding, "NUM_WRITE_OUTSTANDING": p.outstanding}
    values = {"part": board.part, "board_part": settings.board_part, "board_connections": settings.board_connections,
              "family": settings.family, "axi_bits": settings.axi_bits, "clock_mhz": f"{clock_mhz:g}", "jobs": jobs,
              "strategy": settings.strategy, "stem": STEM, "span": registers.SPAN, "dma_vlnv": registers.DMA.vlnv,
              "control_vlnv": registers.CONTROL.vlnv, "accelerator_vlnv": accelerator_vlnv(), "memories": memories,
              "feeder": int(p.feeder), "feeder_vlnv": registers.FEEDER.vlnv, "feeder_ports": memory_ports(p),
              "load": int(p.load), "weight_streams": weights, "blocks": blocks}
    lines = ["# Generated: what tcl/run.tcl builds.", *(f"set bhvit({k}) {tcl(v)}" for k, v in values.items())]
    (folder / "settings.tcl").write_text("\n".join(lines) + "\n")


def accelerator_vlnv() -> str:
    return f"{registers.VENDOR}:{registers.LIBRARY}:bhvit_accelerator:{registers.IP_VERSION}"


def _copy(files: list[Path], folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copyfile(f, folder / f.name)) for f in files]


def define(source: Path, macros: tuple[str, ...]) -> None:
    """Define macros in a Verilog source that asks for them."""
    text = source.read_text()
    lines = [f"`define {m}\n" for m in macros if re.search(rf"`ifn?def {m}\b", text)]
    if lines:
        source.write_text("".join(lines) + text)


def _block(name: str, top: str, vlnv: str, sources: list[str], memories: list[str] | None = None, *,
           masters: list[str] | None = None, slaves: list[str] | None = None, streams: list[str] | None = None,
           unused: Sequence[str] | None = None, block: registers.Block | None = None,
           parameters: dict[str, int] | None = None) -> dict[str, Any]:
    """What package_ip.tcl has to know about a part."""
    described = [] if block is None else [
        [r.name, r.offset, ACCESS[r.access], r.doc, [[f.name, f.lsb, f.width, ACCESS[f.access], f.doc]
                                                    for f in r.fields]] for r in block.registers]
    return {"name": name, "top": top, "vlnv": vlnv, "sources": sources, "memories": memories or [],
            "masters": masters or [], "master_parameters": {}, "slaves": slaves or [], "streams": streams or [],
            "unused": list(unused or []),
            "span": registers.SPAN, "registers": described, "parameters": parameters or {}}


def tcl(value: Any) -> str:
    """A value as a Tcl word: dictionaries and lists as lists, texts in braces where they need them."""
    if isinstance(value, dict):
        value = [x for pair in value.items() for x in pair]
    if isinstance(value, list):
        return "{" + " ".join(map(tcl, value)) + "}"
    text = str(value)
    if re.fullmatch(r"[\w./:*%+-]+", text):
        return text
    if text.count("{") == text.count("}") and "\\" not in text and not re.search(r"\}[^{]*\{", text):
        return "{" + text + "}"
    return re.sub(r"([\s{}\[\]\"$;\\#])", r"\\\1", text)


# ---- Vivado -------------------------------------------------------------------------------------------------------
def _vivado(folder: Path, board: Board) -> None:
    exe = shutil.which("vivado")
    if exe is None:
        raise ToolMissing(f"A bitstream for the {board.title} needs AMD Vivado, which is not installed here.", "PATH",
                          "everything that Vivado needs has been written into that folder",
                          f"on a machine that has Vivado with the part {board.part}: {command(folder)}; then, with "
                          "its results in the folder: "
                          f"bhvit bitstream {folder.parents[1]} --board {board.name} --collect")
    with (folder / "vivado.out").open("w") as out:
        r = subprocess.run([exe, *COMMAND[1:]], cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    said = (folder / "vivado.out").read_text(errors="replace")
    if r.returncode or f"BHVIT DONE {STEM}" not in said:
        errors = re.findall(r"^ERROR:.*", said, re.M) or said.strip().splitlines()[-5:]
        raise UserError(f"Vivado failed (exit code {r.returncode}).", folder / "vivado.out", " / ".join(errors[:3]),
                        "mend what it says, then run the command again")


def results(folder: Path, design_hash: str) -> dict[str, Any]:
    """Bit file, hwh and reports of a finished run.

    Raises:
        UserError: one is missing, or they are those of another design. CheckFailed: timing is not met.
    """
    files = {"bitfile": folder / f"{STEM}.bit", "hwh": folder / f"{STEM}.hwh"}
    for f in files.values():
        if not f.is_file():
            raise UserError("Vivado has not written the result.", f, None, f"run it: {command(folder)}")
    clock_mhz = made_of(folder, design_hash)
    reports = folder / "reports"
    version = (reports / "tool.txt").read_text().strip() if (reports / "tool.txt").is_file() else None
    if (reports / "clock.txt").is_file():  # what the dividers give
        clock_mhz = float((reports / "clock.txt").read_text())
    return {"tool": f"Vivado {version}" if version else "Vivado", "clock_mhz": clock_mhz,
            **{k: str(f.relative_to(folder.parents[1])) for k, f in files.items()},
            **vivado_reports.timing(reports / "timing.rpt"),
            "utilization": vivado_reports.utilization(reports / "utilization.rpt"),
            "instances": vivado_reports.hierarchy(reports / "hierarchy.rpt"),
            "power": vivado_reports.power(reports / "power.rpt"), "source": "post-route"}


def check(out: dict[str, Any], board: Board) -> None:
    """Raises CheckFailed when the clock is not met."""
    if not out["timing_met"]:
        raise CheckFailed(f"The clock of {out['clock_mhz']:g} MHz is not met on the {board.title}.", out["bitfile"],
                          f"worst slack {out['wns_ns']} ns, hold {out['whs_ns']} ns, {out['failing_endpoints']} "
                          "endpoints", f"use a lower clock: --clock {int(out['fmax_mhz'])}")
