"""The figures in the README are those of the committed reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BENCH = json.loads((ROOT / "reports" / "bench.json").read_text())


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
    decision = (ROOT / "docs" / "decisions" / "0003-scale-probe.md").read_text()
    for stage, p in BENCH["scale_probe"].items():
        assert p["bit_exact_images"] == p["images"] and p["interval_cycles"] <= p["target_cycles"]
        y = p["yosys"]
        figures = (p["interval_cycles"], p["latency_cycles"], y["LUT"] + y["LUTRAM"] + y["SRL"], y["FF"], y["DSP"],
                   y["BRAM_18K"])
        assert f"| stage {stage[-1]} | {' | '.join(f'{v:,.0f}' for v in figures)} |" in decision


def test_the_papers_network():
    """BHViT-tiny as a whole: what README and results say is what the reports have, within every limit."""
    r = json.loads((ROOT / "reports" / "bhvit_tiny_zcu104.json").read_text())
    synth = json.loads((ROOT / "reports" / "synth_bhvit_tiny_zcu104.json").read_text())
    assert all(v["met"] for v in r["limits"].values()) and r["synthesis"]["complete"] and synth["complete"]
    for c in (r["cosim"], r["cosim_stalls"]):
        assert c["bit_exact_images"] == c["images"] == c["distinct_outputs"] > 0
    s, t, c = r["synthesis"], synth["total"], r["cosim"]
    assert (s["lut"], s["bram18"], s["uram"], s["dsp"]) == (t["LUT_sites"], t["BRAM_18K"], t["URAM"], t["DSP"])
    row = next(line for line in README.splitlines() if line.startswith("| bhvit_tiny,"))
    interval = r["limits"]["interval_cycles"]["reached"]
    shares = ", ".join(f"{100 * s['share'][k]:.1f}" for k in ("lut", "bram18", "uram", "dsp"))
    for figure in (f"{c['bit_exact_images']} of {c['images']}", f"{interval:,.0f} cycles",
                   f"{r['clock_mhz'] * 1e6 / interval:,.0f} frames/s", f"{s['lut'] / 1000:.0f} k / {s['bram18']} and "
                   f"{s['uram']} URAM / {s['dsp']:,}", f"{shares} % of a ZCU104"):
        assert figure in row, figure
    results = (ROOT / "docs" / "results.md").read_text()
    for figure in (f"{c['latency_cycles']:,} cycles", f"{s['lut']:,} (", f"formulas: {r['estimate']['lut']:,}",
                   f"all {synth['instances']} instances, {synth['distinct_instances']} distinct"):
        assert figure in results, figure


def test_an_imported_checkpoint():
    r = json.loads((ROOT / "reports" / "bhvit_tiny_imported.json").read_text())
    assert all(v["met"] for v in r["limits"].values())
    results = (ROOT / "docs" / "results.md").read_text()
    for c in (r["cosim"], r["cosim_stalls"]):
        assert c["bit_exact_images"] == c["images"] == c["distinct_outputs"] > 0
        assert re.search(rf"{c['images']} of\s{c['images']}", results)
    e = r["estimate"]
    interval = r["limits"]["interval_cycles"]["reached"]
    for figure in (f"{interval:,.0f} cycles", f"{r['cosim']['latency_cycles']:,} cycles",
                   f"{e['lut'] / 1000:.0f} k LUTs", f"{e['bram18']} BRAM18 ({100 * e['share']['bram18']:.1f} %)",
                   f"{e['uram']} UltraRAMs", f"{e['dsp']:,} DSPs"):
        assert figure in results, figure


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
