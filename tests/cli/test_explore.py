"""`bhvit explore` on a finished toy build, and what users do wrong with it."""

from __future__ import annotations

import json

import pytest

from .conftest import design


def test_pareto(run, toy, built, tmp_path):
    before = design(built)
    r = run("explore", "pareto", toy, "--build", built, "--target", "50", "--target", "400", "--fps", "900000",
            "-o", tmp_path / "p.json", "--json")
    assert r.code == 0
    data = json.loads((tmp_path / "p.json").read_text())
    assert r.json == data and data["source"] == "estimate" and data["commit"] and "explore" not in data["provenance"]
    assert {50, 400, 222} <= {p["target"] for p in data["points"]} and data["smallest"]["fps"] >= 900_000
    assert (tmp_path / "p.md").read_text().startswith("pico on ZCU104 at 200 MHz (assumed clock")
    assert (tmp_path / "p.png").stat().st_size > 10_000
    assert design(built) == before, "a finished build is only read"


def test_ablation(run, toy, built):
    r = run("explore", "ablation", toy, "--build", built, "--only", "tokens", "--only", "popcount", "--only", "share")
    assert r.code == 0 and "not used by this build" in r.out and "(estimate" not in r.err
    data = json.loads((built / "report" / "explore_ablation.json").read_text())
    assert set(data["variants"]) == {"build", "tokens", "popcount", "share"}
    assert data["variants"]["popcount"]["lut"] > data["variants"]["build"]["lut"]


@pytest.mark.parametrize("argv, phrases", [
    (["pareto", "--fps", "1e9"], ["cannot be met", "frames/s at most"]),
    (["pareto", "--set", "rows=frame"], ["another network", "`rows` is rotate there and frame here", "--build FOLDER"]),
    (["pareto", "-o", "x.txt"], ["no .json file", "x.json"]),
    (["pareto", "--set", "part=xqvu1"], ["resources are not known", "devices.py"]),
    (["calibration", "--only", "afine"], ["no layer `afine`", "choose from", "affine"]),
    (["calibration", "--like", "nowhere.json"], ["earlier result cannot be used", "nowhere.json"]),
    (["ablation", "--only", "tokns"], ["no variant `tokns`", "choose from build, rows"]),
])
def test_wrong_use(run, toy, built, argv, phrases):
    r = run("explore", argv[0], toy, "--build", built, *argv[1:])
    assert r.code == 2 and not r.out
    r.says(*phrases)
