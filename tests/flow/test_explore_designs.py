"""Designs by formulas: the curve with its answers, and every technique switched off."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import build as flow
from bhvit.finn_flow import build_steps, devices, estimate, folding, graph, memory_plan, ops
from bhvit.finn_flow.config import BuildConfig, MemoryConfig
from bhvit.finn_flow.devices import Device
from bhvit.finn_flow.explore import ablation, design, pareto, plots, record, source

from . import networks
from .test_explore import axes

POPCOUNTS = {64: (1.0, 2.0), 8: (1.0, 3.0)}
SMALL = "small"


def specialized(tokens=48, channels=16):
    model = ops.to_integers(networks.residual(tokens=tokens, channels=channels))
    return graph.specialize(graph.insert_duplicates(model), networks.PART)


def config(**changes) -> BuildConfig:
    return BuildConfig(**{"model": "nets/toy.yaml", "weights": {"random": 1}, "part": networks.PART, "clock_mhz": 100,
                          "target_cycles": 400, **changes})


@pytest.fixture
def small(monkeypatch):
    """A device on which the toy fits slowly only."""
    monkeypatch.setitem(devices.DEVICES, SMALL, Device(lut=2100, ff=1, bram18=4, uram=0, dsp=1000))
    return config(part=SMALL)


@pytest.mark.parametrize("optimize", ["cost", "fit"])
def test_estimate_is_that_of_a_build_with_shallow_fifos(optimize):
    model, cfg = specialized(), config(optimize=optimize)
    before = model.model.SerializeToString()
    e = design.estimated(design.with_engines(model, cfg), cfg, 400)
    assert model.model.SerializeToString() == before
    folded = design.fold(model, cfg, 400)
    assert {ops.layer_from_node(n).depth for n in graph.fifos(folded)} == {2}
    total = estimate.layer_resources(folded, cfg.device)["total"]
    assert [e.lut, e.bram18, e.uram, e.dsp] == [round(total[k]) for k in ("LUT", "BRAM_18K", "URAM", "DSP")]
    assert e.interval == max(estimate.layer_cycles(folded).values()) <= 400 and e.fps == 100e6 / e.interval
    bits = sum(p.store.bits for p in memory_plan.memories(folded))
    assert e.memory_mbit == round(bits / 1e6, 2) and 0 < e.logic_lut < e.lut and e.fits


def test_limits_leave_room_for_fifos():
    cfg = config(memory=MemoryConfig(share=0.5, lut_share=0.4, fifo_share=0.25))
    have = devices.device_of(networks.PART)
    assert design.limits(cfg) == pytest.approx({"lut": 0.3 * have.lut, "bram18": 0.375 * have.bram18,
                                                "uram": 0.375 * have.uram, "dsp": 0.4 * have.dsp})
    tight = config(memory=MemoryConfig(lut_share=0.001))
    e = design.estimated(specialized(), tight, 400)
    assert not e.fits and e.fullest == "dsp" and e.share["dsp"] > 0.001
    assert e.fullest_share == pytest.approx(e.dsp / design.limits(tight)["dsp"], rel=1e-3)
    assert design.conditions(tight)["source"] == "estimate"
    with pytest.raises(UserError, match="resources are not known"):
        design.limits(config(part="xqvu1"))
    with pytest.raises(UserError, match="folding file"):
        design.target_of(config(target_cycles=None, folding_file="f.json"))


def test_curve_and_answers(small):
    model = specialized()
    seen = []
    data = pareto.explore(model, small, fps=200_000, progress=lambda p: seen.append(p.target))
    points = data["points"]
    assert len(seen) == len(points) > len(pareto.series(400, data["fastest"]["interval"]))
    assert [p["interval"] for p in points] == sorted(p["interval"] for p in points)
    assert {True, False} == {p["fits"] for p in points}, "the limit lies inside the curve"
    best = data["best"]
    assert best["fits"] and best["interval"] == min(p["interval"] for p in points if p["fits"])
    faster = max(p["target"] for p in points if not p["fits"])
    assert best["interval"] <= faster * pareto.NEAR or len(seen) > pareto.HALVINGS
    small_one = data["smallest"]
    reach = [p for p in points if p["fps"] >= 200_000]
    assert small_one in [{k: v for k, v in p.items() if k != "front"} for p in reach]
    assert not any(p["fits"] and p["mean_share"] < small_one["mean_share"] for p in reach)
    text = pareto.markdown(data)
    assert "estimate" in text and "depth 2" in text and f"{best['fps']:,.0f} frames/s" in text
    assert len([x for x in text.splitlines() if x.startswith("| ")]) == len(points) + 1
    figure, four = axes(4)
    plots.pareto(four, data)
    assert [ax.get_lines()[-1].get_ydata()[0] for ax in four] == list(data["limits"].values())
    figure.canvas.draw()


def test_where_nothing_fits_and_what_is_too_fast(small):
    model = specialized()
    nothing = pareto.explore(model, small.model_copy(update={"memory": MemoryConfig(lut_share=0.01)}), targets=[400])
    assert nothing["best"] is None and nothing["smallest"] is None and len(nothing["points"]) == 1
    assert "No design of the curve fits." in pareto.markdown(nothing)
    least, name = pareto.fastest(model)
    folding.choose(model, least)
    with pytest.raises(UserError, match="cannot be met"):
        folding.choose(model, least - 1)
    with pytest.raises(UserError, match="cannot be met") as e:
        pareto.explore(model, small, fps=100e6 / (least - 1) + 1)
    assert name in str(e.value)


def test_front():
    a = design.estimated(specialized(), config(), 400)
    slow, dear = replace(a, fps=a.fps / 2), replace(a, lut=a.lut + 1)
    other = replace(a, fps=a.fps / 2, lut=a.lut - 1)
    assert pareto.front([slow, a, dear, other, replace(a)]) == [a, other]


def test_few_tokens_per_beat():
    model = specialized(tokens=196, channels=16)
    free, one = (folding.choose(model, 60, tokens=t) for t in (None, 1))
    assert max(f.get("TP", 1) for f in free.values()) > 1
    fast = {n: [c for c in pareto.candidates(ops.layer_from_node(node), pareto.DEFAULT) if c[0] <= 60]
            for n, node in ((n.name, n) for n in model.graph.node)}
    least = {n: min(getattr(c, "TP", 1) for _, _, c in f) for n, f in fast.items()}
    assert {n: f.get("TP", 1) for n, f in one.items()} == {n: least[n] for n in one} and max(least.values()) > 1
    assert {f.get("TP", 1) for f in folding.choose(model, 4000, tokens=1).values()} == {1}


# ---- ablation -----------------------------------------------------------------------------------------------------
def test_every_technique_off():
    cfg = config(optimize="fit", memory=MemoryConfig(ultra_constants=True, styles={"mix.WEIGHT": "stream"}),
                 target_cycles=60)
    model = specialized(tokens=196)
    asked = []

    def relower(c):
        asked.append(c.rows)
        return model

    said = []
    data = ablation.ablate(model, cfg, relower, POPCOUNTS, progress=lambda *a: said.append(a))
    rows = data["variants"]
    assert asked == ["frame"] and said[-1] == (len(rows), len(rows), "")
    assert not rows["share"]["used"] and "lut" not in rows["share"] and "not used" in ablation.markdown(data)
    base = rows["build"]
    assert all(r["interval"] <= 60 and r["target"] == 60 for r in rows.values() if r["used"])
    assert rows["rows"]["lut"] == base["lut"], "relower gave the same graph"
    folded = design.fold(design.with_engines(model, cfg), cfg, 60)
    mix = ops.layer_from_node(next(n for n in folded.graph.node if n.name == "mix"))
    assert ablation.plain_luts(folded, POPCOUNTS) == mix.PE * mix.TP * mix.SIMD * 2
    assert rows["popcount"]["lut"] - base["lut"] == mix.PE * mix.TP * mix.SIMD * 2
    assert rows["fit"]["optimize"] == "cost" and base["optimize"] == "fit"
    assert rows["streamed"]["memory_mbit"] == base["memory_mbit"], "weights outside count as memory"
    assert rows["all"]["optimize"] == "cost" and data["source"] == "estimate" and "depth 2" in data["fifos"]


def test_variants_change_what_they_say():
    found = {v.name: v for v in ablation.variants(config(rows="frame", share={3: [2]}, memory=MemoryConfig(
        ultra_constants=True, styles={"a.WEIGHT": "stream", "b.FRAME": "block"})))}
    assert not found["rows"].used and found["share"].used and not found["fit"].used
    assert found["streamed"].change["memory"].styles == {"b.FRAME": "block"}
    assert found["streamed"].change["memory"].ultra_constants and not found["loaded"].change["memory"].ultra_constants
    everything = found["all"]
    assert everything.change["share"] == {} and "rows" not in everything.change and everything.plain
    assert everything.change["memory"] == MemoryConfig(styles={"b.FRAME": "block"})


def test_a_variant_that_cannot_meet_the_target():
    model, cfg = specialized(), config(share={3: [2]})
    data = ablation.ablate(model, cfg, lambda c: model, POPCOUNTS, only={"build", "tokens"})
    assert "There is nothing to share" in data["variants"]["build"]["impossible"]
    assert "There is nothing to share" in ablation.markdown(data)


# ---- graphs and records ---------------------------------------------------------------------------------------------
def test_graph_of_a_build_folder(tmp_path, monkeypatch):
    folder = tmp_path / "b"
    made = []

    def first(ctx, _model):
        made.append(1)
        return specialized()

    steps = (flow.Step(source.LAST, first, checked=False),)
    cfg = config()
    assert len(source.specialized(cfg, folder, steps).graph.node) == len(specialized().graph.node)
    source.specialized(cfg.model_copy(update={"target_cycles": 7, "clock_mhz": 9.0}), folder, steps)
    assert made == [1], "the second time it is read"
    assert json.loads((folder / "build_config.json").read_text())["target_cycles"] == 400, "and left as it is"
    with pytest.raises(UserError, match="another network") as e:
        source.specialized(config(rows="frame"), folder, steps)
    assert "`rows` is rotate there and frame here" in str(e.value)
    with pytest.raises(UserError, match="no golden tensors"):
        source.lowered_again(config(rows="frame"), folder, print)
    for mark in (folder / "steps").iterdir():  # as a build leaves it that fails in an earlier step
        mark.unlink()
    source.specialized(cfg, folder, steps)
    assert made == [1, 1], "the graph of the build before does not count"
    own = tmp_path / "m.yaml"
    own.write_text("one")
    (folder / "model").mkdir()
    for text, changed in (("one", None), ("another", own)):
        (folder / "model/model.yaml").write_text(text)
        assert source._changed(cfg.model_copy(update={"model": own}), folder) == changed
    assert [s.name for s in source.FIRST_STEPS] == [s.name for s in build_steps.STEPS[:3]]


def test_record_and_files(tmp_path, monkeypatch):
    found = record.record(config(), "bhvit explore x")
    assert found["provenance"]["backend"] == "open" and found["command"] == "bhvit explore x"
    monkeypatch.setattr(record, "PACKAGE", tmp_path)
    assert record.commit() is None, "no checkout"
    files = record.write_files(tmp_path / "r" / "x.json", {"a": 1}, "| a |", lambda f: f.subplots())
    assert json.loads(files[0].read_text()) == {"a": 1} and files[1].read_text() == "| a |\n"
    assert files[2].read_bytes()[:4] == b"\x89PNG"
    assert len(record.write_files(tmp_path / "x.json", {}, "")) == 2
