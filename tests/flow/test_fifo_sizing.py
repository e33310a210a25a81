"""FIFO sizing on a residual network whose short branch must wait for the long one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from bhvit.finn_flow import fifo_sizing, graph, ops, stitch
from bhvit.finn_flow.fifo_trim import LEAST, PARTS, residuals, trim
from bhvit.finn_flow.layers.storage import Store
from bhvit.finn_flow.sim.design import DesignSim

from . import networks
from .test_stitch import FOLDINGS, streaming


def test_round_depth():
    assert [fifo_sizing.round_depth(h, 36) for h in (0, 1, 2, 3, 7, 8, 33, 64, 300, 512)] == [
        2, 2, 4, 4, 8, 16, 64, 130, 512, 1024]
    assert fifo_sizing.round_depth(50176, 8) == 51200 and fifo_sizing.round_depth(600, 18) == 1024
    for width in (1, 7, 300):
        for high in (64, 100, 5000):
            depth = fifo_sizing.round_depth(high, width)
            price = [Store("RAM", width, d).cost for d in (high + 1, depth, depth + 1)]
            assert high < depth <= 2 * (high + 1)
            assert (price[0].bram18, price[0].lut) >= (price[1].bram18, price[1].lut)
            assert depth == 2 * (high + 1) or (price[2].bram18, price[2].lut) > (price[0].bram18, price[0].lut)


def test_depths_found_by_simulation(tmp_path):
    model = networks.residual(tokens=24)
    x = networks.pixels(model, 8)
    want = ops.execute(model, {"pixels": x})["logits"]
    model = streaming(model, **FOLDINGS)
    tight = stitch.stitch(model, tmp_path / "tight")
    result, states = DesignSim(tight, tmp_path / "sim").run(x)
    assert result.status == 3 and result.log, "two beats everywhere: the residual branch must block this network"
    assert any(s.full for s in states) and any(s.starving for s in states)
    lines: list[str] = []
    model, sizing = fifo_sizing.size_fifos(model, tmp_path / "fifo", log=lines.append)
    assert len(lines) == sizing.rounds
    design = stitch.stitch(model, tmp_path / "stitched_ip")
    result, states = DesignSim(design, tmp_path / "sim").run(x)
    assert result.status == 0 and np.array_equal(result.outputs[0], want)
    slowest = max(ops.layer_from_node(n).cycles() for n in model.graph.node if graph.stem(n) not in graph.PLUMBING)
    assert abs(result.interval - slowest) <= 2
    info = fifo_sizing.report(model, sizing)
    assert set(info["fifo_depths"]) == set(design.fifos)
    assert max(info["fifo_depths"].values()) > 2 and info["total_fifo_size_kiB"] > 0


def test_small_fifos_keep_function_and_interval(tmp_path):
    model = networks.residual(tokens=64)
    x = networks.pixels(model, 8)
    want = ops.execute(model, {"pixels": x})["logits"]
    lines: list[str] = []
    model = streaming(model, **FOLDINGS)
    model, sizing = fifo_sizing.size_fifos(model, tmp_path / "fifo", log=lines.append, small=True)
    design = stitch.stitch(model, tmp_path / "stitched")
    result, _ = DesignSim(design, tmp_path / "sim").run(x)
    assert result.status == 0 and np.array_equal(result.outputs[0], want)
    slowest = max(ops.layer_from_node(n).cycles() for n in model.graph.node if graph.stem(n) not in graph.PLUMBING)
    assert abs(result.interval - slowest) <= 2
    assert sizing.trimmed == 0 and any("become" in line for line in lines)


@pytest.mark.parametrize("needed, part", [(0, 0), (1 / 64, 1 / 64), (0.2, 1 / 4), (0.9, None)])
def test_the_smallest_part_that_keeps_the_interval(needed, part):
    """A FIFO that bursts fill, and the residual of a join that shrinks when the burst waits."""
    model = streaming(networks.residual(tokens=6400), **FOLDINGS)
    beats = {f.name: ops.layer_from_node(f).inputs()[0].beats for f in graph.fifos(model)}
    depths = {n: b // 2 for n, b in beats.items()}
    bounds = dict.fromkeys(beats, 10**6)
    high = {n: 1500 + i for i, n in enumerate(beats)}
    free = residuals(model, high)
    tried = []

    def run(trial, what):
        tried.append(trial)
        assert all(trial[n] == bounds[n] for n in free)
        cut = min(trial[n] / beats[n] for n in trial if n not in free)
        return cut, [SimpleNamespace(name=n, max_count=700) for n in trial]

    found = trim(model, run, depths, high, bounds, lambda cut: cut >= needed, lambda _, mark: mark + 1)
    assert len(tried) == (PARTS.index(part) + 1 if part is not None else len(PARTS))
    if part is None:
        assert found is None
        return
    assert found.part == part and set(found.depths) == set(depths)
    assert {found.depths[n] for n in free} == {701}, "residuals take what they needed in the trial"
    for n in set(depths) - free:
        assert found.depths[n] == max(LEAST, math.ceil(part * beats[n]))


def test_residuals_are_the_inputs_that_wait():
    model = streaming(networks.residual(tokens=24), **FOLDINGS)
    names = {f.name for f in graph.fifos(model)}
    into_mix = [n for n in names if "mix" in n or "bn" in n or "sign" in n]
    high = dict.fromkeys(names, 1)
    assert into_mix
    for f in graph.fifos(model):  # the residual of `join` is full
        if f.name.startswith("stem_out0_fork"):
            high[f.name] = 20
    found = residuals(model, high)
    joins = [n for n in model.graph.node if len(ops.stream_inputs(n)) > 1]
    assert len(joins) == 2 and 2 <= len(found) <= 4
    high2 = {n: 40 if n in found else 1 for n in names}
    assert residuals(model, high2) <= found
