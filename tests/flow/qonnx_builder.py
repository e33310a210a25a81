"""Hand-made QONNX graphs in the form of docs/contract.md, section 1, for the tests of the lowering passes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper

QONNX = "qonnx.custom_op.general"


class Builder:
    """Adds nodes one by one; every method returns the name of the new tensor."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0):
        self.shape, self.rng = shape, np.random.default_rng(seed)
        self.nodes: list = []
        self.inits: list = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def init(self, value, dtype=np.float32) -> str:
        n = self.name()
        self.inits.append(numpy_helper.from_array(np.asarray(value, dtype), n))
        return n

    def op(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attrs):
        outs = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), outs, name=f"n{len(self.nodes)}", domain=domain, **attrs))
        return outs[0] if outputs == 1 else outs

    def quant(self, x: str, bits: int, exp: int, signed: int = 1, mode: str = "FLOOR", zero: float = 0.0,
              scale: float | None = None) -> str:
        args = [self.init(v) for v in (2.0**exp if scale is None else scale, zero, float(bits))]
        return self.op("Quant", x, *args, domain=QONNX, signed=signed, narrow=0, rounding_mode=mode)

    def sign(self, x: str) -> str:
        return self.op("BipolarQuant", x, self.init(1.0), domain=QONNX)

    def const(self, ints, exp: int, bits: int = 24) -> str:
        return self.quant(self.init(np.ldexp(np.asarray(ints, np.float64), exp)), bits, exp)

    def ints(self, bits: int, shape) -> np.ndarray:
        """Random signed integers with zeros and extremes among them."""
        x = self.rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
        return np.where(self.rng.random(shape) < 0.15, 0, x)

    def bipolar(self, shape) -> str:
        return self.op("BipolarQuant", self.init(self.rng.choice([-1.0, 1.0], shape)), self.init(1.0), domain=QONNX)

    def add(self, *xs: str) -> str:
        out = xs[0]
        for x in xs[1:]:
            out = self.op("Add", out, x)
        return out

    def mul(self, a: str, b: str) -> str:
        return self.op("Mul", a, b)

    def affine(self, x: str, c: int, e_x: int, e_m: int = -5, m=None, m_bits: int = 8, o_bits: int = 12) -> str:
        """x * m + o at exponent e_x + e_m."""
        m = self.ints(m_bits, c) if m is None else m
        return self.add(self.mul(x, self.const(m, e_m, m_bits)), self.const(self.ints(o_bits, c), e_x + e_m))

    def prelu(self, z: str, c: int, e_z: int, e_s: int = -6) -> str:
        """where(z >= 0, p, n) * z + o2."""
        cond = self.op("GreaterOrEqual", z, self.init(0.0))
        w = self.op("Where", cond, self.const(self.ints(8, c), e_s, 8), self.const(self.ints(8, c), e_s, 8))
        return self.add(self.mul(w, z), self.const(self.ints(12, c), e_z + e_s))

    def build(self, output: str) -> ModelWrapper:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(self.shape))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(QONNX, 1)])
        return ModelWrapper(model, fix_missing_initializer_valueinfo=False)
