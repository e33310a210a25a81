"""The tables of docs/exploration.md are those of the committed reports, and these hold together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bhvit.finn_flow.explore import ablation, calibration, pareto

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "exploration.md").read_text()
TABLES = {"pareto": ("bhvit_tiny_pareto", pareto.markdown), "ablation": ("bhvit_tiny_ablation", ablation.markdown),
          "calibration": ("logic_calibration", calibration.markdown)}


def report(name: str) -> dict:
    return json.loads((ROOT / "reports" / f"{TABLES[name][0]}.json").read_text())


@pytest.mark.parametrize("name", TABLES)
def test_tables(name):
    data = report(name)
    found = re.search(rf"<!-- {name}: begin .*? -->\n(.*?)\n<!-- {name}: end -->", PAGE, re.S)
    assert found and found[1] == TABLES[name][1](data)
    assert data["commit"] and not data["commit"].endswith("-dirty") and data["command"].startswith("bhvit explore")
    assert data["date"] and data["provenance"]["code"]


def test_reports_agree():
    curve, off = report("pareto"), report("ablation")
    assert curve["limits"] == off["limits"] and curve["provenance"]["code"] == off["provenance"]["code"]
    build = off["variants"]["build"]
    same = next(p for p in curve["points"] if p["target"] == off["target"])
    assert {k: same[k] for k in ablation.COLUMNS} == {k: build[k] for k in ablation.COLUMNS}


def test_calibration_is_that_of_these_formulas():
    """A changed formula needs a new comparison."""
    from bhvit.finn_flow.layers.registry import layers

    rows = report("calibration")["rows"]
    assert {r["layer"] for r in rows} == set(layers())
    for r in rows:
        now = layers()[r["layer"]](**r["attributes"]).resources()
        assert (round(now.lut, 1), now.dsp) == (r["estimate"]["lut"], r["estimate"]["dsp"])
