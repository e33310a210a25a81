"""Room in engines: a FIFO of one frame is enough for new ones, on the smallest engine; it takes the gate's rule."""

from __future__ import annotations

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from bhvit.finn_flow import fifo_rings, graph, ops
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.sim.verilate import Stalls
from bhvit.finn_flow.stitch import stitch

from .test_stitch import streaming

ROUNDS, FRAMES, BEATS = 2, 40, 48
RULE = " && !(leave && joined)"


def ring(depth: int):
    """pixels -> gate of an engine that is one affine layer and FIFOs, of two beats but for the one at its exit."""
    model = ops.new_model([("pixels", [1, 12, 8], None)], ["y"])
    model.set_tensor_datatype("pixels", DataType["INT8"])
    kinds, draw = layers(), np.random.default_rng(0)
    attrs = dict(dims=[12, 8], sets=ROUNDS, repeat=0, passes=ROUNDS, SIMD=2)
    affine = kinds["affine"](**kinds["affine"].suitable(40.0, **attrs))
    gate = kinds["loop"](dims=[12, 8], rounds=ROUNDS, in_flight=8, SIMD=2)
    for layer, ins, outs, name in ((gate, ["pixels", "back"], ["u", "y"], "gate"), (affine, ["u"], ["back"], "mix")):
        model.graph.node.append(ops.make_node(layer, ins, outs, layer.random_constants(draw), model,
                                              f"stage1_block1to{ROUNDS}_{name}", rtl=True))
    model = streaming(model)
    (node,) = (n for n in model.graph.node if graph.is_loop(n))
    assert ops.layer_from_node(node).inputs()[0].beats == BEATS
    return graph.set_depths(model, {fifo_rings.ends(model, node)[1]: depth})


@pytest.mark.parametrize("depth, rule, stands", [
    (BEATS + fifo_rings.SPARE, True, False),
    (BEATS + fifo_rings.SPARE, False, True),  # two new frames beside one that leaves
    (BEATS // 2, True, True),                 # no room for one
])
def test_room_for_a_frame(depth, rule, stands, tmp_path):
    model = ring(depth)
    design = stitch(model, tmp_path / "stitched")
    gate = tmp_path / "stitched/rtl/bv_loop.sv"
    text = gate.read_text()
    assert RULE in text
    if not rule:
        gate.write_text(text.replace(RULE, ""))
    sim = DesignSim(design, tmp_path / "sim", optimize="-O0")
    x = np.random.default_rng(1).integers(-128, 128, (FRAMES, 12, 8))
    want = ops.execute(model, {"pixels": x})["y"]
    stood = False
    for seed, slow in enumerate((0, 50, 80, 90, 95, 98), 1):
        result, _ = sim.run(x, stalls=Stalls(seed, 0, slow), patience=20000)
        stood |= result.status != 0
        assert stands or (result.status == 0 and np.array_equal(result.outputs[0], want))
    assert stood == stands
