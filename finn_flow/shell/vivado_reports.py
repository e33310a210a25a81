"""Vivado's text reports (UG906, UG907) in our form: figures after routing; power is a vectorless estimate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

#: our key -> rows of `report_utilization` (UltraScale+ or 7 series); block RAM is counted in tiles of 36 Kbit there
UTILIZATION = {"LUT": ("CLB LUTs", "Slice LUTs"), "LUTRAM": ("LUT as Memory",),
               "FF": ("CLB Registers", "Slice Registers"), "BRAM_18K": ("Block RAM Tile",), "URAM": ("URAM",),
               "DSP": ("DSPs",)}
#: of those, what a report may lack: small devices have none
MAY_LACK = ("URAM",)
#: the design's clock, by family
CLOCKS = ("clk_pl_0", "clk_fpga_0")
HIERARCHY = {"LUT": "Total LUTs", "LUTRAM": "LUTRAMs", "SRL": "SRLs", "FF": "FFs", "RAMB36": "RAMB36",
             "RAMB18": "RAMB18", "URAM": "URAM", "DSP": ("DSP Blocks", "DSP48 Blocks")}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as e:
        raise UserError("A report of Vivado is missing.", path, e.strerror,
                        "look into vivado.log beside it, then run the command again") from e


def _unreadable(path: Path, what: str) -> UserError:
    return UserError("A report of Vivado cannot be understood.", path, what,
                     "please report it with the file: its format has changed")


def tables(text: str) -> list[list[list[str]]]:
    """All tables of a report: rows of cells (leading blanks kept: they are the hierarchy), the header first."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|") and line.count("|") > 2:
            rows.append([c.removeprefix(" ").rstrip() for c in line.strip().strip("|").split("|")])
        elif not line.startswith("+") and rows:
            found.append(rows)
            rows = []
    return found


def timing(path: Path) -> dict[str, Any]:
    """Slacks in ns, period of the clock, and the highest clock that the slack allows.

    Returns:
        wns_ns, tns_ns, whs_ns, failing_endpoints, period_ns, fmax_mhz, timing_met.
    """
    text = _read(path)
    m = re.search(r"WNS\(ns\)\s+TNS\(ns\).*\n[-\s]+\n\s*(\S.*)\n", text)
    if not m:
        raise _unreadable(path, "there is no design timing summary")
    cells = m[1].split()
    try:
        wns, tns, whs, ths = (float(cells[i]) for i in (0, 1, 4, 5))
        failing = int(cells[2]) + int(cells[6])
    except (ValueError, IndexError):
        raise _unreadable(path, f"the design timing summary reads `{m[1].strip()}`: a design without constraints?") \
            from None
    clocks = {n: float(p) for n, p in re.findall(r"^\s*(\S+)\s+\{[^}]*\}\s+([\d.]+)\s+[\d.]+\s*$", text, re.M)}
    if not clocks:
        raise _unreadable(path, "there is no clock summary")
    # a board's preset may have clocks that nothing uses
    period = next((p for n, p in clocks.items() if n in CLOCKS), min(clocks.values()))
    return {"wns_ns": wns, "tns_ns": tns, "whs_ns": whs, "failing_endpoints": failing, "period_ns": period,
            "fmax_mhz": round(1000 / (period - wns), 2), "timing_met": wns >= 0 and whs >= 0 and tns == 0 and ths == 0}


def utilization(path: Path) -> dict[str, dict[str, float]]:
    """Our key -> used, available, percent."""
    rows: dict[str, dict[str, str]] = {}
    for table in tables(_read(path)):
        if table[0][0].strip() == "Site Type":
            head = [h.strip() for h in table[0]]
            for r in table[1:]:
                rows.setdefault(r[0].strip().rstrip("*"), dict(zip(head, r)))
    out = {}
    for key, names in UTILIZATION.items():
        row = next((rows[n] for n in names if n in rows), None)
        if row is None:
            if key in MAY_LACK:
                continue
            raise _unreadable(path, f"there is no row `{' or '.join(names)}`")
        scale = 2 if key == "BRAM_18K" else 1
        used, there = float(row["Used"]) * scale, float(row["Available"]) * scale
        share = round(100 * used / there, 2) if there else 0.0
        out[key] = {"used": int(used), "available": int(there), "percent": share}
    return out


def hierarchy(path: Path) -> dict[str, dict[str, int]]:
    """Figures of every instance by its path below the top, e.g. `bhvit_i/accelerator_0/inst/...`."""
    found = next((t for t in tables(_read(path)) if t[0][0].strip() == "Instance"), None)
    if found is None:
        raise _unreadable(path, "there is no table of instances")
    head = [h.strip() for h in found[0]]
    out: dict[str, dict[str, int]] = {}
    above: list[str] = []
    for row in found[1:]:
        name = row[0].strip()
        if name.startswith("("):
            continue  # what an instance holds itself, beside its parts
        depth = (len(row[0]) - len(row[0].lstrip())) // 2
        above = [*above[:depth], name]
        cells = dict(zip(head, row))
        figures = {}
        for key, column in HIERARCHY.items():
            names = (column,) if isinstance(column, str) else column
            value = next((cells[n] for n in names if n in cells), "0").strip()
            figures[key] = int(float(value or 0))
        out["/".join(above[1:]) or name] = {
            "LUT": figures["LUT"], "LUTRAM": figures["LUTRAM"], "SRL": figures["SRL"], "FF": figures["FF"],
            "BRAM_18K": 2 * figures["RAMB36"] + figures["RAMB18"], "URAM": figures["URAM"], "DSP": figures["DSP"]}
    return out


def power(path: Path) -> dict[str, Any]:
    """total_w, dynamic_w, static_w, junction_c, confidence."""
    rows = {r[0].strip(): r[1].strip() for t in tables(_read(path)) for r in t if len(r) == 2}
    keys = {"total_w": "Total On-Chip Power (W)", "dynamic_w": "Dynamic (W)", "static_w": "Device Static (W)",
            "junction_c": "Junction Temperature (C)"}
    try:
        return {**{k: float(rows[name]) for k, name in keys.items()}, "confidence": rows.get("Confidence Level")}
    except (KeyError, ValueError) as e:
        raise _unreadable(path, f"the summary lacks {e}") from None
