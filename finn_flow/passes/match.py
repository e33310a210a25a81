"""Structural matching on ONNX/QONNX graphs.

Nothing here looks at node names, except in messages: patterns are recognised by operations, constants and shapes.
:class:`Graph` answers who produces and consumes a tensor, evaluates constant sub-graphs (a Quant on an initializer
included) and describes quantizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from ..streams import DType
from .edit import Edits
from .fixed import Fixed, NotFixedPoint

RAW_BITS = 16
"""Widest mantissa of a constant that no Quant declares: scales and shifts, not learned values."""


class LoweringError(UserError, ValueError):
    """The graph holds something that has no hardware form; the message names the node and says why."""


@dataclass(frozen=True)
class Quantizer:
    """A quantizer: ``clip(floor(x / 2**exp), min, max) * 2**exp``."""

    bits: int
    signed: bool
    exp: int
    narrow: bool = False

    @property
    def dtype(self) -> DType:
        return DType(self.bits, self.signed)


def attr(node: NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute (bytes decoded)."""
    for a in node.attribute:
        if a.name == name:
            v = helper.get_attribute_value(a)
            return v.decode() if isinstance(v, bytes) else v
    return default


def label(node: NodeProto | None) -> str:
    """How messages call a node."""
    return "graph input" if node is None else f"{node.name or '?'} ({node.op_type} -> {', '.join(node.output)})"


class Graph(Edits):
    """A ModelWrapper with indices. After changing nodes call :meth:`refresh`."""

    def __init__(self, model: ModelWrapper):
        self.model = model
        self._const: dict[str, np.ndarray | None] = {}
        self.refresh()

    def refresh(self) -> None:
        g = self.model.graph
        self.producer: dict[str, NodeProto] = {t: n for n in g.node for t in n.output if t}
        self.consumer: dict[str, list[NodeProto]] = {}
        for n in g.node:
            for t in dict.fromkeys(n.input):
                self.consumer.setdefault(t, []).append(n)
        self.init_names = {i.name: i for i in g.initializer}
        self.inputs = [i.name for i in g.input if i.name not in self.init_names]
        self.outputs = [o.name for o in g.output]
        self._shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
                        for v in [*g.value_info, *g.input, *g.output]}
        self._const = {k: v for k, v in self._const.items() if k in self.producer or k in self.init_names}

    # ---- topology
    def nodes(self, *op_types: str) -> list[NodeProto]:
        return [n for n in self.model.graph.node if not op_types or n.op_type in op_types]

    def producers(self, node: NodeProto) -> list[NodeProto | None]:
        return [self.producer.get(t) for t in node.input]

    def consumers(self, tensor: str) -> list[NodeProto]:
        return self.consumer.get(tensor, [])

    def op(self, tensor: str) -> str:
        """Op type of the producer ('' for inputs and constants)."""
        n = self.producer.get(tensor)
        return n.op_type if n is not None else ""

    def only_consumer(self, tensor: str) -> NodeProto | None:
        c = self.consumers(tensor)
        return c[0] if len(c) == 1 and tensor not in self.outputs else None

    def shape(self, tensor: str) -> tuple[int, ...]:
        if tensor in self._shapes:
            return tuple(self._shapes[tensor])
        v = self.const(tensor)
        if v is None:
            raise LoweringError(f"tensor {tensor} has no shape: run InferShapes on the exported graph")
        return v.shape

    def has_shape(self, tensor: str) -> bool:
        """Whether a complete static shape is recorded."""
        return tensor in self._shapes and all(self._shapes[tensor])

    def back(self, tensor: str, *op_types: str) -> str:
        """Walk back through single-data-input ops of the given kinds (constants do not count)."""
        while (n := self.producer.get(tensor)) is not None and n.op_type in op_types:
            data = [t for t in n.input if t and self.const(t) is None]
            if len(data) != 1:
                break
            tensor = data[0]
        return tensor

    # ---- constants
    def const(self, tensor: str) -> np.ndarray | None:
        """Value of a tensor that depends on initializers only, else None. Quant is evaluated in float64."""
        if tensor not in self._const:
            self._const[tensor] = self._evaluate(tensor)
        return self._const[tensor]

    def _evaluate(self, tensor: str) -> np.ndarray | None:
        if tensor in self.init_names:
            return numpy_helper.to_array(self.init_names[tensor])
        node = self.producer.get(tensor)
        if node is None or node.domain not in ("", "ai.onnx", "onnx.brevitas", "qonnx.custom_op.general"):
            return None
        if node.op_type == "Shape":
            shape = self._shapes.get(node.input[0])
            return np.asarray(shape, np.int64) if shape and all(shape) else None
        args = {t: self.const(t) for t in node.input if t}
        if any(v is None for v in args.values()):
            return None
        if node.op_type == "Quant":
            q = self.quantizer(node)
            lo, hi = q.dtype.min + int(q.narrow and q.signed), q.dtype.max
            return np.ldexp(np.clip(np.floor(np.ldexp(np.float64(args[node.input[0]]), -q.exp)), lo, hi), q.exp)
        if node.op_type == "BipolarQuant":
            x = args[node.input[0]]
            return np.where(x >= 0, 1.0, -1.0) * args[node.input[1]]
        return run_node(node, args)[list(node.output).index(tensor)]

    def scalar(self, tensor: str) -> float | None:
        """Value of a constant whose elements are all equal."""
        v = self.const(tensor)
        return float(v.flat[0]) if v is not None and v.size and (v == v.flat[0]).all() else None

    def fixed(self, tensor: str) -> Fixed | None:
        """Constant as integers with an exponent: the declared one for a Quant on a constant, else the largest."""
        v = self.const(tensor)
        if v is None:
            return None
        node = self.producer.get(tensor)
        try:
            if node is not None and node.op_type == "Quant":
                return Fixed.of(v, self.quantizer(node).exp)
            return Fixed.of(v, max_bits=RAW_BITS)
        except NotFixedPoint as e:
            what = label(node) if node else "initializer"
            raise LoweringError(f"constant {tensor} ({what}) is not fixed point: {e}; quantize it in the "
                                "model") from None

    # ---- quantizers
    def is_activation_quant(self, node: NodeProto) -> bool:
        return node.op_type == "Quant" and self.const(node.output[0]) is None

    def quantizer(self, node: NodeProto) -> Quantizer:
        """Descriptor of a Quant node; raises LoweringError unless FLOOR, zero point 0, one power-of-two scale."""
        s, z, b = (self.const(t) for t in node.input[1:4])
        if s is None or z is None or b is None:
            raise LoweringError(f"{label(node)}: scale, zero point and bit width must be constants")
        mode = str(attr(node, "rounding_mode", "ROUND")).upper()
        if mode != "FLOOR":
            raise LoweringError(f"{label(node)}: rounding_mode {mode}, only FLOOR maps to hardware")
        if np.any(z != 0):
            raise LoweringError(f"{label(node)}: zero point {z.flat[0]}, only 0 maps to hardware")
        scale = np.unique(np.float64(s))
        m, e = np.frexp(scale[0])
        if scale.size != 1 or m != 0.5:
            raise LoweringError(f"{label(node)}: scale {scale[:3]} is not one power of two")
        signed, narrow = bool(attr(node, "signed", 1)), bool(attr(node, "narrow", 0))
        return Quantizer(int(np.float64(b).flat[0]), signed, int(e) - 1, narrow)

    def sign_input(self, tensor: str) -> str | None:
        """x when the tensor is sign(x): BipolarQuant of scale 1, Where(x >= 0, 1, -1) or 2 * (x >= 0) - 1."""
        n = self.producer.get(tensor)
        if n is None:
            return None
        if n.op_type == "BipolarQuant":
            if self.scalar(n.input[1]) != 1.0:
                raise LoweringError(f"{label(n)}: scale must be 1")
            return n.input[0]
        if n.op_type == "Where" and self.const(n.input[1]) is not None and self.const(n.input[2]) is not None:
            pair = self.scalar(n.input[1]), self.scalar(n.input[2])
            cond = self.nonneg(n.input[0])
            if cond and pair in ((1.0, -1.0), (-1.0, 1.0)) and cond[1] == (pair[0] > 0):
                return cond[0]
        if n.op_type in ("Add", "Sub"):  # 2 * (x >= 0) - 1
            for a, b in pairs(n):
                if self.scalar(b) in (-1.0, 1.0) and (n.op_type == "Add") == (self.scalar(b) < 0):
                    m = self.producer.get(a)
                    if m is not None and m.op_type == "Mul":
                        for c, d in pairs(m):
                            cond = self.nonneg(self.back(c, "Cast")) if self.scalar(d) == 2.0 else None
                            if cond and cond[1]:
                                return cond[0]
        return None

    def nonneg(self, tensor: str) -> tuple[str, bool] | None:
        """(x, True) when the tensor is [x >= 0], (x, False) when it is [x < 0]."""
        n = self.producer.get(tensor)
        if n is None:
            return None
        if n.op_type == "Not":
            inner = self.nonneg(n.input[0])
            return (inner[0], not inner[1]) if inner else None
        if n.op_type in ("GreaterOrEqual", "Less") and self.scalar(n.input[1]) == 0.0:
            return n.input[0], n.op_type == "GreaterOrEqual"
        if n.op_type in ("LessOrEqual", "Greater") and self.scalar(n.input[0]) == 0.0:
            return n.input[1], n.op_type == "LessOrEqual"
        return None


def pairs(node: NodeProto) -> Iterator[tuple[str, str]]:
    """Both orders of the inputs of a commutative op (one order for Sub, Div)."""
    yield node.input[0], node.input[1]
    if node.op_type in ("Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal"):
        yield node.input[1], node.input[0]


def run_node(node: NodeProto, args: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Evaluate one standard ONNX node."""
    return ReferenceEvaluator(node).run(None, args)

