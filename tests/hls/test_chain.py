"""Parts of hardware graphs as threads with the graph's FIFOs: equal to the goldens, and a short FIFO is named."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import graph, ops
from bhvit.finn_flow.hls.chain import block, dataflow
from bhvit.finn_flow.hls.csim import run_program
from bhvit.finn_flow.hls.network import graph_of, images_of
from tests.flow import networks
from tests.flow.test_stitch import streaming

NAMES = {"bn": "stage1_block1_norm", "sign": "stage1_block1_sign", "mix": "stage1_block1_mix",
         "join": "stage1_block1_join"}
FOLDINGS = {"stem": {"PE": 2, "SIMD": 3}, NAMES["bn"]: {"SIMD": 4}, NAMES["mix"]: {"PE": 4, "SIMD": 8},
            NAMES["join"]: {"SIMD": 2}}


@pytest.fixture(scope="module")
def toy():
    """Five layers around two forks, with width converters and FIFOs of 16 beats; all but the stem are a block."""
    model = networks.residual()
    for n in model.graph.node:
        n.name = NAMES.get(n.name, n.name)
    return streaming(model, depth=16, **FOLDINGS)


def test_block_has_its_fork(toy):
    names = block(toy, "stage1_block1")
    assert {*NAMES.values(), "stem_out0_fork"} <= set(names) and "stem" not in names
    order = [n.name for n in toy.graph.node]
    assert names == [n for n in order if n in names]
    design = dataflow(toy, names, networks.pixels(toy, 2))
    (source,), (sink,) = design.inputs, design.expected
    assert source.startswith("stem_out0") and sink.startswith("stage1_block1_join_out0")
    assert {len(n.outputs) for n in design.nodes} == {1, 2} and set(design.depths.values()) == {16}
    assert sum(n.layer.stem == "width_converter" for n in design.nodes) >= 2


def test_unknown_names(toy):
    with pytest.raises(UserError, match="called `stage1_blok1_") as e:
        block(toy, "stage1_blok1")
    assert "stage1_block1" in e.value.do
    with pytest.raises(UserError, match="has no FIFO `stem_fifo`"):
        dataflow(toy, block(toy, "stage1_block1"), networks.pixels(toy, 1), {"stem_fifo": 3})


def test_whole_toy_network(toy, tmp_path):
    design = dataflow(toy, [n.name for n in toy.graph.node], networks.pixels(toy, 5))
    want = ops.execute(toy, {"pixels": networks.pixels(toy, 5)})[toy.graph.output[0].name]
    assert np.array_equal(next(iter(design.expected.values())), want) and len(np.unique(want)) > 20
    exe, objects = design.compile(tmp_path, sanitize=False)
    result = run_program(exe, {"design": design.streams()})
    assert result.failures == [] and result.beats == want.size // 2

    # without memory to hold a token's residual, the design stands still, and the FIFO is named
    skip = next(n for n in graph.fifos(toy) if n.name.startswith("stage1_block1_norm_out0_fork_out1"))
    short = dataflow(toy, [n.name for n in toy.graph.node], networks.pixels(toy, 5), {skip.name: 1})
    (failure,) = short.run(tmp_path / "short", objects=objects, sanitize=False).failures
    assert failure.startswith(f"design: deadlock: stream '{skip.name}' is too short: it is full while its reader ")


# ---- the demonstration network --------------------------------------------------------------------------------------
BLOCKS = {
    # block: layers that make it the block that it is
    "stage1_block1": {"binary_conv", "shift", "tile", "channel_pool"},
    "stage3_block1": {"window_concat", "layer_norm", "qd_attention", "window_merge", "shift"},
}


@pytest.mark.full
@pytest.mark.parametrize("name", BLOCKS)
def test_complete_block_at_the_depths_of_the_build(name, micro, tmp_path):
    """MSGDC + MLP, MSMHA + MLP: several frames through FIFOs as deep as the build made them."""
    model, frames = graph_of(micro), images_of(micro, 4)
    names = block(model, name)
    design = dataflow(model, names, frames)
    stems = [n.layer.stem for n in design.nodes]
    assert BLOCKS[name] <= set(stems) and stems.count("binary_linear") >= 2
    sized = {n.name: ops.layer_from_node(n).depth for n in graph.fifos(model)}
    assert design.depths == {n: sized[n] for n in design.depths} and len(design.depths) > 20
    for out in design.expected.values():
        assert len(np.unique(out)) > 50 and len({f.tobytes() for f in out}) == len(frames)
    exe, objects = design.compile(tmp_path, sanitize=False)
    result = run_program(exe, {"design": design.streams()})
    assert result.failures == [] and result.beats == sum(4 * design.streams()[s].beats for s in design.expected)

    # the deepest FIFO is that of the block's residual, which waits for the whole of the other path
    skip, too_short = max(design.depths, key=lambda n: design.depths[n]), 64
    assert design.depths[skip] >= 1024
    short = dataflow(model, names, frames, {skip: too_short})
    exe, _ = short.compile(tmp_path / "short", objects=objects, sanitize=False)
    (failure,) = run_program(exe, {"design": short.streams()}).failures
    assert failure.startswith(f"design: deadlock: stream '{skip}' is too short: it is full while its reader ")
    assert failure.count("too short") == 1
    assert f"full stream '{skip}' of depth {too_short}" in failure


@pytest.mark.full
def test_whole_network_at_the_depths_of_the_build(micro, tmp_path):
    """All of it: more than two hundred threads, images in, logits out."""
    model, frames = graph_of(micro), images_of(micro, 3)
    design = dataflow(model, [n.name for n in model.graph.node], frames)
    assert len(design.nodes) > 200 and len(design.inputs) == len(design.expected) == 1
    logits = next(iter(design.expected.values()))
    assert len(np.unique(logits.reshape(3, -1), axis=0)) == 3
    result = design.run(tmp_path, sanitize=False)
    assert result.failures == [] and result.beats == logits.size
