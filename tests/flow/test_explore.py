"""Trade-off of foldings, charts, pictures of graphs, and outputs of a design without a comparison."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow import build as flow
from bhvit.finn_flow import build_key, cosim, estimate, folding, graph, ops, stitch
from bhvit.finn_flow.explore import large, plots, tradeoff
from bhvit.finn_flow.explore.graph_picture import draw, layout

from . import networks
from .test_stitch import FOLDINGS, streaming


def specialized():
    return graph.specialize(graph.insert_duplicates(ops.to_integers(networks.residual())), networks.PART)


def test_sweep_is_what_a_build_would_estimate():
    model = specialized()
    before = model.model.SerializeToString()
    points = tradeoff.sweep(model, [600, 12, 100], part=networks.PART, clock_mhz=100)
    assert model.model.SerializeToString() == before, "the graph is left as it was"
    for p, target in zip(points, (600, 12, 100)):
        assert p.target == target and p.interval <= target and p.fps == 100e6 / p.interval
        m = specialized()
        folding.apply(m, folding.choose(m, target))
        graph.insert_width_converters(m)
        cycles = estimate.layer_cycles(m)
        assert (p.interval, cycles[p.slowest]) == (max(cycles.values()),) * 2
    assert points[1].dsp > points[0].dsp and points[1].lut > points[0].lut and points[1].fps > points[0].fps
    with pytest.raises(UserError, match="cannot be met"):
        tradeoff.sweep(model, [0], part=networks.PART, clock_mhz=100)


def test_points_leave_fifos_out():
    model = specialized()
    folding.apply(model, folding.choose(model, 100))
    graph.insert_width_converters(model)
    bare = tradeoff.point(model, 100, networks.PART, 100)
    with_fifos = tradeoff.point(graph.insert_fifos(model, 64), 100, networks.PART, 100)
    assert bare.lut == with_fifos.lut and bare.interval == with_fifos.interval and graph.fifos(model)


# ---- charts -------------------------------------------------------------------------------------------------------
def axes(count: int):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, count, squeeze=False)[0]


def rows() -> dict:
    """Layers as a report has them."""
    names = ("in0_fifo", "stem_linear", "stage1_block1_mix", "stage1_block1_fifo", "down1_mix", "add_0")
    ops_ = ("fifo", "int_linear", "binary_linear", "fifo", "binary_linear", "add")
    return {"layers": [{"name": n, "op": o, "cycles": c, "simulated": None, "lut": 10.0 * c, "bram18": 1, "uram": 0,
                        "dsp": None} for n, o, c in zip(names, ops_, (1, 40, 90, 2, 70, 30))]}


def test_cycles_chart():
    figure, (ax,) = axes(1)
    plots.cycles(ax, rows(), interval=95)
    heights = sorted(p.get_height() for p in ax.patches)
    assert heights == [30, 40, 70, 90], "every layer that computes, once"
    said = [t.get_text() for t in ax.texts]
    assert any("95 (RTL simulation)" in t for t in said) and "estimate" in ax.get_ylabel()
    assert {"stem", "stage1\nblock1", "down1"} <= set(said)
    figure.canvas.draw()
    mixed = rows()
    mixed["layers"].append({**mixed["layers"][1], "cycles": 50})  # the stem again, behind the others
    _, (ax,) = axes(1)
    plots.cycles(ax, mixed)
    at = {p.get_height(): p.get_x() for p in ax.patches}
    assert at[40] < at[50] < at[90], "block by block"


def test_resource_charts_add_up():
    figure, three = axes(3)
    plots.resources(three, rows())
    assert [ax.get_xlabel() for ax in three] == ["LUTs (estimate), total 2,330", "BRAM18 (estimate), total 6",
                                                 "DSPs (estimate), total 0"]
    assert sum(p.get_width() for p in three[0].patches) == 2330
    assert [t.get_text() for t in three[0].get_yticklabels()] == ["input", "stem", "stage1 block1", "down1"]
    figure.canvas.draw()


def test_tradeoff_chart():
    figure, three = axes(3)
    points = tradeoff.sweep(specialized(), [12, 100, 600], part=networks.PART, clock_mhz=100)
    plots.tradeoff(three, points, built=points[1])
    line, mark = three[0].lines
    assert list(line.get_ydata()) == [p.lut for p in points] and list(mark.get_xdata()) == [points[1].fps]
    assert all("estimate" in ax.get_xlabel() and "estimate" in ax.get_ylabel() for ax in three)
    figure.canvas.draw()


def test_graph_picture():
    make = helper.make_node
    nodes = [make("Quant", ["w.value", "s", "z", "b"], ["w"], name="w"), make("MatMul", ["x", "w"], ["y"], name="y"),
             make("Quant", ["y", "s", "z", "b"], ["q"], name="q"), make("Relu", ["q"], ["r"], name="r"),
             make("Add", ["r", "q"], ["a"], name="a"), make("Mul", ["a", "res"], ["m"], name="m")]
    boxes, edges = layout(nodes, {"q": "8 bit"})
    assert edges == [("x", "y"), ("w", "y"), ("y", "q"), ("q", "r"), ("r", "a"), ("q", "a"), ("a", "m"), ("res", "m")]
    assert {n: (boxes[n].column, boxes[n].row) for n in "xyqram"} == {
        "x": (0, 0), "y": (1, 0), "q": (2, 0), "r": (3, 0), "a": (4, 0), "m": (5, 0)}
    assert (boxes["w"].column, boxes["w"].row) == (1, 1) and (boxes["res"].column, boxes["res"].row) == (4, -1)
    assert boxes["q"].label == "Quant\n8 bit"
    figure, (ax,) = axes(1)
    draw(ax, nodes)
    assert len({(t.get_position()) for t in ax.texts if t.get_text()}) == len(boxes), "no box on another"
    figure.canvas.draw()
    _, (ax,) = axes(1)
    draw(ax, nodes, outside=False)
    assert sorted(t.get_text() for t in ax.texts if t.get_text()) == ["Add", "MatMul", "Mul", "Quant", "Quant", "Relu"]


# ---- outputs ------------------------------------------------------------------------------------------------------
def test_outputs_of_a_design(tmp_path):
    model = networks.residual()
    x = networks.pixels(model, 3).astype(np.uint8)
    want = ops.execute(model, {"pixels": x})["logits"].reshape(3, -1)
    model = streaming(model, depth=32, **FOLDINGS)
    stitch.stitch(model, tmp_path / "good")
    got = cosim.outputs(tmp_path / "good", tmp_path / "sim", x, quiet=True)
    assert got.dtype == np.int64 and np.array_equal(got, want) and len(np.unique(got)) > 20
    with pytest.raises(UserError, match="do not fit"):
        cosim.outputs(tmp_path / "good", tmp_path / "sim", x[:, :2])
    stitch.stitch(graph.set_depths(model, {n.name: 2 for n in graph.fifos(model)}), tmp_path / "bad")
    with pytest.raises(CheckFailed, match="simulated design stopped") as e:
        cosim.outputs(tmp_path / "bad", tmp_path / "sim", x, quiet=True)
    assert "Full FIFOs" in str(e.value)


def test_graphs_of_a_build(tmp_path):
    with pytest.raises(UserError, match="no graph of `step_x`") as e:
        flow.graph_after(tmp_path, "step_x")
    assert "there are: none" in str(e.value)
    (tmp_path / "intermediate_models").mkdir()
    specialized().save(str(tmp_path / "intermediate_models" / "step_y.onnx"))
    assert len(flow.graph_after(tmp_path, "step_y").graph.node) == len(specialized().graph.node)
    with pytest.raises(UserError, match="there are: step_y"):
        flow.graph_after(tmp_path, "step_x")


def test_what_looks_at_builds_is_no_part_of_them(monkeypatch, tmp_path):
    """A changed chart must not make builds incomplete."""
    for name in ("explore", "passes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("")
    monkeypatch.setitem(build_key.CODE, "flow", (tmp_path,))
    first = build_key.code_digest("flow")
    (tmp_path / "explore" / "a.py").write_text("x")
    assert build_key.code_digest("flow") == first
    (tmp_path / "passes" / "a.py").write_text(json.dumps("x"))
    assert build_key.code_digest("flow") != first


def test_a_record_judges_every_limit():
    counts = {"lut": 172_801, "bram18": 530, "uram": 82, "dsp": 1296}
    share = large.shares(counts, "xczu7ev-ffvc1156-2-e")
    assert share == {"lut": 0.75, "bram18": 0.8494, "uram": 0.8542, "dsp": 0.75}
    r = {"target_cycles": 100, "cosim": {"mean_interval_cycles": 101.0, "estimated_interval_cycles": 90,
                                       "input_interval_cycles": 95.0, "latency_cycles": 5},
         "estimate": {**counts, "share": share}}
    met = {k: v["met"] for k, v in large.verdict(r).items()}
    assert met == {"interval_cycles": False, "latency_cycles": True, "lut_share": True, "bram18_share": True,
                   "uram_share": False, "dsp_share": True}
    r["cosim"] |= {"mean_interval_cycles": 80.0, "estimated_interval_cycles": 100}
    assert large.verdict(r)["interval_cycles"] == {"limit": 100, "reached": 100, "met": True}
    r["cosim"]["input_interval_cycles"] = 102.5
    assert large.verdict(r)["interval_cycles"] == {"limit": 100, "reached": 102.5, "met": False}, "of many frames"
    r["cosim"]["input_interval_cycles"] = None
    assert not large.verdict(r)["interval_cycles"]["met"], "too few frames to say"
    r["synthesis"] = {**counts, "share": {**share, "lut": 0.76}}
    assert not large.verdict(r)["lut_share"]["met"], "what was synthesized counts, not the estimate"
    none = large.shares({**counts, "uram": 1}, "xczu9eg-ffvb1156-2-e")
    assert none["uram"] is None
    r["synthesis"] = {**counts, "uram": 1, "share": none}
    assert not large.verdict(r)["uram_share"]["met"], "an UltraRAM on a device without"
