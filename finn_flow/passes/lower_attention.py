"""Attention with quantized probabilities: qd_attention."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from .context import Lowering
from .fixed import Fixed, bits_for, unsigned_bits
from .forms import ONE
from .lower_lookup import gather
from .match import Graph, LoweringError, attr, label, pairs


def comparisons(g: Graph, tensor: str) -> list[NodeProto] | None:
    """The >= nodes whose results are added up to the levels."""
    t = g.back(tensor, "Cast")
    node = g.producer.get(t)
    if node is None:
        return None
    if node.op_type == "GreaterOrEqual":
        return [node]
    if node.op_type not in ("Add", "Sum"):
        return None
    parts = [comparisons(g, i) for i in node.input]
    return None if any(p is None for p in parts) else [n for p in parts for n in p]


def times_const(g: Graph, tensor: str) -> tuple[str, Fixed]:
    """(x, c) of x * c; c = 1 when there is no constant factor."""
    node = g.producer.get(tensor)
    if node is not None and node.op_type == "Mul":
        for a, b in pairs(node):
            if g.const(b) is not None:
                return a, g.fixed(b)
    return tensor, ONE


def heads_index(windows: int, tokens: int, heads: int, dim: int) -> np.ndarray:
    """Flat positions in (nW*T, heads*dim) of the elements of (nW, heads, T, dim)."""
    x = np.arange(windows * tokens * heads * dim).reshape(windows, tokens, heads, dim)
    return x.transpose(0, 2, 1, 3)


def lower_attention(low: Lowering) -> int:
    """MatMul of thermometer levels of softmax(q k^T) and v."""
    g, done = low.g, 0
    for node in g.nodes("MatMul"):
        if node.output[0] not in g.producer or g.const(node.input[1]) is not None:
            continue
        tests = comparisons(g, node.input[0])
        if tests:
            emit_attention(low, node, tests)
            done += 1
    return done


def bipolar_root(low: Lowering, tensor: str, index: np.ndarray, where: str, what: str) -> str:
    f = low.form(tensor)
    root = f.terms[0].root if len(f.terms) == 1 else None
    if (root is None or f.terms[0].coef != ONE or not f.const.zero or not low.int_type(root, where)[0].bipolar
            or (f.terms[0].index is None and index.shape[1] != 1)
            or not np.array_equal(np.arange(index.size) if f.terms[0].index is None else f.terms[0].index.reshape(-1),
                                  index.reshape(-1))):
        raise LoweringError(f"{where}: {what} is not a +-1 tensor (nW*T, heads*d) split into windows and heads")
    return root


def emit_attention(low: Lowering, node: NodeProto, tests: list[NodeProto]) -> None:
    """Checks every step of the pattern down to q, k, v, then emits the layer."""
    g, where = low.g, label(node)
    scaled, total = ({n.input[i] for n in tests} for i in (0, 1))
    exps = {times_const(g, t)[0] for t in scaled}
    sums = {times_const(g, t)[0] for t in total}
    cs = [times_const(g, t)[1] for t in scaled]
    if len(tests) != 3 or len(exps) != 1 or len(sums) != 1 or any(c != cs[0] for c in cs):
        raise LoweringError(f"{where}: expected three comparisons c * e >= t * sum(e) of one exponential")
    e, s = exps.pop(), sums.pop()
    sn, tab = g.producer.get(s), gather(g, e)
    if sn is None or sn.op_type != "ReduceSum" or sn.input[0] != e or tab is None:
        raise LoweringError(f"{where}: expected e = table[index] and its sum over the keys")
    table, (logits, top) = tab[1], difference(low, tab[2], where)
    tn, ln = g.producer[top], g.producer.get(logits)
    if tn.op_type != "ReduceMax" or tn.input[0] != logits or ln is None or ln.op_type != "MatMul":
        raise LoweringError(f"{where}: the index of the exponential table must be (max - logit) / 2 of logits = q k^T")
    _, windows, heads, tokens, dim = five(g.shape(ln.input[0]), where)
    for n in (sn, tn):
        axes = g.const(n.input[1]) if len(n.input) > 1 else attr(n, "axes")
        if np.asarray(axes).reshape(-1).tolist() not in ([-1], [len(g.shape(logits)) - 1]):
            raise LoweringError(f"{label(n)}: must reduce over the keys")
    index = heads_index(windows, tokens, heads, dim)
    q = bipolar_root(low, ln.input[0], index, where, "q")
    k = bipolar_root(low, ln.input[1], index.swapaxes(-1, -2), where, "k")
    v = bipolar_root(low, node.input[1], index, where, "v")
    consts, attrs = thresholds(cs[0], [times_const(g, n.input[1])[1] for n in tests], table, heads, dim, where)
    layer = low.layer("qd_attention", where, windows=windows, tokens=tokens, heads=heads, head_dim=dim, **attrs)
    low.emit_at(layer, [q, k, v], [merged_output(low, node, index, where)], consts, where, [0, 0, 0], [0])


def five(shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    if len(shape) == 5 and shape[0] == 1:
        return shape
    if len(shape) == 4:  # batch and windows merged
        return (1, *shape)
    raise LoweringError(f"{where}: q must have shape (B, windows, heads, tokens, d), it has {shape}")


def difference(low: Lowering, index: str, where: str) -> tuple[str, str]:
    """(logits, max) of an index (max - logits) / 2; Casts in between do not count."""
    g = low.g
    t = g.back(index, "Cast", "Unsqueeze")
    x, half = times_const(g, t)
    node = g.producer.get(t)
    if node is not None and node.op_type == "Div" and g.scalar(node.input[1]) == 2.0:
        x, half = node.input[0], Fixed(np.asarray(1), -1)
    sub = g.producer.get(g.back(x, "Cast"))
    if sub is None or sub.op_type != "Sub" or not half.uniform or float(half.value.flat[0]) != 0.5:
        raise LoweringError(f"{where}: the index of the exponential table must be (max - logit) / 2")
    return sub.input[1], sub.input[0]


def thresholds(c: Fixed, ts: list[Fixed], table: Fixed, heads: int, dim: int, where: str) -> tuple[dict, dict]:
    """Constants and attributes; c = +-2**es per head, t scaled alike; a negative c turns >= into <= with -t."""
    c = Fixed(np.broadcast_to(c.i.reshape(-1), (heads,)), c.e)
    neg = (c.i < 0).astype(np.int64)
    t = np.stack([np.broadcast_to(x.value.reshape(-1), (heads,)) for x in ts], 1)
    size = np.abs(c.value)
    if not (size == size[0]).all() or np.frexp(size[0])[0] != 0.5:
        raise LoweringError(f"{where}: the factor of the exponentials must be one power of two, up to its sign")
    es = int(np.frexp(size[0])[1]) - 1
    ti = Fixed.of(np.where(neg[:, None] == 1, -t, t))
    if ti.e > 0 and es > 0:
        ti = Fixed(ti.i << min(ti.e, es), ti.e - min(ti.e, es)) if es < ti.e else ti
    shift = min(ti.e, es) if ti.e > 0 else ti.e  # halve both sides as long as they stay integers
    ti, es = ti.at(shift) if ti.e >= shift else ti.i, es - shift
    if es < 0 or table.e or table.i.shape != (dim + 1,) or table.i.min() < 0:
        raise LoweringError(f"{where}: the exponential table must hold {dim + 1} unsigned integers, es must be >= 0")
    return ({"table": table.i, "t": ti, "neg": neg},
            {"es": es, "e_bits": unsigned_bits(table.i), "t_bits": bits_for(ti)})


def merged_output(low: Lowering, node: NodeProto, index: np.ndarray, where: str) -> str:
    """The tensor (nW*T, heads*d) into which the MatMul's result is rearranged."""
    g, t = low.g, node.output[0]
    inverse = np.argsort(index.reshape(-1))
    while True:
        f = low.form(t, node.output[0])
        at = f.terms[0].index
        if np.array_equal(np.arange(index.size) if at is None else at.reshape(-1), inverse) and \
                f.shape[-1] == index.shape[1] * index.shape[3]:
            return t
        n = g.only_consumer(t)
        if n is None or n.op_type not in ("Transpose", "Reshape"):
            raise LoweringError(f"{where}: its result is not rearranged to (nW*T, heads*d)")
        t = n.output[0]


