"""FIFO depths that cheaper memories have."""

from __future__ import annotations

from operator import attrgetter
from types import SimpleNamespace

import numpy as np
import pytest

from bhvit.finn_flow import fifo_sizing, fifo_snap, graph, ops, stitch
from bhvit.finn_flow.fifo_snap import SHARES, TRIALS, WORTH_TRIAL, Snapper, cheaper
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.memory_plan import free_depth, least_price
from bhvit.finn_flow.sim.design import DesignSim

from . import networks
from .test_stitch import FOLDINGS, streaming


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
    lines.clear()
    _, deep = fifo_sizing.size_fifos(streaming(networks.residual(tokens=64), **FOLDINGS), tmp_path / "deep",
                                     snap=False, log=lines.append)
    assert not [line for line in lines if "in cheaper memories" in line] and deep.rounds < sizing.rounds
    assert all(deep.depths[n] >= d for n, d in sizing.depths.items())
    design = stitch.stitch(model, tmp_path / "stitched")
    result, _ = DesignSim(design, tmp_path / "sim").run(x)
    assert result.status == 0 and np.array_equal(result.outputs[0], want)
    slowest = max(ops.layer_from_node(n).cycles() for n in model.graph.node if graph.stem(n) not in graph.PLUMBING)
    assert abs(result.interval - slowest) <= 2 + slowest * fifo_sizing.TOLERANCE


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


@pytest.mark.parametrize("deadlock", [False, True])
def test_what_a_failed_attempt_has_learned_is_kept(deadlock):
    """f5 needs more than it was given. It gets that, which is shown first; the group of all is not tried again."""
    s, tried = snapper({"f5": 9000} | ({"f1": 8201} if deadlock else {}), deadlock=deadlock,
                       marks={f"f{i}": 9001 if i == 5 else 8200 + i for i in range(8)})
    s.depths["f5"] = 8256
    s.snap()
    assert s.failed and len(tried) == 2
    again = Snapper({**s.depths, "f5": 9024}, s.high, s.run, s.keeps, s.keeps_on, s.price, s.rounded, todo=s.todo)
    again.snap()
    assert tried[2] == {**s.depths, "f5": 9024} and again.last and not again.failed
    groups = [{n for n, d in t.items() if d == 8192} for t in tried[3:]]
    assert len(groups[0]) == (6 if deadlock else 4), "the group of all is not tried again"
    assert len(groups) == again.trials <= TRIALS and again.depths["f5"] == 9024
    assert {n for n, d in again.depths.items() if d == 8192} >= groups[0] - {"f5"}


def test_depths_that_fail_again_cost_one_simulation():
    s, tried = snapper({"f5": 9000})
    s.snap()
    again = Snapper({**s.depths, "f5": 8960}, s.high, s.run, s.keeps, s.keeps_on, s.price, s.rounded, todo=s.todo)
    again.snap()
    assert again.failed and len(tried) == 3 and again.todo == s.todo


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
