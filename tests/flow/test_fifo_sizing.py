"""FIFO sizing on a residual network whose short branch must wait for the long one."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from types import SimpleNamespace

import numpy as np
import pytest

from bhvit.finn_flow import fifo_sizing, fifo_snap, fifo_trim, graph, ops, stitch
from bhvit.finn_flow.fifo_snap import SHARES, TRIALS, WORTH_TRIAL, Snapper, cheaper
from bhvit.finn_flow.fifo_trim import LEAST, Trimmer, residuals
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.memory_plan import free_depth, least_price
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


def test_snapped_fifos_keep_function_and_interval(tmp_path, monkeypatch):
    """As if every beat of memory had its price: the residual that all wait for refuses, and the design runs on."""
    for name, value in (("WORTH", 1.0), ("WORTH_TRIAL", 1.0), ("SMALL", 2)):
        monkeypatch.setattr(fifo_snap, name, value)
    monkeypatch.setattr(fifo_sizing, "least_price", lambda layer, ultra: float(layer.depth))
    model = networks.residual(tokens=64)
    x = networks.pixels(model, 8)
    want = ops.execute(model, {"pixels": x})["logits"]
    lines: list[str] = []
    model, sizing = fifo_sizing.size_fifos(streaming(model, **FOLDINGS), tmp_path / "fifo", log=lines.append)
    tried = [line for line in lines if "in cheaper memories, by" in line]
    assert 1 < len(tried) <= TRIALS and sum("input unthrottled" in line for line in lines) == 1
    waits = max(sizing.high_water, key=sizing.high_water.__getitem__)
    assert sizing.depths[waits] == fifo_sizing.round_depth(sizing.high_water[waits])
    design = stitch.stitch(model, tmp_path / "stitched")
    result, _ = DesignSim(design, tmp_path / "sim").run(x)
    assert result.status == 0 and np.array_equal(result.outputs[0], want)
    slowest = max(ops.layer_from_node(n).cycles() for n in model.graph.node if graph.stem(n) not in graph.PLUMBING)
    assert abs(result.interval - slowest) <= 2 + slowest * fifo_sizing.TOLERANCE


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


def fifo(width, depth):
    return layers()["fifo"](dims=[10**6, 1], dtype=f"UINT{width}", depth=depth)


def price(width, ultra=True):
    return lambda depth: least_price(fifo(width, depth), ultra)


def test_free_depth_is_what_the_memory_has():
    """A FIFO is as deep as its mark says; the plan gives it what its memory has anyway."""
    assert free_depth(fifo(36, 320)) == 512 and free_depth(fifo(8, 50240)) == 51200
    made = fifo(48, 192).model_copy(update={"styles": "RAM=distributed"})
    assert free_depth(made) == 192, "rows of look-up table memory are not doubled"


@pytest.mark.parametrize("width, mark, share, ultra, want", [
    (64, 16446, 0.75, True, 16384),     # five UltraRAMs, four
    (8, 69647, 0.75, True, 65536),      # eight beats a row
    (64, 7857, 0.75, True, None),       # two UltraRAMs hold it, one holds half of it
    (64, 7857, 0.5, True, 4096),
    (128, 1345, 0.75, True, 1024),      # 18-kbit block RAMs: twelve, eight
    (64, 8382, 0.75, False, 6656),      # no UltraRAM: the steps of block RAM
    (256, 15, 0.5, True, None),         # a row of look-up table memory is the least
])
def test_the_next_cheaper_memory(width, mark, share, ultra, want):
    depth = fifo_sizing.round_depth(mark)
    got = cheaper(mark, depth, share, price(width, ultra), 40.0)
    assert got == want
    if want:
        assert share * mark <= got <= mark and price(width, ultra)(got) < price(width, ultra)(depth)
        assert price(width, ultra)(got + 1) > price(width, ultra)(got) or got == mark


def snapper(needed, *, deadlock=False, marks=None):
    """FIFOs of 64 bits, a little more than whole UltraRAMs hold; those of ``needed`` must have that depth."""
    marks = marks or {f"f{i}": 8200 + i for i in range(8)}
    tried = []

    def run(depths, what):
        tried.append(depths)
        bad = {n for n, d in needed.items() if depths[n] < d}
        states = [SimpleNamespace(name=n, max_count=min(marks[n], d), depth=d, full=n in bad)
                  for n, d in depths.items()]
        return SimpleNamespace(status=3 if bad and deadlock else 0, good=not bad), states

    depths = {n: fifo_sizing.round_depth(h) for n, h in marks.items()}
    good = attrgetter("good")
    return Snapper(depths, marks, run, good, good, lambda n, d: price(64)(d), fifo_sizing.round_depth), tried


def test_all_proposals_are_tried_together():
    s, tried = snapper({})
    s.snap()
    assert set(s.depths.values()) == {8192} and s.last and s.last[0].good
    assert len(tried) == s.trials == 1, "one simulation shows it; half of these marks needs the same memory"


def test_groups_are_halved_until_the_interval_is_kept():
    s, tried = snapper({"f5": 8205})
    before = dict(s.depths)
    s.snap()
    assert 1 < s.trials == len(tried) - 1 <= TRIALS and before in tried, "once without snapping"
    snapped = {n for n, d in s.depths.items() if d == 8192}
    assert len(snapped) >= 4 and s.depths["f5"] == before["f5"]
    assert all(s.depths[n] == before[n] for n in set(before) - snapped)


def test_what_is_full_at_a_standstill_gets_its_depth_back():
    s, tried = snapper({"f5": 8205, "f1": 8201}, deadlock=True)
    before = dict(s.depths)
    s.snap()
    assert s.trials == len(tried) - 1 == 2, "a standstill shows which FIFOs it was"
    assert {n: d for n, d in s.depths.items() if d != 8192} == {n: before[n] for n in ("f1", "f5")}


def test_nothing_is_tried_that_saves_nothing():
    s, tried = snapper({}, marks={"f0": 4000, "f1": 500})
    before = dict(s.depths)
    s.snap()
    assert tried == [before] and s.last and s.trials == 0 and s.depths == before
    assert s._saved(s.proposals(before, SHARES[-1])) < WORTH_TRIAL


def test_later_shares_take_more_and_trials_are_limited():
    s, _ = snapper({}, marks={"f0": 7000, "f1": 8200})
    s.snap()
    assert s.depths == {"f0": 4096, "f1": 8192} and s.trials == len(SHARES)
    s, tried = snapper({f"f{i}": 8201 for i in range(8)})
    before = dict(s.depths)
    s.snap()
    assert len(tried) == TRIALS + 1 and s.depths == before and s.last and not s.failed


def test_depths_that_do_not_do_are_not_snapped():
    s, tried = snapper({"f5": 20_000})
    before = dict(s.depths)
    s.snap()
    assert s.last is None and s.failed and not s.failed[0].good
    assert s.depths == before and tried[-1] == before and len(tried) == 2, "no more trials: the depths must grow first"


def test_unused_depth_goes_with_a_snap():
    """In front of a smaller FIFO that stops its producer, another may need less."""
    s, _ = snapper({}, marks={"f0": 8200, "f1": 4000})
    run = s.run

    def emptier(depths, what):
        result, states = run(depths, what)
        return result, [SimpleNamespace(**{**vars(x), "max_count": 70 if x.name == "f1" else x.max_count})
                        for x in states]

    s.run = emptier
    s.snap()
    assert s.depths == {"f0": 8192, "f1": 128}


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


def test_engines_are_tried_apart_and_one_by_one():
    """Outside of engines no FIFO can be snapped, of two engines one can."""
    marks = {"a": 8200, "b": 8201, "c": 8202, "d": 8203}
    s, tried = snapper({"a": 8201, "d": 8204}, marks=marks)
    s.engines = {"b": "gate1", "c": "gate1", "d": "gate2"}
    s.snap()
    snapped = [{n for n, d in t.items() if d == 8192} for t in tried]
    assert snapped[0] == {"b", "c", "d"} and snapped[1] == set(), "engines first; then what was given is shown to do"
    assert {"b", "c"} in snapped and {n for n, d in s.depths.items() if d == 8192} == {"b", "c"}


def test_a_trial_must_keep_more_than_the_given_depths():
    s, tried = snapper({})
    s.keeps_on = lambda r: False
    before = dict(s.depths)
    s.snap()
    assert s.depths == before and s.last and not s.failed and before in tried


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


def test_what_was_never_full_is_tried_apart():
    s, tried = snapper({"f2": 8205, "f3": 8204})
    run = s.run

    def burst(depths, what):
        result, states = run(depths, what)
        for x in states:
            x.max_count = x.depth if x.name in ("f1", "f2", "f3") else 8100
        return result, states

    s.run = burst
    s.snap()
    snapped = [{n for n, d in t.items() if d <= 8192} for t in tried]
    assert snapped[2] == {"f0", "f4", "f5", "f6", "f7"}, "the next trial takes all that never was full"
    assert s.depths["f2"] > 8192 and s.depths["f3"] > 8192
