"""Stitching: passes that make a graph streaming, the files written, and the stitched RTL against the goldens."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bhvit.finn_flow import graph, ops, stitch
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.sim.verilate import Stalls

from . import networks


def fold(model, **foldings):
    """Set PE/SIMD/TP by node name."""
    for n in model.graph.node:
        if n.name in foldings:
            layer = ops.layer_from_node(n)
            ops.set_layer(n, type(layer)(**{**layer.model_dump(), **foldings[n.name]}))
    return model


def streaming(model, depth=2, **foldings):
    ops.to_integers(model)
    model = fold(model, **foldings)
    if not any(graph.is_loop(n) for n in model.graph.node):  # those with an engine are specialized when they get it
        model = graph.specialize(model, networks.PART)
    graph.insert_duplicates(model)
    graph.insert_width_converters(model)
    return graph.insert_fifos(model, depth)


FOLDINGS = {"stem": {"PE": 2, "SIMD": 3}, "bn": {"SIMD": 4}, "mix": {"PE": 4, "SIMD": 8, "TP": 1}, "join": {"SIMD": 2}}


def test_passes_keep_the_function():
    model = networks.residual()
    x = networks.pixels(model, 5)
    want = ops.execute(model, {"pixels": x})["logits"]
    model = streaming(model, **FOLDINGS)
    names = [n.name for n in model.graph.node]
    assert len(set(names)) == len(names) and all(n.isidentifier() for n in names)
    assert {"stem", "bn", "sign", "mix", "join_0"} <= set(names)
    stems = [graph.stem(n) for n in model.graph.node]
    assert stems.count("duplicate") == 2 and stems.count("width_converter") >= 3
    graph.check_streaming(model)
    assert stems.count("fifo") * 2 == len(graph.edges(model)), "a FIFO in every edge"
    got = ops.execute(model, {"pixels": x})["logits"]
    assert np.array_equal(got, want) and len(np.unique(want)) > 20


def test_disagreeing_streams_are_named():
    model = networks.residual()
    node = next(n for n in model.graph.node if n.name == "bn")
    ops.set_layer(node, ops.layer_from_node(node).model_copy(update={"out_bits": 7}))
    with pytest.raises(graph.GraphError, match="bn"):
        streaming(model)


def test_stitched_rtl_equals_golden(tmp_path):
    model = networks.residual()
    x = networks.pixels(model, 6)
    want = ops.execute(model, {"pixels": x})["logits"]
    model = streaming(model, depth=32, **FOLDINGS)
    design = stitch.stitch(model, tmp_path / "stitched_ip")
    again = stitch.Design.load(tmp_path / "stitched_ip")
    assert again == design
    text = (design.folder / "finn_design_wrapper.v").read_text()
    for port in ("ap_clk", "ap_rst_n", "in0_V_TDATA", "in0_V_TVALID", "in0_V_TREADY", "out0_V_TDATA"):
        assert port in text
    assert all(f.is_file() for f in design.sources)
    sim = DesignSim(design, tmp_path / "sim")
    for stalls in (Stalls(), Stalls(seed=3, input_percent=30, output_percent=50)):
        result, states = sim.run(x, stalls=stalls)
        assert result.status == 0, result.log
        assert np.array_equal(result.outputs[0], want)
        assert len(states) == len(design.fifos) and all(s.count == 0 for s in states)
        assert not any(s.full for s in states)
    before = sim.exe.stat().st_mtime_ns
    assert DesignSim(design, tmp_path / "sim").exe.stat().st_mtime_ns == before, "compiled once"
    json.loads((design.folder / "design.json").read_text())


def test_trace_gives_every_edge(tmp_path):
    model = networks.residual()
    x = networks.pixels(model, 2)
    model = streaming(model, depth=32, **FOLDINGS)
    values = ops.execute(model, {"pixels": x}, keep="*")
    design = stitch.stitch(model, tmp_path / "stitched_ip")
    streams = {n.name: ops.layer_from_node(n).outputs()[0] for n in graph.fifos(model)}
    traces = DesignSim(design, tmp_path / "sim", "trace").trace(x, streams)
    for n in graph.fifos(model):
        st = streams[n.name]
        assert np.array_equal(st.from_elements(traces[n.name]), values[n.output[0]]), n.name


def test_constants_from_outside(tmp_path):
    """A loaded memory, two memories on one bus, and streamed weights in one design."""
    model = networks.residual(tokens=24)
    x = networks.pixels(model, 6)
    want = ops.execute(model, {"pixels": x})["logits"]
    styles = {"stem": "WEIGHT=ultra", "mix": "WEIGHT=stream"}
    model = streaming(model, depth=64, **FOLDINGS)
    for n in model.graph.node:
        if n.name in styles:
            ops.set_layer(n, ops.layer_from_node(n).model_copy(update={"styles": styles[n.name]}))
    design = stitch.stitch(model, tmp_path / "stitched_ip")
    assert [(d["node"], d["memory"], d["target"]) for d in design.loads] == [("stem", "WEIGHT", 0)]
    assert [(d["node"], d["port"], d["passes"]) for d in design.weights] == [("mix", "weight0_V", 24)]
    frame = math.prod(design.weights[0][k] for k in ("words", "bytes", "passes"))
    assert not list(design.memories.glob("*_weight.mem")) and design.load_file.exists()
    assert stitch.Design.load(design.folder) == design
    sim = DesignSim(design, tmp_path / "sim")
    for stalls, bandwidth in ((Stalls(), 0.0), (Stalls(seed=3, input_percent=30, output_percent=30), 2.5)):
        result, _ = sim.run(x, stalls=stalls, bandwidth=bandwidth)
        assert result.status == 0 and np.array_equal(result.outputs[0], want)
        assert 6 * frame <= result.streamed < 7 * frame, "every token reads all words; a FIFO reads on"
    image = design.load_file.read_bytes()
    design.load_file.write_bytes(image[:16] + bytes([image[16] ^ 64]) + image[17:])  # first word
    weights = design.memories / "weight0_V.bin"
    first = sim.run(x)[0].outputs[0]
    design.load_file.write_bytes(image)
    weights.write_bytes(weights.read_bytes()[::-1])
    second = sim.run(x)[0].outputs[0]
    assert not np.array_equal(first, want) and not np.array_equal(second, want)
