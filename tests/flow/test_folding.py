"""Foldings chosen for a target, FINN's folding file, estimates."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import cosim, estimate, fifo_sizing, folding, graph, ops, stitch
from bhvit.finn_flow.prices import cost

from . import networks


def lowered():
    model = networks.residual(tokens=16, channels=16)
    ops.to_integers(model)
    graph.insert_duplicates(model)
    return graph.specialize(model, networks.PART)


@pytest.mark.parametrize("target", [16, 48, 64, 256, 5000])
def test_target_is_met_cheaply(target):
    model = lowered()
    chosen = folding.choose(model, target)
    folding.apply(model, chosen)
    cycles = [ops.layer_from_node(n).cycles() for n in model.graph.node]
    assert max(cycles) <= target
    if target == 5000:
        quick = folding.apply(lowered(), folding.choose(lowered(), 64))
        total = [sum(cost(ops.layer_from_node(n)) for n in m.graph.node) for m in (model, quick)]
        assert total[0] < total[1], "more time, fewer resources"
    graph.insert_width_converters(model)
    assert max(estimate.layer_cycles(model).values()) <= target, "converters keep up"


def test_impossible_target_names_the_layer():
    with pytest.raises(UserError, match=r"(?s)cannot be met.*layer \w+.*fastest legal folding takes \d+"):
        folding.choose(lowered(), 0)


def test_file_round_trip(tmp_path):
    model = lowered()
    chosen = folding.choose(model, 64)
    folding.write(tmp_path / "auto_folding_config.json", chosen)
    assert json.loads((tmp_path / "auto_folding_config.json").read_text())["Defaults"] == {}
    assert folding.read(tmp_path / "auto_folding_config.json", model) == chosen
    folding.apply(model, chosen)
    assert folding.current(model) == chosen


@pytest.mark.parametrize("data, message", [
    ({"bnn": {"SIMD": 2}}, "did you mean bn"),
    ({"bn": {"SIM": 2}}, r"no folding `SIM`[\s\S]*SIMD, TP"),
    ({"bn": {"SIMD": 3}}, r"SIMD=3 does not divide[\s\S]*1, 2, 4, 8, 16"),
    ({"bn": {"SIMD": "2"}}, "whole number"),
    ({"Defaults": {"SIMD": 2}}, "Defaults.SIMD"),
    ({"Defaults": {"SMID": [4, ["all"]]}}, r"`SMID`, which does not exist[\s\S]*did you mean SIMD"),
    ({"Defaults": {"SIMD": [4, ["BvAfine_rtl"]]}}, r"`BvAfine_rtl`, which does not exist[\s\S]*BvAffine"),
    ([1], "wrong form"),
])
def test_bad_files(tmp_path, data, message):
    (tmp_path / "f.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=message):
        folding.read(tmp_path / "f.json", lowered())


def test_a_builds_own_foldings_can_be_given_back(tmp_path):
    model = lowered()
    chosen = folding.choose(model, 64)
    (tmp_path / "final_hw_config.json").write_text(json.dumps({"Defaults": {}, **chosen, "bn_fifo": {"depth": 40}}))
    assert folding.read(tmp_path / "final_hw_config.json", model) == chosen
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="no text file"):
        folding.read(tmp_path / "binary.json", model)


def test_defaults(tmp_path):
    (tmp_path / "f.json").write_text(json.dumps({"Defaults": {"SIMD": [4, ["BvAffine_rtl"]]}, "bn": {"TP": 2}}))
    assert folding.read(tmp_path / "f.json", lowered()) == {"bn": {"SIMD": 4, "TP": 2}}


def test_estimates(tmp_path):
    model = lowered()
    perf = estimate.write(model, tmp_path, networks.PART, 250.0)
    assert {"critical_path_cycles", "max_cycles", "estimated_throughput_fps", "estimated_latency_ns"} <= set(perf)
    for f in ("estimate_layer_cycles", "estimate_layer_resources", "estimate_network_performance"):
        data = json.loads((tmp_path / f"{f}.json").read_text())
        assert data["source"] == "estimate"
    assert json.loads((tmp_path / "estimate_layer_resources.json").read_text())["total"]["LUT"] > 0


def test_folded_design_reaches_the_target(tmp_path):
    model = lowered()
    x = networks.pixels(model, 8)
    want = ops.execute(model, {"pixels": x})["logits"]
    folding.apply(model, folding.choose(model, 48))
    graph.insert_fifos(graph.insert_width_converters(model))
    model, sizing = fifo_sizing.size_fifos(model, tmp_path / "fifo")
    assert sizing.interval <= 48 * 1.02 + 1
    stitch.stitch(model, tmp_path / "stitched_ip")
    out = cosim.cosim(tmp_path / "stitched_ip", tmp_path / "sim", cosim.Reference(x, want.reshape(8, -1)),
                      clock_mhz=250)
    assert out["ok"] and out["interval_cycles"] <= 49
    assert len(np.unique(want)) > 20
