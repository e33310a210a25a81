"""`bhvit bitstream`: from a build to a bit file, with the tool chain of the board.

A tool chain is a module, named in :data:`TOOLCHAINS`, with

* ``bitstream(build, board, design, clock_mhz, *, jobs, run, collect, data)``: the figures of the report, at least
  ``tool``, ``bitfile`` (relative to the build), ``clock_mhz``, ``wns_ns``, ``fmax_mhz``, ``timing_met``,
  ``utilization`` (by resource: used, available, percent) and ``source``; with neither `run` nor `collect` only
  ``folder`` and ``command``;
* ``check(figures, board)``: raises CheckFailed when the result does not meet its clock.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

from ..build import build, load_build
from ..build_folder import lock
from ..config import load_config
from ..stitch import Design
from .boards import Board, load_board
from .design import build_hash

#: tool chain -> module
TOOLCHAINS = {"vivado": "bhvit.finn_flow.shell.vivado", "ecp5": "bhvit.finn_flow.shell.ecp5"}


def default_build(board: str) -> tuple[Path, str | None]:
    """Build what a board's file names, into build/<name of the build file>; a finished build is used as it is.

    Returns:
        The build folder, and the data SPEC of its checks.
    """
    default = load_board(board).default
    folder = Path("build") / default.build
    build(load_config(default.file), folder)
    return folder, default.data


def bitstream(folder: Path, board: str, *, clock_mhz: float | None = None, jobs: int = 2, run: bool = True,
              collect: bool = True, data: str | None = None) -> dict[str, Any]:
    """Make the bit file of a finished build for a board.

    Args:
        data: SPEC of the images that a tool chain checks its result with, where it does that.
        board: name of a file of configs/board, or its path. clock_mhz: instead of the board's. run: False does not
            start the tool chain. collect: read its results; with run = False those of a run somewhere else.
    Returns:
        The contents of report/bitstream_<board>.json; with neither run nor collect only where things are.
    Raises:
        UserError: unknown board, missing tool. CheckFailed: the result does not meet its clock (it is reported).
    """
    found = load_board(board)
    if found.toolchain not in TOOLCHAINS:
        raise UserError(f"The tool chain `{found.toolchain}` of the board is not known.", found.name,
                        do=f"known are {', '.join(TOOLCHAINS)}")
    place, config = load_build(folder)
    with lock(place, shared=True):
        return _bitstream(place, config, found, clock_mhz, jobs, run, collect, data)


def _bitstream(place: Path, config: dict[str, Any], found: Board, clock_mhz: float | None, jobs: int, run: bool,
               collect: bool, data: str | None) -> dict[str, Any]:
    design = Design.load(place / "stitched_ip")
    chain = importlib.import_module(TOOLCHAINS[found.toolchain])
    clock = clock_mhz or found.clock_mhz
    if config.get("device") != found.part:
        print(f"note: the build was folded for {config.get('device')}, the {found.title} has {found.part}",
              file=sys.stderr)
    figures = chain.bitstream(place, found, design, clock, jobs=jobs, run=run, collect=collect, data=data)
    if not run and not collect:
        return {"board": found.name, "toolchain": found.toolchain, **figures}
    out = {"board": found.name, "title": found.title, "toolchain": found.toolchain, "part": found.part,
           "build_part": config.get("device"), "build_hash": build_hash(design), **figures}
    report = place / "report" / f"bitstream_{found.name}.json"
    report.write_text(json.dumps(out, indent=2) + "\n")
    chain.check(out, found)
    return out
