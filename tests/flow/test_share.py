"""Engines that identical blocks share: exact unification of the blocks, the shared design against PyTorch, errors."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.errors import UserError
from bhvit.finn_flow import fifo_rings, graph, implementation, ops
from bhvit.finn_flow.config import BuildConfig
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.passes.share import _unified, share, stages_with_blocks
from bhvit.finn_flow.passes.unify import CannotShare, unify
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.stitch import stitch

from . import chain

#: what may differ between the blocks of a stage, by stem: field -> values
DIFFERENCES = {
    "binary_linear": {"sh1": (3, 4, 6), "sh2": (4, 5), "rm": (8, 16, 32), "k2": (2, 3), "m_bits": (10, 12)},
    "affine": {"sh1": (5, 7), "sh2": (4, 6), "rm": (3, 6, 24), "k2": (1, 4)},
    "shift": {"sh": (5, 6, 7), "ky": (3, 4), "o_bits": (12, 14)},
    "window_concat": {"sh": (6, 7), "ka": (0, 1, 2)},
    "window_merge": {"sh": (6, 8), "ka": (0, 2)},
    "layer_norm": {"sh": (7, 9), "eps_int": (3, 40, 700), "s1": (5, 6, 8)},
    "qd_attention": {"es": (8, 9, 11)},
}
SHAPES = {
    "binary_linear": dict(token_dims=[4], in_channels=24, out_channels=6, act=1, res1=1, res2=1, o_bits=16, o2_bits=14),
    "affine": dict(dims=[3, 6], act=1, res1=1, res2=1, o_bits=16, o2_bits=14),
    "shift": dict(height=4, width=3, channels=4),
    "window_concat": dict(height=4, width=4, channels=3, window=2, padding=0, o_bits=16),
    "window_merge": dict(height=4, width=4, channels=3, window=2, o_bits=16),
    "layer_norm": dict(token_dims=[5], channels=12, k=14, m_bits=10, o_bits=16),
    "qd_attention": dict(windows=2, tokens=5, heads=2, head_dim=8, t_bits=9),
}


@pytest.mark.parametrize("stem", sorted(DIFFERENCES))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_unified_layers_keep_their_functions(stem, data):
    cls, rng = layers()[stem], np.random.default_rng(data.draw(st.integers(0, 2**31)))
    blocks = [cls(**SHAPES[stem], **{k: data.draw(st.sampled_from(v)) for k, v in DIFFERENCES[stem].items()})
              for _ in range(3)]
    constants = [b.random_constants(rng) for b in blocks]
    shared, each = unify(blocks, constants)
    x = [t[:1] for t in blocks[0].random_inputs(rng, 1)]
    for i, (block, before, after) in enumerate(zip(blocks, constants, each)):
        for want, got in zip(block.golden(x, before), shared.of_set(i).golden(x, after)):
            np.testing.assert_array_equal(got, want)
    together = {k: np.concatenate([c[k] for c in each]) for k in each[0]}
    for name, c in shared.constants().items():
        assert c.dtype.min <= together[name].min() and together[name].max() <= c.dtype.max, name


def test_what_constants_cannot_absorb_is_named():
    cls = layers()["layer_norm"]
    a, b = (cls(**SHAPES["layer_norm"] | {"k": k}, s1=6, sh=7, eps_int=3) for k in (13, 14))
    with pytest.raises(CannotShare, match="k is 13, 14"):
        unify([a, b], [x.random_constants(np.random.default_rng(0)) for x in (a, b)])
    cls = layers()["affine"]
    a, b = (cls(**SHAPES["affine"], rm=r) for r in (3, 5))
    with pytest.raises(CannotShare, match="rm is 3, 5"):
        unify([a, b], [x.random_constants(np.random.default_rng(0)) for x in (a, b)])


@pytest.mark.parametrize("stem, values, why", [
    ("shift", {"sh": (3, 14)}, "coef_bits=21 [(]at most 18"),
    ("layer_norm", {"s1": (2, 6), "sh": (7, 7), "eps_int": (3, 3)}, "the least at most 3 below")])
def test_what_no_kernel_takes_is_refused_with_the_layer(stem, values, why):
    cls, rng = layers()[stem], np.random.default_rng(0)
    blocks = [cls(**SHAPES[stem], **{k: v[i] for k, v in values.items()}) for i in (0, 1)]
    with pytest.raises(CannotShare, match=rf"stage3_{stem}: .*{why}"):
        _unified(f"stage3_{stem}", [(b, b.random_constants(rng)) for b in blocks], 2)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A network whose stages 3 and 4 share engines, built."""
    folder = tmp_path_factory.mktemp("engines") / "build"
    with pytest.MonkeyPatch.context() as monkeypatch:
        chain.model_side_here(monkeypatch)
        chain.build(folder, chain.CONFIGS / "engines.yaml", 3, target_cycles=8000, share={3: [3], 4: [2]})
    return folder


def test_exploring_shares_as_a_build_does(built):
    """Gates have the frames in flight of their stage, four where the build says nothing."""
    from bhvit.finn_flow.explore.design import with_engines

    model = ops.load(built / "intermediate_models/step_specialize_layers.onnx")
    config = BuildConfig(model="m.yaml", weights={"random": 1}, part="xczu7ev-ffvc1156-2-e", target_cycles=8000,
                         share={3: [3], 4: [2]}, in_flight={3: 6})
    gates = [ops.layer_from_node(n) for n in with_engines(model, config).model.graph.node if graph.is_loop(n)]
    assert [(g.rounds, g.in_flight) for g in gates] == [(3, 6), (2, 4)]


def test_shared_design_equals_pytorch(built, monkeypatch):
    chain.model_side_here(monkeypatch)
    chain.prove(built, 12, 1, levels=3)  # no probability of these rows is small enough for level 0
    design = json.loads((built / "stitched_ip/design.json").read_text())["nodes"]
    assert {"stage3_block1to3_gate", "stage4_block1to2_gate"} <= set(design)
    assert not [n for n in design if n.startswith(("stage3_block2_", "stage4_block2_"))]


def test_difference_in_an_engine_is_found(built, monkeypatch):
    """The constants of one block only, in an engine: the frame, the layer and the place are named."""
    from bhvit.finn_flow import cosim
    from bhvit.finn_flow.stitch import Design

    design = Design.load(built / "stitched_ip")
    memory = next(f for f in sorted(design.memories.iterdir()) if "fc1_binary_linear_epilogue" in f.name
                  and "stage3" in f.name)
    lines = memory.read_text().split()
    third = len(lines) // 3
    changed = [f"{int(w, 16) ^ 0b1000000:0{len(w)}x}" for w in lines[2 * third:]]  # of the third block
    (reference,) = sorted((built / "report").glob("reference_*.npz"))[:1]
    with np.load(reference) as r:
        images, logits = r["images"][:3], r["logits"][:3]
    memory.write_text("\n".join(lines[:2 * third] + changed) + "\n")
    try:
        found = cosim.find_difference(design, built / "sim", images, cosim.expected_outputs(logits, design), 2)
    finally:
        memory.write_text("\n".join(lines) + "\n")
    assert found["kind"] == "rtl" and found["layer"].startswith("stage3_block1to3_mlp_fc1_binary_linear"), found
    assert (found["frame"], found["round"]) == (2, 2)
    assert ": frame 2, round 2 of its engine, layer stage3" in cosim._difference_text(found)


def test_engines_have_room_for_every_new_frame(built, tmp_path):
    """With its exit closed an engine takes all frames, or the FIFO there holds one (see test_fifo_rings.py)."""
    model = ops.load(built / "stitched_ip/graph.onnx")
    sized = {n.name: ops.layer_from_node(n).depth for n in graph.fifos(model)}
    gate = next(n for n in model.graph.node if graph.is_loop(n))
    first, last = fifo_rings.ends(model, gate)
    beats = ops.layer_from_node(gate).inputs()[0].beats
    frames = ops.layer_from_node(gate).in_flight
    assert frames == 4

    def simulator(in_flight):
        bounds = {n.name: max(64, 4 * ops.layer_from_node(n).inputs()[0].beats) for n in graph.fifos(model)}
        ops.set_layer(gate, ops.layer_from_node(gate).model_copy(update={"in_flight": in_flight}))
        design = stitch(graph.set_depths(copy.deepcopy(model), bounds), tmp_path / f"stitched{in_flight}")
        return DesignSim(design, built / "fifo_sizing/sim", "sizing", optimize="-O0")  # that of the build, for 4

    sim = simulator(4)
    x = sim.design.inputs[0].dtype.random(np.random.default_rng(0), (10, *sim.design.inputs[0].dims))

    def closed(depths, name, count):
        return sim.run(x[:count], depths=depths, closed=name, patience=2 * count * sim.design.max_cycles)[1]

    def entered(depths):
        return next(s.beats_in for s in closed(depths, last, 10) if s.name == first)

    assert fifo_rings.secure(model, sized, closed, lambda d: d) == sized, "the build has seen to it"
    sim = simulator(8)
    found = fifo_rings.secure(model, sized, closed, lambda d: d)
    assert {n for n in found if found[n] != sized[n]} == {last}
    assert entered(sized) < 8 * beats and (found[last] >= beats + fifo_rings.SPARE or entered(found) == 8 * beats)
    tight = {**sized, last: 2}
    assert fifo_rings.secure(model, tight, closed, lambda d: beats + fifo_rings.SPARE)[last] > beats


def test_errors(built):
    model = ops.load(built / "intermediate_models/step_specialize_layers.onnx")
    assert stages_with_blocks(model) == {1: 1, 2: 1, 3: 3, 4: 2}
    for stage, groups, why in ((1, [1], "one|no two|1 block"), (3, [2, 2], "2 . 2 is not 3"), (7, [2], "no block")):
        with pytest.raises(UserError) as e:
            share(ops.load(built / "intermediate_models/step_specialize_layers.onnx"), stage, groups)
        assert re.search(why, str(e.value)), str(e.value)
    share(model, 3, [1, 2])
    assert any(n.name == "stage3_block2to3_gate" for n in model.graph.node if graph.is_loop(n))


def test_engine_takes_the_form_of_its_first_block(built):
    model = ops.load(built / "intermediate_models/step_specialize_layers.onnx")
    for n in model.graph.node:
        if n.name.startswith("stage3_block2_") and graph.stem(n) in ("shift", "duplicate"):
            ops.implement(n, "hls")
    share(model, 3, [1, 2])
    implementation.finish(model, {"loop": "hls"})
    engine = {n.name: n for n in model.graph.node if n.name.startswith("stage3_block2to3_")}
    hls = {graph.stem(n) for n in engine.values() if ops.implementation(n) == "hls"}
    assert {"shift", "loop"} <= hls <= {"shift", "loop", "duplicate"}
    assert {ops.implementation(n) for n in engine.values()} == {"rtl", "hls"}
