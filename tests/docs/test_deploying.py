"""The figures of docs/deploying.md are those of the committed reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text()


@pytest.mark.parametrize("name, start", [("bhvit_micro", "| bhvit_micro, "), ("bhvit_tiny_recipe", "| bhvit_tiny, "),
                                         ("bhvit_cifar10_s", "| bhvit_cifar10_s, "),
                                         ("bhvit_tiny_cifar10", "| bhvit_tiny_cifar10, ")])
def test_figures(name, start):
    r = json.loads((ROOT / "reports" / f"deploy_{name}.json").read_text())
    row = next(line for line in PAGE.splitlines() if line.startswith(start))

    def both(kind):
        return f"{r[kind]['forced']:.2f} %, {r[kind]['worst_forced']:.2f} %"

    top = ["", ""] if r["top1"] is None else [f"{r['float_top1']:.2f} %", f"{r['top1']:.2f} %"]
    assert [c.strip() for c in row.split("|")][3:10] == [
        *top, f"{r['agreement']:.2f} %", f"{100 * r['logit_error']:.1f} %", both("signs"), both("levels"),
        str(len(r["saturated"]) or "none")]
    assert f"{r['images']} " in row and row.count(f"tables {r['report_images']}") == 1
    assert r["provenance"]["command"].replace(" -o ", " \\\n    -o ") in PAGE.replace(" \\\n    -o", " \\\n    -o")


def test_requirement_of_trained_networks():
    r = json.loads((ROOT / "reports" / "deploy_bhvit_micro.json").read_text())
    assert r["below"] == [] and r["saturated"] == [] and all(d["forced"] >= 99 for d in r["decisions"])
    assert abs(r["top1"] - r["float_top1"]) <= 1


@pytest.mark.parametrize("name", ["bhvit_cifar10_s", "bhvit_tiny_cifar10"])
def test_requirement_of_the_cifar_networks(name):
    """Block by block; single decisions below are counted on the page."""
    r = json.loads((ROOT / "reports" / f"deploy_{name}.json").read_text())
    page = " ".join(PAGE.split())
    assert r["saturated"] == [] and abs(r["top1"] - r["float_top1"]) <= 1
    shares = sorted(layer[kind]["forced"] for layer in r["layers"] for kind in ("signs", "levels") if layer[kind])
    assert shares[0] >= 99 and all(r[kind]["forced"] >= 99 for kind in ("signs", "levels"))
    below = f"{len(r['below'])} of its {len(r['decisions'])} decisions are" if r["below"] else \
        f"none of its {len(r['decisions'])} decisions is"
    assert f"{below} below 99 %, at least {shares[0]:.1f} % in every block" in page
