"""FINN custom ops derived from the declarations: registration, execution, specialization, RTL simulation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow import finn_env, ops
from bhvit.finn_flow.layers.base import Layer
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.threshold import Threshold

PART = "xczu7ev-ffvc1156-2-e"


def single(layer: Layer, frames: int, seed: int = 0, **exps):
    """A graph of one node with random constants, and random inputs."""
    rng = np.random.default_rng(seed)
    ins, outs = layer.inputs(), layer.outputs()
    model = ops.new_model([(f"x{i}", [frames, *s.dims], None) for i, s in enumerate(ins)],
                          [f"y{i}" for i in range(len(outs))])
    c = layer.random_constants(rng)
    x = layer.random_inputs(rng, frames)
    node = ops.make_node(layer, [f"x{i}" for i in range(len(ins))], [f"y{i}" for i in range(len(outs))], c, model,
                         "n0", **exps)
    model.graph.node.append(node)
    return model, c, x


def test_every_layer_is_registered():
    from qonnx.custom_op.registry import getCustomOp

    for stem, cls in layers().items():
        for example in cls.examples():
            model, c, x = single(cls(**example), 2)
            node = model.graph.node[0]
            inst = getCustomOp(node)
            layer, constants = ops.layer_of(node, model)
            assert layer == cls(**example), stem
            assert all(np.array_equal(constants[k], c[k]) for k in c)
            assert inst.get_exp_cycles() == layer.cycles()
            for i, s in enumerate(layer.inputs()):
                folded = inst.get_folded_input_shape(i)
                assert np.prod(folded[1:]) == np.prod(s.dims) and np.prod(folded[1:-1]) == s.beats
                assert inst.get_instream_width(i) == s.width
            for i in range(len(layer.inputs()), len(node.input)):
                assert inst.get_instream_width(i) == 0
            assert inst.node_res_estimation(PART)["LUT"] >= 0
            y = ops.execute(model, {f"x{i}": v for i, v in enumerate(x)})
            want = layer.golden(x, c)
            for i, w in enumerate(want):
                assert np.array_equal(y[f"y{i}"], w)


def test_value_domain():
    layer = Threshold(dims=[3, 4], bits=8, SIMD=2)
    model, c, x = single(layer, 2, in_exp=[-5])
    y = ops.execute(model, {"x0": x[0] * 2.0**-5})["y0"]
    assert np.array_equal(y, layer.golden(x, c)[0])
    with pytest.raises(ops.NotInteger, match=r"n0 input 0.*2\^-5"):
        ops.execute(model, {"x0": x[0] * 2.0**-6})
    with pytest.raises(ops.NotInteger, match="INT8"):
        ops.execute(model, {"x0": np.full((2, 3, 4), 4.0)})
    ops.to_integers(model)
    assert np.array_equal(ops.execute(model, {"x0": x[0]})["y0"], y)


def test_wrong_constants_are_refused():
    layer = Threshold(dims=[3, 4], bits=8)
    model, c, _ = single(layer, 1)
    for bad, message in (({"t": c["t"]}, "needs constants"), ({**c, "t": c["t"][:, :3]}, "shape"),
                         ({**c, "t": c["t"] + 1000}, "INT9"), ({**c, "t": c["t"] + 0.5}, "no integers")):
        with pytest.raises(ValueError, match=message):
            ops.make_node(layer, ["x0"], ["y0"], bad, model, "n1")


def test_specialize_and_simulate_node_by_node(tmp_path):
    finn_env.setup(tmp_path / "finn")
    from finn.core.onnx_exec import execute_onnx
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
    from finn.transformation.fpgadataflow.prepare_rtlsim import PrepareRTLSim
    from finn.transformation.fpgadataflow.set_exec_mode import SetExecMode
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.custom_op.registry import getCustomOp

    model, _, x = single(Threshold(dims=[5, 6], bits=8, SIMD=2, sets=2), 3)
    feed = {"x0": x[0].astype(np.float32)}
    want = execute_onnx(model, feed)["y0"]
    model = model.transform(SpecializeLayers(PART))
    assert [n.op_type for n in model.graph.node] == ["BvThreshold_rtl"]
    assert model.graph.node[0].domain == ops.RTL
    model = model.transform(PrepareIP(PART, 4.0))
    inst = getCustomOp(model.graph.node[0])
    for f in inst.get_rtl_file_list(abspath=True):
        assert Path(f).is_file()
    assert "create_bd_cell" in inst.code_generation_ipi()[-1]
    model = model.transform(PrepareRTLSim(num_workers=1)).transform(SetExecMode("rtlsim"))
    assert np.array_equal(execute_onnx(model, feed)["y0"], want)
    assert getCustomOp(model.graph.node[0]).get_nodeattr("cycles_rtlsim") > 0
    assert len(np.unique(want)) == 2
    assert Path(os.environ["FINN_BUILD_DIR"]) == (tmp_path / "finn").resolve()


def test_finn_builder_imports_without_vivado():
    finn_env.setup()
    import finn.builder.build_dataflow_steps as steps

    assert hasattr(steps, "step_specialize_layers")
