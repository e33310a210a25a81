"""FIFO sizing on a residual network whose short branch must wait for the long one."""

from __future__ import annotations

import numpy as np

from bhvit.finn_flow import fifo_sizing, graph, ops, stitch
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
