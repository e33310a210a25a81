"""LayerNorm of window tokens, an integer computation that the export writes in float64: layer_norm."""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto

from .context import Lowering
from .epilogue import Epilogue, align, final_quants, parse
from .lower_attention import times_const
from .match import Graph, LoweringError, Quantizer, label, pairs


def lower_layer_norm(low: Lowering) -> int:
    """Quant(Quant(floor((C*x - S) * r / 2**s1)) * m + o)."""
    g, done = low.g, 0
    for node in final_quants(low):
        epi = parse(low, node)
        t = epi.first.terms[0] if len(epi.first.terms) == 1 else None
        n = g.producer.get(t.root) if t is not None else None
        if n is None or n.op_type != "Quant" or epi.act:
            continue
        f = low.form(n.input[0])
        floor = g.producer.get(f.terms[0].root) if len(f.terms) == 1 else None
        if floor is None or floor.op_type != "Floor":
            continue
        q = g.quantizer(n)
        if not f.const.zero or float(f.terms[0].coef.value.flat[0]) != 2.0**q.exp or not f.terms[0].coef.uniform:
            raise LoweringError(f"{label(n)}: the normalised token must be floor(...) times the quantizer's scale")
        emit_norm(low, epi, n, q, floor)
        done += 1
    return done


def need(ok: bool, where: str, what: str) -> None:
    if not ok:
        raise LoweringError(f"{where}: its input is no integer LayerNorm: {what}")


def op_const(g: Graph, tensor: str, op: str) -> tuple[str, float] | None:
    """(x, c) of ``x op c`` with one scalar constant (either order where the op commutes)."""
    node = g.producer.get(tensor)
    if node is None or node.op_type != op:
        return None
    for a, b in pairs(node):
        if (c := g.scalar(b)) is not None and g.const(a) is None:
            return a, c
    return None


def emit_norm(low: Lowering, epi: Epilogue, n: NodeProto, q: Quantizer, floor: NodeProto) -> None:
    """Walks from the floor back to the tokens and collects C, E, k and s1."""
    g, where = low.g, epi.where
    prod, c1 = times_const(g, floor.input[0])
    s1 = -int(math.log2(float(c1.value.flat[0])))
    need(c1.uniform and 2.0**-s1 == float(c1.value.flat[0]) and s1 >= 0, where, "the product is not shifted right")
    p = g.producer.get(prod)
    need(p is not None and p.op_type == "Mul", where, "no product (C*x - S) * r")
    found = [(a, r) for a, b in pairs(p) if (r := reciprocal(g, b)) is not None]
    need(len(found) == 1, where, "no r = floor(2^k / sqrt(V) + 1/2)")
    centred, (k, variance) = found[0]
    eps = op_const(g, variance, "Add")
    need(eps is not None, where, "V has no epsilon")
    diff = g.producer.get(eps[0])
    need(diff is not None and diff.op_type == "Sub", where, "V is not C*Q - S^2 + E")
    cq, ss = op_const(g, diff.input[0], "Mul"), g.producer.get(diff.input[1])
    need(cq is not None and ss is not None, where, "V is not C*Q - S^2 + E")
    if ss.op_type == "Pow":
        need(g.scalar(ss.input[1]) == 2.0, where, "V is not C*Q - S^2 + E")
    else:
        need(ss.op_type == "Mul" and ss.input[0] == ss.input[1], where, "V is not C*Q - S^2 + E")
    total, square = ss.input[0], g.producer.get(cq[0])
    sn, cn = g.producer.get(total), g.producer.get(centred)
    need(sn is not None and square is not None and sn.op_type == square.op_type == "ReduceSum", where, "no sums S, Q")
    ints, sq = sn.input[0], g.producer.get(square.input[0])
    need(sq is not None and ((sq.op_type == "Mul" and list(sq.input) == [ints, ints])
                             or (sq.op_type == "Pow" and sq.input[0] == ints and g.scalar(sq.input[1]) == 2.0)),
         where, "Q is not the sum of squares of the same integers")
    cx = op_const(g, cn.input[0], "Mul") if cn is not None and cn.op_type == "Sub" else None
    need(cx is not None and cx[0] == ints and cn.input[1] == total, where, "the centred token is not C*x - S")
    f = low.form(ints)
    need(len(f.terms) == 1 and f.terms[0].index is None and f.const.zero, where, "the integers are no quantized tensor")
    x = f.terms[0].root
    dtype, e = low.int_type(x, where)
    channels = f.shape[-1]
    scale = f.terms[0].coef
    need(scale.uniform and float(scale.value.flat[0]) == 2.0**-e, where, "x is not divided by its scale")
    need(cq[1] == cx[1] == channels, where, "C is not the number of channels")
    need(eps[1] == int(eps[1]) >= 1, where, "E is no positive integer")
    attrs, consts, _ = align(low, epi, epi.first.terms[0], q.exp, [], channels)
    layer = low.layer("layer_norm", where, token_dims=list(f.shape[1:-1]), channels=channels, in_bits=dtype.bits, k=k,
                      s1=s1, n_bits=q.bits, eps_int=int(eps[1]), m_bits=attrs["m_bits"], o_bits=attrs["o_bits"],
                      sh=attrs["sh1"], out_bits=epi.y.bits)
    low.emit(layer, [x], [epi.node.output[0]], consts, where)


def reciprocal(g: Graph, tensor: str) -> tuple[int, str] | None:
    """(k, V) of floor(2**k / sqrt(V) + 1/2)."""
    fl = g.producer.get(tensor)
    if fl is None or fl.op_type != "Floor":
        return None
    half = op_const(g, fl.input[0], "Add")
    if half is None or half[1] != 0.5:
        return None
    node = g.producer.get(half[0])
    scale = 1.0
    if node is not None and node.op_type == "Mul" and (m := op_const(g, half[0], "Mul")) is not None:
        node, scale = g.producer.get(m[0]), m[1]
    if node is None or node.op_type not in ("Div", "Reciprocal"):
        return None
    if node.op_type == "Div":
        top = g.scalar(node.input[0])
        if top is None:
            return None
        scale *= top
    root = g.producer.get(node.input[-1])
    if root is None or root.op_type != "Sqrt" or not np.log2(scale).is_integer():
        return None
    return int(np.log2(scale)), root.input[0]


