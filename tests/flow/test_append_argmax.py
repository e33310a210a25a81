"""The optional top-1 output."""

from __future__ import annotations

import numpy as np

from bhvit.finn_flow import graph, ops
from bhvit.finn_flow.layers.affine import Affine
from bhvit.finn_flow.passes.append_argmax import append_argmax
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.stitch import stitch
from bhvit.finn_flow.streams import s


def test_rtl_gives_the_first_maximum(tmp_path):
    rng = np.random.default_rng(0)
    layer = Affine(**Affine.suitable(8, dims=[1, 6], in_bits=4, out_bits=3))
    model = ops.new_model([("x", (1, 1, 6), s(4))], ["logits"])
    model.graph.node.append(ops.make_node(layer, ["x"], ["logits"], layer.random_constants(rng), model, "classifier"))
    x = s(4).random(rng, (40, 1, 6))
    logits = ops.execute(model, {"x": x})["logits"]
    assert any((row == row.max()).sum() > 1 for row in logits[:, 0]), "no ties: the test shows less than it should"
    append_argmax(model)
    top1 = ops.execute(model, {"x": x})["top1"]
    assert np.array_equal(top1.reshape(-1), np.argmax(logits[:, 0], axis=1))
    assert model.get_tensor_datatype("top1").name == "UINT3"
    model = graph.insert_fifos(graph.specialize(model, "xczu7ev-ffvc1156-2-e"))
    result, _ = DesignSim(stitch(model, tmp_path / "ip"), tmp_path / "sim").run(x)
    assert result.status == 0 and len(np.unique(top1)) > 2
    assert np.array_equal(result.outputs[0].reshape(-1), top1.reshape(-1))
