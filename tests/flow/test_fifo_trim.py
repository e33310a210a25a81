"""FIFOs cut to what residuals need."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from bhvit.finn_flow import fifo_sizing, fifo_trim, graph, ops, stitch
from bhvit.finn_flow.fifo_trim import LEAST, Trimmer, residuals
from bhvit.finn_flow.sim.design import DesignSim

from . import networks
from .test_stitch import FOLDINGS, streaming


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
    _, plain = fifo_sizing.size_fifos(streaming(networks.residual(tokens=64), **FOLDINGS), tmp_path / "plain")
    assert sizing.depths == plain.depths, "residuals are all there is, and these are needed"
    assert any("become" in line for line in lines) and max(plain.depths.values()) > 2


def test_groups_are_cut_as_long_as_the_interval_is_kept(monkeypatch):
    """Two FIFOs must keep their depth, one half of it; all others can be cut; residuals shrink with them."""
    worth, trials = 0.02, 30
    monkeypatch.setattr(fifo_trim, "WORTH", worth)
    monkeypatch.setattr(fifo_trim, "TRIALS", trials)
    model = streaming(networks.residual(tokens=6400), **FOLDINGS)
    beats = {f.name: ops.layer_from_node(f).inputs()[0].beats for f in graph.fifos(model)}
    depths, bounds = {n: b // 2 for n, b in beats.items()}, dict.fromkeys(beats, 10**6)
    high = {n: 1500 + i for i, n in enumerate(beats)}
    free = residuals(model, high)
    others = [n for n in beats if n not in free]
    needed = {others[0]: depths[others[0]], others[3]: depths[others[3]], others[5]: depths[others[5]] // 2}

    def run(trial, what):
        assert all(trial[n] == bounds[n] for n in free) and "cut to" in what
        return all(trial[n] >= d for n, d in needed.items()), [SimpleNamespace(name=n, max_count=700) for n in trial]

    trimmer = Trimmer(model, dict(depths), high, bounds, run, bool, lambda mark: mark + 1)
    before = trimmer.bits(*depths)
    trimmer.trim()
    assert 0 < trimmer.trials <= trials
    assert {n: trimmer.depths[n] for n in needed} == needed
    left = before * worth
    for n in set(others) - set(needed):
        assert trimmer.depths[n] == LEAST or depths[n] * trimmer.width[n] < left
    assert sum(trimmer.depths[n] == LEAST for n in others) >= len(others) // 2
    assert {trimmer.depths[n] for n in free} == {701}, "residuals take what they needed in the trial"


def test_a_cut_that_fills_residuals_is_none():
    """What the cut FIFOs do not hold any more waits in front of the joins: nothing is gained."""
    model = streaming(networks.residual(tokens=6400), **FOLDINGS)
    names = [f.name for f in graph.fifos(model)]
    depths = dict.fromkeys(names, 1000)

    def run(trial, what):
        return True, [SimpleNamespace(name=n, max_count=90_000) for n in trial]

    trimmer = Trimmer(model, dict(depths), dict.fromkeys(names, 900), dict.fromkeys(names, 10**6), run, bool,
                      lambda mark: mark + 1)
    trimmer.trim()
    assert trimmer.trials > 1 and trimmer.depths == depths


def test_slow_fifos_become_registers():
    """Beats far apart: no memory where two registers in a row are enough; one FIFO needs its memory."""
    model = streaming(networks.residual(tokens=64), **FOLDINGS)
    names = [f.name for f in graph.fifos(model)]
    for f in graph.fifos(model):
        layer = ops.layer_from_node(f)
        ops.set_layer(f, layer.model_copy(update={"slow": f.name != names[-1]}))
    depths, high = dict.fromkeys(names, 4), dict.fromkeys(names, 2)
    free = residuals(model, high)
    others = [n for n in names if n not in free]

    def run(trial, what):
        return trial[others[0]] == 4, [SimpleNamespace(name=n, max_count=2) for n in trial]

    trimmer = Trimmer(model, dict(depths), high, dict.fromkeys(names, 99), run, bool, lambda mark: 4)
    trimmer.width = dict.fromkeys(names, 1000)
    trimmer.trim()
    assert {n: trimmer.depths[n] for n in others} == {n: 4 if n in (others[0], names[-1]) else 2 for n in others}
    assert all(trimmer.depths[n] == 4 for n in free)


def test_fifos_are_slow_where_beats_are_far_apart():
    model = streaming(networks.residual(tokens=24), **FOLDINGS)
    slowest = max(ops.layer_from_node(n).frame_cycles for n in model.graph.node if graph.stem(n) != "fifo")
    found = {ops.layer_from_node(f).slow for f in graph.fifos(model)}
    assert found == {True, False}
    for f in graph.fifos(model):
        layer = ops.layer_from_node(f)
        assert layer.slow == (graph.APART * layer.inputs()[0].beats <= slowest)


def test_residuals_are_the_inputs_that_wait():
    model = streaming(networks.residual(tokens=24), **FOLDINGS)
    fifo = {f.output[0]: f.name for f in graph.fifos(model)}
    joins = [[fifo[t] for t in ops.stream_inputs(n)] for n in model.graph.node if len(ops.stream_inputs(n)) > 1]
    assert len(joins) == 2 and all(len(j) == 2 for j in joins)
    high = dict.fromkeys(fifo.values(), 1)
    for _, waiting in joins:
        high[waiting] = 10_000
    assert residuals(model, high) == {waiting for _, waiting in joins}
    assert residuals(model, dict.fromkeys(high, 0)) == {n for j in joins for n in j}, "equally full: neither may be cut"
