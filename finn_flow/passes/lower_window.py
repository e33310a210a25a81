"""Window tokens with merge tokens, and the way back to a map: window_concat, window_merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from .context import Lowering
from .epilogue import Epilogue, final_quants, parse
from .fixed import Fixed, bits_for
from .forms import ONE, Term, channelwise
from .lower_conv import nhwc_source, to_nhwc
from .lower_shape import reduction
from .match import LoweringError, attr, label


def windows_index(h: int, w: int, c: int, win: int) -> np.ndarray:
    """Flat positions in (H, W, C) of the elements of (nW, win*win, C)."""
    x = np.arange(h * w * c).reshape(h // win, win, w // win, win, c)
    return x.transpose(0, 2, 1, 3, 4).reshape(-1, win * win, c)


@dataclass
class Pool:
    """A pooled NHWC map: max or exact sum over cells of ``window``."""

    kind: str
    source: str
    window: int
    padding: int


def pool_of(low: Lowering, term: Term) -> Pool | None:
    """MaxPool or an all-ones depthwise Conv, transposed back to NHWC."""
    g, n = low.g, low.g.producer.get(term.root)
    if n is None or n.op_type not in ("MaxPool", "Conv") or term.coef.i.ndim > 1:
        return None
    shape = g.shape(term.root)
    at = np.arange(int(np.prod(shape))) if term.index is None else term.index.reshape(-1)
    source = nhwc_source(low, n.input[0])
    if source is None or not np.array_equal(at, to_nhwc(shape)):
        return None
    strides, pads = attr(n, "strides", [1, 1]), attr(n, "pads", [0] * 4)
    if n.op_type == "Conv":
        w = g.const(n.input[1])
        if w is None or (w != 1).any() or attr(n, "group", 1) != w.shape[0] or w.shape[1] != 1 or len(n.input) > 2:
            return None
        kernel = list(w.shape[2:])
    else:
        kernel = attr(n, "kernel_shape")
        if attr(n, "ceil_mode", 0) or list(attr(n, "dilations", [1, 1])) != [1, 1]:
            return None
    if not kernel[0] == kernel[1] == strides[0] == strides[1] or len(set(pads)) != 1:
        return None
    return Pool("max" if n.op_type == "MaxPool" else "sum", source, int(kernel[0]), int(pads[0]))


def blend(low: Lowering, epi: Epilogue, a: Term, b: Term, e: int) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray]:
    """Integer form of (ca*a << ka) + cb*b + o >> sh for two inputs of exponent e: (attributes, ca, cb, o)."""
    c, o = epi.first.shape[-1], epi.first.const
    first, both = a.coef.e + e, b.coef.e + e
    if not o.zero:
        both = min(both, o.reduced().e)
    both = min(both, epi.y.exp, first)
    ca = channelwise(Fixed(a.coef.i, 0), c, "a blend", epi.node)
    cb = channelwise(Fixed(b.coef.scaled(e).at(both), 0), c, "a blend", epi.node)
    oi = channelwise(Fixed(o.at(both), 0) if not o.zero else o, c, "the offset", epi.node)
    return dict(ka=first - both, sh=epi.y.exp - both, coef_bits=bits_for(ca, cb)), ca, cb, oi


def lower_window_concat(low: Lowering) -> int:
    """Concat of the windows of a map and, for every window, the merge tokens of the same map."""
    g, done = low.g, 0
    for node in g.nodes("Concat"):
        if node.output[0] not in g.producer or len(node.input) != 2:
            continue
        forms = [low.form(t) for t in node.input]
        if any(len(f.terms) != 1 or not f.const.zero or f.terms[0].coef != ONE for f in forms):
            continue
        u, m = forms[0].terms[0], forms[1].terms[0]
        mq = g.producer.get(m.root)
        if mq is None or not g.is_activation_quant(mq) or u.root == m.root:
            continue
        epi = parse(low, mq)
        pools = {p.kind: (p, t) for t in epi.first.terms if (p := pool_of(low, t)) is not None}
        if set(pools) != {"max", "sum"} or len(epi.first.terms) != 2:
            continue
        emit_concat(low, node, u, m, epi, pools)
        done += 1
    return done


def emit_concat(low: Lowering, node: NodeProto, u: Term, m: Term, epi: Epilogue, pools: dict) -> None:
    g, where = low.g, label(node)
    (pool, a), (other, b) = pools["max"], pools["sum"]
    _, h, w, c = g.shape(u.root)
    win, nw = pool.window, (h // pool.window) * (w // pool.window)
    dtype, e = low.int_type(u.root, where)
    if pool.source != u.root or (other.source, other.window, other.padding) != (u.root, win, pool.padding):
        raise LoweringError(f"{where}: the merge tokens must pool the map that is cut into windows, maximum and sum "
                            "over the same cells")
    merge = np.tile(np.arange(nw * c), nw)
    flat = np.arange(h * w * c) if u.index is None else u.index.reshape(-1)
    tokens = np.arange(nw * c) if m.index is None else m.index.reshape(-1)
    if not np.array_equal(flat, windows_index(h, w, c, win).reshape(-1)) or not np.array_equal(tokens, merge):
        raise LoweringError(f"{where}: not the row-major windows of the map followed by all merge tokens")
    if epi.act or (epi.y.bits, epi.y.exp) != (dtype.bits, e):
        raise LoweringError(f"{where}: merge tokens must be quantized like the map ({dtype.name}, exponent {e}), they "
                            f"have {epi.y.bits} bits and exponent {epi.y.exp}")
    attrs, ca, cb, o = blend(low, epi, a, b, e)
    attrs |= dict(height=h, width=w, channels=c, window=win, padding=pool.padding, row0=0, bits=dtype.bits)
    layer = with_o_bits(low, "window_concat", where, attrs, o)
    low.emit_at(layer, [u.root], [node.output[0]], {"ca": ca, "cb": cb, "o": o}, where, [e], [e])


def with_o_bits(low: Lowering, stem: str, where: str, attrs: dict, o: np.ndarray):
    """The layer, with its offset width when it declares one."""
    layer = low.layer(stem, where, **attrs)
    if "o_bits" in type(layer).model_fields:
        layer = low.layer(stem, where, **attrs, o_bits=bits_for(o))
    return layer


def merge_terms(low: Lowering, epi: Epilogue) -> tuple[Term, Term, np.ndarray] | None:
    """(L term, sum term, positions (nW, cells*C) that the sum adds) when the form has that shape."""
    g = low.g
    sums = [t for t in epi.first.terms if g.op(t.root) == "ReduceSum"]
    if epi.act or len(epi.first.terms) != 2 or len(sums) != 1:
        return None
    part = next(t for t in epi.first.terms if t is not sums[0])
    red = reduction(low, g.producer[sums[0].root])
    if red is None or red[0] != part.root or red[1] != ONE or part.index is None or len(epi.first.shape) != 4:
        return None
    return part, sums[0], red[2]


def lower_window_merge(low: Lowering) -> int:
    """Quant(pa * (window tokens as a map) + pb * (merge tokens, summed over windows, upsampled) + o)."""
    done = 0
    for node in final_quants(low):
        epi = parse(low, node)
        found = merge_terms(low, epi)
        if found is None:
            continue
        part, total, added = found
        emit_merge(low, epi, part, total, added)
        done += 1
    return done


def emit_merge(low: Lowering, epi: Epilogue, part: Term, total: Term, added: np.ndarray) -> None:
    where = epi.where
    _, h, w, c = epi.first.shape
    dtype, e = low.int_type(part.root, where)
    size, nw = int(np.prod(low.g.shape(part.root))), added.shape[1]
    t = size // c // nw
    win = round((t - nw) ** 0.5)
    tokens = np.arange(size).reshape(nw, t, c)
    if win * win + nw != t or (h // win) * (w // win) != nw:
        raise LoweringError(f"{where}: {nw} windows of {t} tokens do not tile a {h} x {w} map")
    back = np.empty(h * w * c, np.int64)
    back[windows_index(h, w, c, win).reshape(-1)] = tokens[:, : win * win].reshape(-1)
    cells = np.arange(nw * c).reshape(h // win, w // win, c)
    up = cells.repeat(win, 0).repeat(win, 1).reshape(-1)
    at = np.arange(nw * c) if total.index is None else total.index.reshape(-1)
    if (not np.array_equal(part.index.reshape(-1), back) or not np.array_equal(at, up)
            or not np.array_equal(added, tokens[:, win * win:].reshape(nw, -1).T)):
        raise LoweringError(f"{where}: not the inverse of the window partition with summed merge tokens upsampled")
    attrs, pa, pb, o = blend(low, epi, part, total, e)
    if epi.y.bits != dtype.bits:
        raise LoweringError(f"{where}: window_merge keeps the width of its input, {dtype.bits} bits, the quantizer has "
                            f"{epi.y.bits}")
    attrs |= dict(height=h, width=w, channels=c, window=win, row0=0, bits=dtype.bits)
    layer = with_o_bits(low, "window_merge", where, attrs, o)
    low.emit(layer, [part.root], [epi.node.output[0]], {"pa": pa, "pb": pb, "o": o}, where)
