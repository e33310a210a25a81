"""Figures from the reports that Vitis HLS writes.

Where they lie: `<project>/<solution>/{syn,sim}/report/` (classic), `<work_dir>/hls/{syn,sim}/report/` (unified).
Synthesis: `<top>_csynth.xml` (UG1399, "Synthesis Summary": latency and interval in cycles, `undef` where it depends on
data; Vivado HLS and the first Vitis HLS releases say DSP48E for DSP). Cosimulation: `<top>_cosim.rpt`, a table with one
row per RTL language, NA where nothing ran or fewer than two transactions were measured (UG1399, "C/RTL
Co-Simulation").
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

from .tools import PROJECT, WORK

RESOURCES = ("LUT", "FF", "BRAM_18K", "URAM", "DSP")
#: roots of a solution, classic and unified
SOLUTIONS = (f"{PROJECT}/solution1", f"{WORK}/hls")


class ReportError(UserError):
    """A report is missing or does not hold what it should."""


def find(folder: Path, name: str) -> Path:
    """A report below a project's folder: the one at a known place, or else the newest of this name.

    Args:
        name: path below the solution, such as ``syn/report/<top>_csynth.xml``.
    Raises:
        ReportError: there is none.
    """
    known = [folder / s / name for s in SOLUTIONS]
    found = [f for f in known if f.is_file()] or list(folder.rglob(name))
    if not found:
        raise ReportError("Vitis HLS wrote no report.", known[0], "the tool ended without it",
                          "see the log of the step")
    return max(found, key=lambda f: f.stat().st_mtime)


def _number(text: str | None) -> float | int | None:
    """A figure; None where the tool has none (`undef`, `?`, `-`, NA)."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def csynth(path: Path) -> dict[str, Any]:
    """Estimates of synthesis.

    Returns:
        {"latency": {min, avg, max}, "interval": {min, max} (cycles, None where they depend on data), "clock_ns":
        {target, estimated}, "version", "LUT", "FF", "BRAM_18K", "URAM", "DSP"}.
    """
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError) as e:
        raise ReportError("A synthesis report cannot be read.", path, str(e), "run the step again") from e

    def text(place: str) -> str | None:
        node = root.find(place)
        return None if node is None else node.text

    def cycles(name: str) -> float | int | None:
        return _number(text(f"PerformanceEstimates/SummaryOfOverallLatency/{name}"))

    area = root.find("AreaEstimates/Resources")
    if area is None or root.find("PerformanceEstimates") is None:
        raise ReportError("A synthesis report cannot be read.", path, "it has no estimates of performance or area",
                          "run the step again")
    used = {{"DSP48E": "DSP"}.get(n.tag, n.tag): _number(n.text) for n in area}
    return {"latency": {"min": cycles("Best-caseLatency"), "avg": cycles("Average-caseLatency"),
                        "max": cycles("Worst-caseLatency")},
            "interval": {"min": cycles("Interval-min"), "max": cycles("Interval-max")},
            "clock_ns": {"target": _number(text("UserAssignments/TargetClockPeriod")), "estimated":
                         _number(text("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"))},
            "version": text("ReportVersion/Version"), **{k: used.get(k, 0) for k in RESOURCES}}


def cosim(path: Path) -> dict[str, Any]:
    """What cosimulation measured.

    Returns:
        {"status": "Pass" or what the tool says, "latency", "interval": {min, avg, max} in cycles, "total_cycles"}; None
        where the tool says NA.
    """
    for line in path.read_text(errors="replace").splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) >= 8 and cells[0] == "Verilog" and cells[1] not in ("NA", ""):
            figures = [_number(c) for c in cells[2:9]]
            names = ("min", "avg", "max")
            return {"status": cells[1], "latency": dict(zip(names, figures[:3])),
                    "interval": dict(zip(names, figures[3:6])), "total_cycles": (*figures, None)[6]}
    raise ReportError("A cosimulation report has no row for Verilog.", path, "cosimulation did not run to its end",
                      "see the log of the step")


def verdict(log: str, case: str) -> str | None:
    """What the testbench says is wrong (`mismatch`, `error`), None if nothing."""
    found = re.search(rf"^(?:mismatch|error) {re.escape(case)} .*$", log, re.M)
    return found.group(0) if found else None
