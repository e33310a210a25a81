"""Linear forms: what a tensor is between two quantizers.

Between quantized tensors the network computes exact linear expressions plus data movement. :func:`linear` brings the
expression that ends in a tensor to the normal form

    x = sum_k coef_k * gather(root_k, index_k) + const

whatever the order of additions, the nesting of constants and the layout changes of the export. Roots are quantized
tensors, sign tensors, outputs of hardware layers, accumulators (MatMul, Conv) and everything else that is not linear.
``index`` holds flat positions in the root (None: the identity, -1: a zero). Passes compare forms with
what a layer computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from onnx import NodeProto

from .fixed import Fixed
from .match import Graph, LoweringError, attr, label, pairs, run_node

MOVES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Expand", "Tile", "Gather", "Identity",
         "DepthToSpace", "SpaceToDepth", "Split"}
ONE = Fixed(np.asarray(1, np.int64), 0)
ZERO = Fixed(np.asarray(0, np.int64), 0)


@dataclass(frozen=True, eq=False)
class Term:
    """``coef * gather(root, index)``; coef broadcasts against the shape of the form."""

    root: str
    coef: Fixed
    index: np.ndarray | None = None

    def same_index(self, other: Term) -> bool:
        return self.root == other.root and same_index(self.index, other.index)


@dataclass(frozen=True, eq=False)
class Form:
    """Sum of terms and a constant; ``shape`` is the tensor's."""

    shape: tuple[int, ...]
    terms: list[Term] = field(default_factory=list)
    const: Fixed = ZERO

    def term(self, *roots: str) -> Term | None:
        """The only term whose root is among ``roots``."""
        found = [t for t in self.terms if t.root in roots]
        return found[0] if len(found) == 1 else None

    @property
    def plain(self) -> str | None:
        """Root when the form is exactly that tensor (row-major order kept)."""
        if len(self.terms) == 1 and self.const.zero and self.terms[0].index is None and self.terms[0].coef == ONE:
            return self.terms[0].root
        return None


def same_index(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Equality of two index maps, as flat sequences."""
    if a is None or b is None:
        return a is b
    return a.size == b.size and np.array_equal(a.reshape(-1), b.reshape(-1))


def identity_to_none(index: np.ndarray, root_size: int) -> np.ndarray | None:
    flat = index.reshape(-1)
    return None if flat.size == root_size and np.array_equal(flat, np.arange(root_size)) else index


def compress(f: Fixed, shape: tuple[int, ...]) -> Fixed:
    """Drop axes along which a constant does not vary: scalar, per channel (C,), or full ``shape``."""
    i = f.i
    if i.size == 1 or f.uniform:
        return Fixed(i.reshape(-1)[:1].reshape(()), f.e)
    full = np.broadcast_to(i, shape)
    rows = full.reshape(-1, shape[-1])
    if (rows == rows[0]).all():
        return Fixed(rows[0].copy(), f.e)
    return Fixed(full, f.e)


def merge(terms: list[Term]) -> list[Term]:
    """Add up terms of the same root and index. Zero coefficients stay: a dead channel or tap keeps its layer."""
    out: list[Term] = []
    for t in terms:
        for k, o in enumerate(out):
            if o.same_index(t):
                out[k] = replace(o, coef=o.coef + t.coef)
                break
        else:
            out.append(t)
    return out


def is_root(g: Graph, tensor: str) -> bool:
    """Quantized, sign or hardware tensors: forms stop here even when the producer is linear."""
    n = g.producer.get(tensor)
    return n is None or n.op_type == "Quant" or n.domain.startswith("finn") or g.sign_input(tensor) is not None


def linear(g: Graph, tensor: str, stop: frozenset[str] = frozenset()) -> Form:
    """Normal form of a tensor. ``stop``: further tensors to treat as roots."""
    shape = g.shape(tensor)
    const = g.fixed(tensor) if g.const(tensor) is not None else None
    if const is not None:
        return Form(shape, [], compress(const, shape))
    leaf = Form(shape, [Term(tensor, ONE)])
    node = g.producer.get(tensor)
    if tensor in stop or is_root(g, tensor):
        return leaf
    op = node.op_type

    def sub(t: str) -> Form:
        return linear(g, t, stop)

    if op in ("Add", "Sub", "Sum"):
        forms = [sub(t) for t in node.input]
        if op == "Sub":
            forms[1] = negate(forms[1])
        forms = [broadcast(f, shape) for f in forms]
        total = forms[0].const
        for f in forms[1:]:
            total = total + f.const
        return Form(shape, merge([t for f in forms for t in f.terms]), compress(total, shape))
    if op == "Neg":
        return negate(sub(node.input[0]))
    if op == "Mul":
        for a, b in pairs(node):
            if g.const(b) is not None:
                return scale(broadcast(sub(a), shape), g.fixed(b), shape)
        return leaf
    if op == "Div" and g.const(node.input[1]) is not None:
        c = g.const(node.input[1]).astype(np.float64)
        m, _ = np.frexp(c)
        if (np.abs(m) == 0.5).all():
            return scale(broadcast(sub(node.input[0]), shape), Fixed.of(1.0 / c), shape)
        return leaf
    if op == "Cast":  # only between number types that hold the values: checked by execution
        return sub(node.input[0])
    if op == "Concat":
        return concat(g, node, [sub(t) for t in node.input], tensor)
    if op == "Pad" and str(attr(node, "mode", "constant")) == "constant":
        return pad(g, node, sub(node.input[0]), tensor)
    if op in MOVES and all(g.const(t) is not None for t in node.input[1:] if t):
        return move(g, node, sub(node.input[0]), tensor)
    return leaf


def negate(f: Form) -> Form:
    return Form(f.shape, [replace(t, coef=-t.coef) for t in f.terms], -f.const)


def scale(f: Form, c: Fixed, shape: tuple[int, ...]) -> Form:
    terms = [replace(t, coef=compress(t.coef * c, shape)) for t in f.terms]
    return Form(shape, terms, compress(f.const * c, shape))


def broadcast(f: Form, shape: tuple[int, ...]) -> Form:
    """View a form in a larger shape by numpy broadcasting."""
    if f.shape == shape or (not f.terms and f.const.i.size == 1):
        return f if f.shape == shape else Form(shape, [], f.const)
    if int(np.prod(f.shape)) == int(np.prod(shape)):
        return Form(shape, f.terms, f.const)

    def spread(x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x.reshape(f.shape), shape)

    terms = [Term(t.root, _apply_const(t.coef, f.shape, spread, shape),
                  spread(_positions(t.index, f.shape))) for t in f.terms]
    return Form(shape, terms, _apply_const(f.const, f.shape, spread, shape))


def _positions(index: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(int(np.prod(shape))).reshape(shape) if index is None else index.reshape(shape)


def _apply_const(c: Fixed, shape: tuple[int, ...], f, out_shape: tuple[int, ...]) -> Fixed:
    if c.i.size == 1:
        return c
    return compress(Fixed(f(np.ascontiguousarray(np.broadcast_to(c.i, shape))), c.e), out_shape)


def move(g: Graph, node: NodeProto, f: Form, tensor: str) -> Form:
    """Apply a data movement op to a form."""
    shape = g.shape(tensor)
    keeps_order = node.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
    scalars = all(c.i.size == 1 for c in [f.const, *(t.coef for t in f.terms)])
    if keeps_order and (f.shape[-1:] == shape[-1:] or scalars):
        return Form(shape, f.terms, f.const)
    which = list(node.output).index(tensor)

    def run(x: np.ndarray) -> np.ndarray:
        args = {t: g.const(t) for t in node.input[1:] if t} | {node.input[0]: np.ascontiguousarray(x.reshape(f.shape))}
        return run_node(node, args)[which]

    terms = []
    for t in f.terms:
        index = run(_positions(t.index, f.shape))
        terms.append(Term(t.root, _apply_const(t.coef, f.shape, run, shape),
                          identity_to_none(index, int(np.prod(g.shape(t.root))))))
    return Form(shape, terms, _apply_const(f.const, f.shape, run, shape))


def concat(g: Graph, node: NodeProto, forms: list[Form], tensor: str) -> Form:
    """Concatenation of pieces of one tensor (roll, circular padding, tile); otherwise a root."""
    shape, axis = g.shape(tensor), attr(node, "axis")
    root = forms[0].terms[0].root if forms[0].terms else None
    if any(len(f.terms) != 1 or f.terms[0].root != root for f in forms):
        return Form(shape, [Term(tensor, ONE)])
    coefs = [np.broadcast_to(f.terms[0].coef.value, f.shape) for f in forms]
    consts = [np.broadcast_to(f.const.value, f.shape) for f in forms]
    index = np.concatenate([_positions(f.terms[0].index, f.shape) for f in forms], axis)
    coef = compress(Fixed.of(np.concatenate(coefs, axis)), shape)
    const = compress(Fixed.of(np.concatenate(consts, axis)), shape)
    return Form(shape, [Term(root, coef, identity_to_none(index, int(np.prod(g.shape(root)))))], const)


def pad(g: Graph, node: NodeProto, f: Form, tensor: str) -> Form:
    """Zero padding of a plain tensor: index -1."""
    shape = g.shape(tensor)
    value = g.scalar(node.input[2]) if len(node.input) > 2 and node.input[2] else 0.0
    pads = g.const(node.input[1])
    if value != 0.0 or pads is None or len(f.terms) != 1 or not f.const.zero or len(node.input) > 3:
        return Form(shape, [Term(tensor, ONE)])
    half = len(f.shape)
    width = [(int(pads[k]), int(pads[k + half])) for k in range(half)]
    t = f.terms[0]
    index = np.pad(_positions(t.index, f.shape), width, constant_values=-1)
    coef = t.coef if t.coef.i.size == 1 else compress(
        Fixed(np.pad(np.broadcast_to(t.coef.i, f.shape), width, mode="edge"), t.coef.e), shape)
    return Form(shape, [Term(t.root, coef, index)], ZERO)


def channelwise(c: Fixed, channels: int, what: str, node: NodeProto) -> np.ndarray:
    """Integers (C,) of a scalar or per-channel constant; LoweringError when it varies over positions."""
    if c.i.size == 1:
        return np.full(channels, int(c.i.reshape(-1)[0]), np.int64)
    if c.i.shape != (channels,):
        raise LoweringError(f"{label(node)}: {what} varies over positions (shape {c.i.shape}), only per-channel "
                            "constants map to hardware here")
    return c.i
