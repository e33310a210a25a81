"""What `nextpnr-ecp5 --report` says: highest clock, critical path, resources."""

from __future__ import annotations

import re
from typing import Any

from bhvit.errors import UserError

#: cell type of nextpnr -> resource as Lattice's data sheet counts it
RESOURCES = {"TRELLIS_COMB": "LUT4", "TRELLIS_FF": "FF", "TRELLIS_RAMW": "LUT RAM writers",
             "DP16KD": "block RAM 18 Kbit", "MULT18X18D": "multipliers 18x18", "TRELLIS_IO": "pins"}
#: ends of names that only tools need, in this order
_NOISE = (re.compile(r"\$.*$"), re.compile(r"_(LUT4|TRELLIS_FF|CCU2C|PFUMX|L6MUX21)_.*$"))


def parse_report(report: dict[str, Any], clock_mhz: float) -> dict[str, Any]:
    """Figures of a report.

    Args:
        report: the JSON document. clock_mhz: the clock that is asked for; of several clocks the slowest counts.
    Returns:
        {"fmax_mhz", "wns_ns": slack of the worst path, "timing_met", "critical_path": cells from register to register,
        "critical_path_ns": {"logic", "routing"}, "utilization": {resource: {"used", "available", "percent"}}}.
    Raises:
        UserError: it lacks something.
    """
    try:
        fmax = min(c["achieved"] for c in report["fmax"].values())
        used = {name: report["utilization"][cell] for cell, name in RESOURCES.items()}
        utilization = {n: {"used": u["used"], "available": u["available"],
                           "percent": round(100 * u["used"] / u["available"], 2)} for n, u in used.items()}
        paths = [p for p in report["critical_paths"] if "<async>" not in (p["from"], p["to"])]
        worst = max(paths, key=lambda p: sum(x["delay"] for x in p["path"]))["path"]
        delays = {"logic": 0.0, "routing": 0.0}
        for x in worst:
            delays["routing" if x["type"] == "routing" else "logic"] += x["delay"]
        cells = [worst[0]["from"]["cell"], *(x["to"]["cell"] for x in worst)]
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError, AttributeError) as e:
        raise UserError("The report of nextpnr-ecp5 is not understood.", "report.json", f"{type(e).__name__}: {e}",
                        "was it written by another version? `make setup` installs the right one") from e
    names = [_NOISE[1].sub("", _NOISE[0].sub("", c)).strip("._") or c for c in cells]
    return {"fmax_mhz": fmax, "wns_ns": 1000 / clock_mhz - 1000 / fmax, "timing_met": fmax >= clock_mhz,
            "critical_path": [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]],
            "critical_path_ns": {k: round(v, 3) for k, v in delays.items()}, "utilization": utilization}
