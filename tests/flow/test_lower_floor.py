"""Why FINN's own front end is not used: ConvertQONNXtoFINN ignores rounding_mode FLOOR.

If these tests fail because the conversion became exact, the reason recorded in docs/decisions is gone.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from bhvit.finn_flow import finn_env, ops, passes
from bhvit.finn_flow.passes.lower import lower
from bhvit.finn_flow.streams import s

from .qonnx_builder import Builder


def graph() -> tuple[ModelWrapper, np.ndarray]:
    b = Builder((1, 8, 256))
    y = b.quant(b.mul("x", b.init(1.0)), 4, 2)
    model = ModelWrapper(b.build(y).model).transform(InferShapes())
    return model, np.tile(np.arange(-128, 128, dtype=np.float32), (1, 8, 1))


def test_stock_conversion_breaks_floor():
    finn_env.setup()
    from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN

    model, x = graph()
    (y,) = execute_onnx(model, {"x": x}).values()
    assert np.array_equal(y, np.clip(np.floor(x / 4), -8, 7) * 4)
    stock = model.transform(ConvertQONNXtoFINN())
    assert "Quant" not in {n.op_type for n in stock.graph.node}, "the conversion did not touch the quantizer"
    (z,) = execute_onnx(stock, {"x": x}).values()
    wrong = int((y != z).sum())
    assert wrong > 0, "ConvertQONNXtoFINN is exact for FLOOR now"


def test_own_lowering_is_exact_on_the_same_graph():
    model, x = graph()
    (y,) = execute_onnx(model, {"x": x}).values()
    hw = lower(model, x, input_type=s(8), integers=False)
    (got,) = ops.execute(hw, {"x": x}).values()
    assert np.array_equal(got.reshape(y.shape), y)


@pytest.mark.parametrize("file", sorted(Path(passes.__file__).parent.glob("*.py")), ids=lambda p: p.stem)
def test_passes_import_neither_torch_nor_stock_lowering(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{a.name}" for a in node.names}
    assert not [n for n in names if n.startswith(("torch", "brevitas", "finn.", "bhvit.model"))]
