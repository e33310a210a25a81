"""From the exported QONNX graph to a graph of hardware layers that computes the same integers.

    hw = lower(model, images)         # hw.get_metadata_prop("logit_exponent"): value = logit integer * 2**exponent
    hw = plan_rows(hw, images)        # passes/plan_rows.py

Every hardware node is compared with the exported graph on the images the moment it is made (context.py), and the
finished graph as a whole once more. FINN's own ConvertQONNXtoFINN and Streamline are not used: they ignore FLOOR.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np
from onnx import NodeProto, shape_inference
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from bhvit.garbage import fewer_collections

from .. import ops
from ..streams import DType, u
from .context import Lowering, LoweringMismatch
from .finish import insert_duplicates, name_nodes, remove_reshapes
from .lower_affine import lower_affine
from .lower_attention import lower_attention
from .lower_conv import lower_conv
from .lower_linear import lower_linear
from .lower_lookup import lower_lookup
from .lower_norm import lower_layer_norm
from .lower_shape import lower_patchify, lower_sums, lower_tile
from .lower_shift import lower_shift
from .lower_threshold import lower_threshold
from .lower_window import lower_window_concat, lower_window_merge
from .match import Graph, LoweringError
from .reference import plain_onnx, reference

log = logging.getLogger(__name__)

PASSES: list[Callable[[Lowering], int]] = [
    lower_threshold, lower_patchify, lower_sums, lower_tile, lower_lookup, lower_window_concat, lower_layer_norm,
    lower_attention, lower_conv, lower_shift, lower_window_merge, lower_linear, lower_affine,
]
"""In this order: layers that only move or add data first, since the others take their results as residuals."""


@fewer_collections()
def lower(model: ModelWrapper, check_images: np.ndarray | None = None, *, input_type: DType | None = None,
          duplicates: bool = True, integers: bool = True) -> ModelWrapper:
    """The hardware graph of an exported network.

    Args:
        model: exported QONNX graph; not changed. check_images: (N, H, W, C) as the network takes them; None: one random
            image. input_type: type of the pixels, UINT8 by default. duplicates: insert `duplicate` layers for fan-out.
        integers: leave the value domain (all tensors integers, exponents zero).
    Raises:
        LoweringError: something has no hardware form. LoweringMismatch: a pass is wrong, with tensor and index.
    """
    input_type = input_type or u(8)
    model = prepare(model)
    (name,) = Graph(model).inputs
    if check_images is None:
        check_images = input_type.random(np.random.default_rng(0), (1, *model.get_tensor_shape(name)[1:]))
    model.set_tensor_datatype(name, DataType[input_type.name])
    images = np.asarray(check_images).astype(np.float32)
    ref = reference(model, images)
    low = Lowering(model, ref, input_type)
    for p in PASSES:
        low.pass_name = p.__name__
        n = p(low)
        low.g.sweep()
        log.info("%s: %d", p.__name__, n)
    remove_reshapes(model)
    out = Graph(model).outputs
    exp = output_exponents(model)
    if duplicates:
        insert_duplicates(model)
    name_nodes(model)
    model.set_metadata_prop("logit_exponent", str(exp[out[0]]))
    compare(model, {name: images}, {t: ref[t] for t in out}, "the lowered graph")
    if integers:
        ops.to_integers(model)
    return model


def prepare(model: ModelWrapper) -> ModelWrapper:
    """A copy of batch 1 with all shapes known and constants that need no evaluation in place."""
    model = ModelWrapper(copy.deepcopy(model.model), fix_missing_initializer_valueinfo=False)
    names = {i.name for i in model.graph.initializer}
    read = {t for n in model.graph.node for t in n.input}
    inputs = [i for i in model.graph.input if i.name not in names and i.name in read]
    if len(inputs) != 1:
        raise LoweringError(f"the graph has {len(inputs)} inputs, expected the images only")
    kept = inputs[0].SerializeToString()
    del model.graph.input[:]
    model.graph.input.add().ParseFromString(kept)
    inputs = list(model.graph.input)
    dims = inputs[0].type.tensor_type.shape.dim
    if any(not d.dim_value for d in dims[1:]):
        raise LoweringError(f"input {inputs[0].name}: only the batch may be dynamic")
    if dims[0].dim_value != 1:
        dims[0].ClearField("dim_param")
        dims[0].dim_value = 1
        del model.graph.value_info[:]
        for o in model.graph.output:
            o.type.tensor_type.ClearField("shape")
    if shapeless(model):
        infer_shapes(model)
    for n, t in shapeless(model):
        raise LoweringError(f"tensor {t} of {n.name} ({n.op_type}) has no static shape after shape inference")
    return model


def shapeless(model: ModelWrapper) -> list[tuple[NodeProto, str]]:
    """Tensors without a complete static shape, with their producers."""
    g = Graph(model)
    return [(n, t) for n in g.nodes() for t in n.output if t and not g.has_shape(t) and g.const(t) is None]


def infer_shapes(model: ModelWrapper) -> None:
    """ONNX shape inference with quantizers written out (qonnx's InferShapes takes minutes on graphs of this size)."""
    inferred = shape_inference.infer_shapes(plain_onnx(model, Graph(model).outputs), data_prop=True)
    known = {t for n in model.graph.node for t in n.output} - set(Graph(model).outputs)
    del model.graph.value_info[:]
    model.graph.value_info.extend(v for v in inferred.graph.value_info if v.name in known)
    shapes = {v.name: v for v in inferred.graph.output}
    for o in model.graph.output:
        o.CopyFrom(shapes[o.name])


def output_exponents(model: ModelWrapper) -> dict[str, int]:
    """Exponent of every graph output in the value domain."""
    g = Graph(model)
    out = {}
    for t in g.outputs:
        n = g.producer[t]
        out[t] = int(getCustomOp(n).exponents()[1][list(n.output).index(t)])
    return out


def compare(model: ModelWrapper, inputs: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    """Run the graph with golden models; LoweringMismatch names the first differing output element."""
    got = ops.execute(model, inputs)
    for t, want in expected.items():
        y = np.asarray(got[t], np.float64)
        want = np.asarray(want, np.float64).reshape(y.shape)
        if not np.array_equal(y, want):
            i = tuple(int(v) for v in np.argwhere(y != want)[0])
            raise LoweringMismatch(f"{what}: output {t} differs in {int((y != want).sum())} of {y.size} elements, "
                                   f"first at {i}: expected {want[i]}, got {y[i]}")


__all__ = ["PASSES", "LoweringError", "LoweringMismatch", "lower", "prepare"]
