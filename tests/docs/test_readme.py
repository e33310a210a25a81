"""The figures in the README are those of the committed reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BENCH = json.loads((ROOT / "reports" / "bench.json").read_text())


def thousands(n: float) -> str:
    return f"{n / 1000:.1f} k"


def test_accuracy():
    training = json.loads((ROOT / "reports" / "bhvit_micro_training.json").read_text())
    assert f"{training['test_top1']:.2f} %" in README
    assert f"{training['float_test_top1']:.2f} %" in README


def test_interval_of_the_demonstration():
    micro = BENCH["micro"]
    assert micro["bit_exact_images"] == micro["images"]
    assert f"{micro['interval_cycles']:,.0f} clock cycles" in README
    assert re.search(rf"^latency +{micro['latency_cycles']:,} cycles", README, re.M)
    assert re.search(rf"^interval +{micro['interval_cycles']:,.0f} cycles", README, re.M)


def test_scale_probe():
    for stage, p in BENCH["scale_probe"].items():
        assert p["bit_exact_images"] == p["images"] and p["interval_cycles"] <= p["target_cycles"]
        y = p["yosys"]
        sites = y["LUT"] + y["LUTRAM"] + y["SRL"]
        row = next(line for line in README.splitlines() if line.startswith(f"| stage {stage[-1]} "))
        assert [c.strip() for c in row.split("|")][2:5] == [
            f"{p['interval_cycles']:,.0f} cycles", f"{p['latency_cycles']:,} cycles",
            f"{thousands(sites)} / {thousands(y['FF'])} / {y['DSP']} / {y['BRAM_18K']}"]


def test_xnor():
    x = BENCH["xnor"]["64"]
    assert f"takes {x['structural']:.2f} LUTs per binary MAC" in README
    assert f"against {x['plain']:.1f} for plain" in README


def test_bitstream():
    """The open bit file: what README and docs say is what the report has, and that is a pass."""
    r = json.loads((ROOT / "reports" / "bitstream_ulx3s.json").read_text())
    assert r["timing_met"] and r["fmax_mhz"] >= r["clock_mhz"] == 25
    for what in ("rtl", "netlist"):
        assert r["check"][what]["bit_exact_images"] == r["check"][what]["images"] > 0
    row = next(line for line in README.splitlines() if line.startswith("| bhvit_nano on a ULX3S"))
    u = r["utilization"]
    for figure in (f"{r['fmax_mhz']:.1f} MHz", f"{u['LUT4']['used'] / 1000:.1f} k LUT4",
                   f"{u['FF']['used'] / 1000:.1f} k FF",
                   f"{u['block RAM 18 Kbit']['used']} block RAMs", f"{u['multipliers 18x18']['used']} multipliers"):
        assert figure in row, figure
    training = json.loads((ROOT / "reports" / "bhvit_nano_training.json").read_text())
    assert f"{training['test_top1']:.2f} %" in row
