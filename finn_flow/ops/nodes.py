"""Graph nodes and layer declarations, one made from the other; graphs of hardware layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

from ..layers.base import Constants, Layer
from ..layers.registry import layers
from ..streams import DType

HW = "finn.custom_op.fpgadataflow"
RTL = HW + ".rtl"
HLS = HW + ".hls"
PREFIX = "Bv"


def op_type(layer: type[Layer] | Layer) -> str:
    """FINN op type of a layer."""
    return PREFIX + layer.op_type()


@cache
def _by_op() -> dict[str, type[Layer]]:
    return {op_type(c): c for c in layers().values()}


def _general(node: NodeProto) -> str:
    """Op type without the choice of an implementation."""
    return node.op_type.removesuffix("_rtl").removesuffix("_hls")


def is_layer(node: NodeProto) -> bool:
    """Whether the node is one of this project's hardware layers (specialized or not)."""
    return _general(node) in _by_op() and node.domain in (HW, RTL, HLS)


def layer_class(node: NodeProto) -> type[Layer]:
    """Declaration of a node's layer; KeyError for other nodes."""
    return _by_op()[_general(node)]


def implementation(node: NodeProto) -> str | None:
    """"rtl" or "hls", None before SpecializeLayers; of FINN's own layers too."""
    return {RTL: "rtl", HLS: "hls"}.get(node.domain)


def implement(node: NodeProto, style: str) -> None:
    """Make a layer's node its "rtl" or "hls" form, whatever it was."""
    node.op_type, node.domain = f"{_general(node)}_{style}", {"rtl": RTL, "hls": HLS}[style]


def _attributes(node: NodeProto) -> dict[str, Any]:
    """Fields of the declaration from the node's attributes."""
    fields = layer_class(node).model_fields
    out: dict[str, Any] = {}
    for a in node.attribute:
        if a.name in fields:
            v = helper.get_attribute_value(a)
            out[a.name] = v.decode() if isinstance(v, bytes) else list(v) if not isinstance(v, int) else v
    return out


def layer_from_node(node: NodeProto) -> Layer:
    """The declaration with the node's attributes."""
    return layer_class(node)(**_attributes(node))


def layer_of(node: NodeProto, model: ModelWrapper) -> tuple[Layer, Constants]:
    """The layer of a node and its constants as int64 arrays (sets, *shape)."""
    layer = layer_from_node(node)
    n = len(layer.inputs())
    constants: Constants = {}
    for name, tensor in zip(layer.constants(), node.input[n:], strict=True):
        v = model.get_initializer(tensor)
        if v is None:
            raise ValueError(f"{node.name}: constant `{name}` ({tensor}) is not an initializer")
        constants[name] = np.asarray(v).astype(np.int64)
    return layer, constants


def stream_inputs(node: NodeProto) -> list[str]:
    """Names of the input tensors that are streams (without the constants)."""
    return list(node.input[: len(layer_from_node(node).inputs())])


def _store(x: np.ndarray) -> np.ndarray:
    """The smallest integer container that holds all values."""
    for t in (np.int8, np.int16, np.int32):
        info = np.iinfo(t)
        if x.size == 0 or (x.min() >= info.min and x.max() <= info.max):
            return x.astype(t)
    return x


def _exps(exp: Sequence[int] | int | None, n: int, what: str) -> list[int]:
    e = [0] * n if exp is None else [int(exp)] * n if isinstance(exp, (int, np.integer)) else [int(v) for v in exp]
    if len(e) != n:
        raise ValueError(f"{what}: {len(e)} exponents for {n} streams")
    return e


def set_layer(node: NodeProto, layer: Layer) -> None:
    """Write the fields of ``layer`` into the node's attributes (same layer kind, same constants)."""
    fields = layer.model_dump()
    kept = [a for a in node.attribute if a.name not in fields]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(_field_attributes(layer))


def _field_attributes(layer: Layer) -> list:
    attrs = []
    for k, v in layer.model_dump().items():
        if isinstance(v, list) and not v:  # an empty list has no element type: leave it to the default
            continue
        attrs.append(helper.make_attribute(k, v))
    return attrs


def make_layer(cls: type[Layer], **fields: Any) -> Layer:
    """A declaration. Raises FoldingError when its foldings are not legal."""
    return cls(**fields)


def refold(layer: Layer, **foldings: int) -> Layer:
    """The layer with other foldings. Raises FoldingError when they are not legal."""
    return make_layer(type(layer), **{**layer.model_dump(), **foldings})


def make_node(layer: Layer, inputs: Sequence[str], outputs: Sequence[str], constants: Constants, model: ModelWrapper,
              name: str, in_exp: Sequence[int] | int | None = None, out_exp: Sequence[int] | int | None = None, *,
              rtl: bool = False) -> NodeProto:
    """A node of ``layer``. The caller inserts it into ``model.graph.node``.

    Args:
        inputs, outputs: tensor names of the streams. constants: integer arrays, shape (sets, *shape) or, with one set,
            (*shape). model: receives the constants as initializers ``<name>_<constant>`` and the shapes and types of
            the output tensors. in_exp, out_exp: exponents per stream (one int: for all; default 0).
        rtl: make the specialized op.
    Raises:
        ValueError: number of streams, or shape or range of a constant does not fit the declaration.
    """
    ins, outs = layer.inputs(), layer.outputs()
    if len(inputs) != len(ins) or len(outputs) != len(outs):
        raise ValueError(f"{name}: {layer.stem} has {len(ins)} inputs and {len(outs)} outputs, "
                         f"got {len(inputs)} and {len(outputs)}")
    declared = layer.constants()
    if set(constants) != set(declared):
        raise ValueError(f"{name}: {layer.stem} needs constants {sorted(declared)}, got {sorted(constants)}")
    tensors = []
    for k, c in declared.items():
        v = np.asarray(constants[k])
        if not np.array_equal(v, np.rint(v)):
            raise ValueError(f"{name}: constant `{k}` has values that are no integers")
        v = v.astype(np.int64)
        if v.shape == c.shape and layer.sets == 1:
            v = v[None]
        if v.shape != (layer.sets, *c.shape):
            raise ValueError(f"{name}: constant `{k}` has shape {v.shape}, expected {(layer.sets, *c.shape)}")
        if v.size and (v.min() < c.dtype.min or v.max() > c.dtype.max):
            raise ValueError(f"{name}: constant `{k}` has values in [{v.min()}, {v.max()}], which do not fit "
                             f"{c.dtype.name}")
        tensors.append(f"{name}_{k}")
        model.set_initializer(tensors[-1], _store(v))
        model.set_tensor_datatype(tensors[-1], DataType[c.dtype.name])
    shape = model.get_tensor_shape(inputs[0]) if inputs else None
    batch = int(shape[0]) if shape else 1
    e_in, e_out = _exps(in_exp, len(ins), name), _exps(out_exp, len(outs), name)
    for t, st, e in zip(outputs, outs, e_out):
        model.set_tensor_shape(t, [batch, *st.dims])
        model.set_tensor_datatype(t, DataType[st.dtype.name if e == 0 else "FLOAT32"])
    node = helper.make_node(op_type(layer) + ("_rtl" if rtl else ""), [*inputs, *tensors], list(outputs), name=name,
                            domain=RTL if rtl else HW, backend="fpgadataflow", in_exp=e_in, out_exp=e_out)
    node.attribute.extend(_field_attributes(layer))
    return node


def new_model(inputs: Iterable[tuple[str, Sequence[int], DType | None]], outputs: Iterable[str]) -> ModelWrapper:
    """An empty graph with the given inputs (name, shape with batch, integer type or None) and output names.

    Output shapes are filled in by :func:`make_node`.
    """
    ivi = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s, _ in inputs]
    ovi = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    model = ModelWrapper(qonnx_make_model(helper.make_graph([], "bhvit", ivi, ovi)))
    for n, _, d in inputs:
        if d is not None:
            model.set_tensor_datatype(n, DataType[d.name])
    return model


def load(path: Path) -> ModelWrapper:
    """Read a graph whose tensors all have shapes, as ours have: qonnx would look each one up in quadratic time."""
    return ModelWrapper(str(path), fix_missing_initializer_valueinfo=False)
