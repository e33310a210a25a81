"""FIFO sizing on a residual network whose short branch must wait for the long one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bhvit.finn_flow import fifo_sizing, fifo_snap, graph, ops, stitch
from bhvit.finn_flow.fifo_snap import Snapper
from bhvit.finn_flow.sim.design import DesignSim, FifoState
from bhvit.finn_flow.sim.verilate import NO_STALLS, SimResult, Stalls

from . import networks
from .test_stitch import FOLDINGS, streaming


def test_round_depth():
    assert [fifo_sizing.round_depth(h) for h in (0, 1, 2, 3, 7, 8, 33, 64, 300, 512)] == [
        2, 2, 4, 4, 8, 16, 64, 128, 320, 576]
    assert fifo_sizing.round_depth(63) == 64 and fifo_sizing.round_depth(50176) == 50240


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


def test_an_interrupted_search_goes_on_from_its_last_simulation(tmp_path, monkeypatch):
    simulate, ran = DesignSim.run, []

    def counted(self, *args, **kwargs):
        if len(ran) == stop:
            raise KeyboardInterrupt
        ran.append(kwargs)
        return simulate(self, *args, **kwargs)

    monkeypatch.setattr(DesignSim, "run", counted)
    model, kept, lines = streaming(networks.residual(tokens=24), **FOLDINGS), tmp_path / "kept", []
    stop = -1
    _, whole = fifo_sizing.size_fifos(model, tmp_path / "fifo")
    assert len(ran) == whole.rounds > 1
    stop, ran[:] = 1, []
    with pytest.raises(KeyboardInterrupt):
        fifo_sizing.size_fifos(model, tmp_path / "fifo", kept=kept)
    assert len(list(kept.iterdir())) == 1
    stop, ran[:] = -1, []
    _, again = fifo_sizing.size_fifos(model, tmp_path / "fifo", kept=kept, log=lines.append)
    assert len(ran) == whole.rounds - 1 and sum("simulated before" in line for line in lines) == 1
    assert (again.depths, again.high_water, again.interval, again.latency, again.leaving) == (
        whole.depths, whole.high_water, whole.interval, whole.latency, whole.leaving)
    # other weights: the same RTL, so nothing is simulated or compiled
    ran.clear()
    other = tmp_path / "retrained"
    _, found = fifo_sizing.size_fifos(streaming(networks.residual(tokens=24, seed=5), **FOLDINGS), other, kept=kept)
    assert not ran and found.depths == whole.depths and not (other / "sim").exists()
    before, after = ({f.name: f.read_bytes() for f in (d / "stitched_unlimited/mem").iterdir()}
                     for d in (tmp_path / "fifo", other))
    assert before.keys() == after.keys() and before != after
    # a damaged file, other data and another design are simulated
    for file in kept.iterdir():
        file.write_text(file.read_text()[:-9])
    ran.clear()
    fifo_sizing.size_fifos(model, tmp_path / "fifo", kept=kept)
    assert len(ran) == whole.rounds
    ran.clear()
    fifo_sizing.size_fifos(model, tmp_path / "fifo", kept=kept, seed=1)
    assert len(ran) >= whole.rounds
    ran.clear()
    fifo_sizing.size_fifos(streaming(networks.residual(tokens=24)), tmp_path / "fifo", kept=kept)
    assert len(ran) > 1


@pytest.mark.parametrize("seed", range(3))
def test_model_of_fifos_has_their_cycles(seed, tmp_path):
    """With depths given, trials take the cycles of the design with such FIFOs, stalls included."""
    draw = np.random.default_rng(seed)
    model = streaming(networks.residual(tokens=24), **FOLDINGS)
    depths = {n.name: int(draw.choice([2, 2, 3, 5, 64, 65, 200])) for n in graph.fifos(model)}
    real = stitch.stitch(graph.set_depths(model, depths), tmp_path / "real")
    free = stitch.stitch(graph.set_depths(model, dict.fromkeys(depths, 300)), tmp_path / "free")
    trial = DesignSim(free, tmp_path / "sim", "sizing", optimize="-O0")
    sim = DesignSim(real, tmp_path / "sim", optimize="-O0")
    x = networks.pixels(model, 6)
    for stalls in (NO_STALLS, Stalls(seed + 1, 30, 30)):
        (a, states), (b, wanted) = trial.run(x, depths=depths, stalls=stalls), sim.run(x, stalls=stalls)
        assert (a.status, a.cycles, a.output_frame_cycles) == (b.status, b.cycles, b.output_frame_cycles)
        assert states == wanted


def test_room_for_engines_that_costs_the_interval_is_reported(tmp_path, monkeypatch):
    """Depths change behind the last confirmation: they are confirmed again, and what fails is no result."""
    lines: list[str] = []
    simulate = DesignSim.run

    def run(self, x, **kwargs):
        result, states = simulate(self, x, **kwargs)
        return replace(result, status=3 if "room for new frames" in "".join(lines) else result.status), states

    monkeypatch.setattr(fifo_sizing.fifo_rings, "secure",
                        lambda _model, depths, _run, _rounded: {n: d + 64 for n, d in depths.items()})
    monkeypatch.setattr(DesignSim, "run", run)
    with pytest.raises(fifo_sizing.SizingFailed, match="status 3"):
        fifo_sizing.size_fifos(streaming(networks.residual(tokens=24), **FOLDINGS), tmp_path, log=lines.append)


def test_growth_begins_with_what_was_cut():
    marks, bounds = {"a": 4096, "b": 100, "c": 64}, dict.fromkeys("abc", 5000)
    cut = {"a": 32, "b": 100, "c": 64}
    assert fifo_sizing.grow(cut, marks, bounds, {"a", "b"}) == {"a": 32 * fifo_sizing.BACK, "b": 100, "c": 64}
    assert fifo_sizing.grow({**cut, "a": 2048}, marks, bounds, {"a"})["a"] == 4096
    assert fifo_sizing.grow(marks, marks, bounds, {"a", "b"}) == {"a": 5000, "b": 200, "c": 64}
    assert fifo_sizing.grow(cut, marks, bounds, {"b"}) == {"a": 32, "b": 200, "c": 64}
    assert fifo_sizing.grow(cut, marks, bounds, set()) == cut
    small = {"a": 4096, "b": 4, "c": 64}
    assert fifo_sizing.grow(small, small, bounds, {"a", "b"}) == {"a": 4096, "b": 8, "c": 64}, "a few beats cost little"
    assert fifo_sizing.grow(small, small, bounds, {"a", "c"}) == {"a": 5000, "b": 4, "c": 128}


def test_least_mean_of_frames_in_groups():
    def result(gaps):
        return SimResult(0, 0, 0.0, [], [[0]], [np.cumsum([100, *gaps]).tolist()], "")

    slow_start = [90, 80, 90, 95, *[10, 20, 60] * 5]
    assert result(slow_start).least_mean(6) == 30 and result(slow_start).pace > 30
    assert result([10, 20]).least_mean(6) == 15 and result([10]).least_mean(6) is None


def test_pace_of_the_input():
    def result(starts):
        return SimResult(0, 0, 0.0, [], [starts], [starts], "")

    assert result([0, 10, 20, 30, 130, 230, 330]).input_interval == 100
    assert result([0, 10, 30]).input_interval == 20 and result([0, 5]).input_interval is None


class Pretended:
    """A simulator whose design runs at a pace that depends on depths."""

    def __init__(self, pace, full=lambda depths: (), mark: int = 100):
        self.pace, self.full, self.mark, self.tried = pace, full, mark, []

    def __call__(self, design, *args, **kwargs):
        self.design = design
        return self

    def run(self, x, throttle=0, depths=None, patience=None, closed=None):
        step = self.design.max_cycles if depths is None else self.pace(self.design.max_cycles, depths)
        self.tried.append(depths)
        full = self.full(depths) if depths else ()
        most = {f: self.mark if depths is None else depths[f] if f in full else 1 for f in self.design.fifos}
        states = [FifoState(f, (depths or {}).get(f, 4096), most[f], 0, False, True, False, False, 1) for f in most]
        into, out = ([k + n * step for n in range(len(x))] for k in (0, 500))
        return SimResult(0, len(x) * step, 1.0, [], [into], [out], ""), states


def sized_by(pretended, tmp_path, monkeypatch):
    monkeypatch.setattr(fifo_sizing, "DesignSim", pretended)
    model = streaming(networks.residual(tokens=24), **FOLDINGS)
    slowest = max(ops.layer_from_node(n).frame_cycles for n in model.graph.node)
    return fifo_sizing.size_fifos(model, tmp_path, wanted=slowest)[1]


def test_a_per_cent_more_is_taken_before_there_is_no_result(tmp_path, monkeypatch):
    """Small FIFOs that are full one after the other, and never bring the target back."""
    sim = Pretended(lambda target, _: target + max(3, int(target * 0.009)),
                    lambda depths: [f for f, d in depths.items() if d < fifo_sizing.SMALL][:1], mark=1)
    found = sized_by(sim, tmp_path, monkeypatch)
    assert found.interval > sim.design.max_cycles + 2 and min(found.depths.values()) < fifo_sizing.SMALL
    assert fifo_sizing.STRICT < found.rounds <= fifo_sizing.ROUNDS + 1


@pytest.mark.parametrize("apart", [False, True], ids=["harmless", "apart"])
def test_fifos_that_become_quicker_are_simulated(apart, tmp_path, monkeypatch):
    """One whose mark allows 64 beats or fewer loses a cycle of latency: that run is shown, or it stays slow."""
    monkeypatch.setattr(fifo_snap, "WORTH_TRIAL", 0.0)
    monkeypatch.setattr(Snapper, "proposals", lambda self, names, share: {
        n: 72 for n in names if self.depths[n] > 72})
    sim = Pretended(lambda target, depths: target + (target // 5 if apart and min(depths.values()) <= 64 else 0))
    found = sized_by(sim, tmp_path, monkeypatch)
    assert found.depths == sim.tried[-1], "depths that were simulated"
    assert set(found.depths.values()) == ({65} if apart else {4})
    assert found.interval == sim.design.max_cycles
