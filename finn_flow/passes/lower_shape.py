"""Data movement and exact sums, recognised by where elements go: patchify, tile and the pools."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from .context import Lowering
from .fixed import Fixed
from .forms import ONE
from .match import attr, label


def patchify_index(h: int, w: int, c: int, p: int) -> np.ndarray:
    """Flat input position of every element of the patchified map (H/p, W/p, p*p*C)."""
    x = np.arange(h * w * c).reshape(h // p, p, w // p, p, c)
    return x.transpose(0, 2, 1, 3, 4).reshape(-1)


def lower_patchify(low: Lowering) -> int:
    """Reshape-Transpose-Reshape that gathers p x p patches."""
    g, done = low.g, 0
    for node in g.nodes("Reshape"):
        out = node.output[0]
        if out not in g.producer or len(g.shape(out)) != 4 or g.op(node.input[0]) != "Transpose":
            continue
        f = low.form(out)
        if len(f.terms) != 1 or not f.const.zero or f.terms[0].coef != ONE or low.type_of(f.terms[0].root) is None:
            continue
        root, index = f.terms[0].root, f.terms[0].index
        src, (_, h2, w2, c2) = g.shape(root), f.shape
        if len(src) != 4 or src[1] % h2 or (p := src[1] // h2) < 2 or src[2] != w2 * p:
            continue
        h, w, c = src[1:]
        index = np.arange(h * w * c) if index is None else index  # one patch: the identity, but of another shape
        if c2 != p * p * c or not np.array_equal(index.reshape(-1), patchify_index(h, w, c, p)):
            continue
        dtype, e = low.type_of(root)
        layer = low.layer("patchify", label(node), height=h, width=w, channels=c, patch=p, dtype=dtype.name)
        low.emit_at(layer, [root], [out], {}, label(node), [e], [e])
        done += 1
    return done


def lower_tile(low: Lowering) -> int:
    """Concatenation of a tensor with itself along the channels, the last copy possibly cut by a Slice."""
    g, done = low.g, 0
    for op in ("Slice", "Concat", "Tile", "Expand"):  # the cut ones first: they contain a whole one
        for node in g.nodes(op):
            if node.output[0] in g.producer:
                done += tile_at(low, node)
        g.sweep()
    return done


def tile_at(low: Lowering, node: NodeProto) -> bool:
    """Replaces ``node`` by a tile if its elements are the channels of one tensor, over and over."""
    g, out = low.g, node.output[0]
    f = low.form(out)
    if len(f.terms) != 1 or not f.const.zero or f.terms[0].coef != ONE or low.type_of(f.terms[0].root) is None:
        return False
    root, index = f.terms[0].root, f.terms[0].index
    c, n = g.shape(root)[-1], f.shape[-1]
    rows = np.arange(int(np.prod(g.shape(root)))).reshape(-1, c)
    if index is None or index.size != len(rows) * n:
        return False
    if not np.array_equal(index.reshape(-1, n), rows[:, np.arange(n) % c]):
        return False
    dtype, e = low.type_of(root)
    ratio = -(-n // c)
    layer = low.layer("tile", label(node), token_dims=list(f.shape[1:-1]), channels=c, ratio=ratio, cut=ratio * c - n,
                      dtype=dtype.name)
    low.emit_at(layer, [root], [out], {}, label(node), [e], [e])
    return True


def reduction(low: Lowering, node) -> tuple[str, Fixed, np.ndarray] | None:
    """(root, factor, positions (outputs, terms)) of a ReduceSum or ReduceMean of one moved tensor."""
    g = low.g
    axes = g.const(node.input[1]) if len(node.input) > 1 and node.input[1] else attr(node, "axes")
    f = low.form(node.input[0])
    if axes is None or len(f.terms) != 1 or not f.const.zero or f.terms[0].coef.i.size != 1:
        return None
    axes = [int(a) % len(f.shape) for a in np.asarray(axes).reshape(-1)]
    t = f.terms[0]
    index = np.arange(int(np.prod(f.shape))) if t.index is None else t.index
    index = np.moveaxis(index.reshape(f.shape), axes, range(-len(axes), 0))
    count = int(np.prod([f.shape[a] for a in axes]))
    return t.root, t.coef, index.reshape(-1, count)


def lower_sums(low: Lowering) -> int:
    """ReduceSum over adjacent channels, over patch positions, or over all tokens."""
    g, done = low.g, 0
    for node in g.nodes("ReduceSum"):
        out = node.output[0]
        if out not in g.producer or (r := reduction(low, node)) is None or (typed := low.type_of(r[0])) is None:
            continue
        (dtype, e), (root, coef, index), where = typed, r, label(node)
        if dtype.bipolar or coef != ONE:
            continue
        outs, terms = index.shape
        src = g.shape(root)
        size, c = int(np.prod(src)), src[-1]
        flat, dims = np.arange(size), list(src[1:-1])
        if size != outs * terms:
            continue
        if c % terms == 0 and np.array_equal(index, flat.reshape(-1, terms)):
            layer = low.layer("channel_pool", where, token_dims=dims, channels=c, ratio=terms, bits=dtype.bits)
        elif c % terms == 0 and np.array_equal(
                index, flat.reshape(-1, terms, c // terms).swapaxes(1, 2).reshape(-1, terms)):
            layer = low.layer("map_pool", where, token_dims=dims, channels=c // terms, taps=terms, bits=dtype.bits)
        elif outs == c and np.array_equal(index, flat.reshape(terms, c).T):
            layer = low.layer("global_pool", where, tokens=terms, channels=c, bits=dtype.bits)
        else:
            continue
        low.emit_at(layer, [root], [out], {}, where, [e], [e])
        done += 1
    return done
