"""The circular nine-tap cross with the residual stream added: shift."""

from __future__ import annotations

import numpy as np

from .context import Lowering, term_list
from .epilogue import final_quants, parse
from .fixed import Fixed, bits_for
from .forms import Term, channelwise
from .match import LoweringError

TAPS = ((0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2))
"""(row, column) offsets in the order of the coefficients."""


def rolled(h: int, w: int, c: int, dy: int, dx: int) -> np.ndarray:
    """Flat position in (H, W, C) that tap (dy, dx) reads for every element."""
    x = np.arange(h * w * c).reshape(h, w, c)
    return np.roll(x, (-dy, -dx), (0, 1)).reshape(-1)


def tap_of(term: Term, shape: tuple[int, ...]) -> int | None:
    """Number of the tap that a term reads; on maps below 5 the first of several equal ones."""
    if term.index is None:
        return 0
    for k, (dy, dx) in enumerate(TAPS):
        if k and np.array_equal(term.index.reshape(-1), rolled(*shape[1:], dy, dx)):
            return k
    return None


def lower_shift(low: Lowering) -> int:
    """Quant of a sum of rolled copies of U plus Y plus constants."""
    g, done = low.g, 0
    for node in final_quants(low):
        out = node.output[0]
        epi = parse(low, node)
        roots = {t.root for t in epi.first.terms if t.index is not None}
        if epi.act or len(roots) != 1 or len(g.shape(out)) != 4 or len({t.root for t in epi.first.terms}) != 2:
            continue
        u = roots.pop()
        if np.prod(g.shape(u)) != np.prod(epi.first.shape):  # a part of a larger tensor: merge tokens on a 1 x 1 map
            continue
        taps = [(tap_of(t, epi.first.shape), t) for t in epi.first.terms if t.root == u]
        rest = [t for t in epi.first.terms if t.root != u]
        if any(k is None for k, _ in taps) or low.type_of(u) is None:
            continue
        if len(rest) != 1 or rest[0].index is not None or low.type_of(rest[0].root) is None:
            found = term_list(epi.first)
            raise LoweringError(f"{epi.where}: a shift stencil needs the taps and one residual, found {found}")
        emit_shift(low, epi, u, taps, rest[0])
        done += 1
    return done


def emit_shift(low: Lowering, epi, u: str, taps: list[tuple[int, Term]], res: Term) -> None:
    """Emit with outputs V and the centre copy of U, which takes over the consumers of U."""
    g, where, out = low.g, epi.where, epi.node.output[0]
    _, h, w, c = epi.first.shape
    (ut, ue), (yt, ye) = low.int_type(u, where), low.int_type(res.root, where)
    y = res.coef.scaled(ye).reduced()
    o = epi.first.const
    if not y.uniform or int(y.i.flat[0]) != 1:
        raise LoweringError(f"{where}: the residual {res.root} must have factor 1")
    e_p = min([y.e, epi.y.exp, *(t.coef.e + ue for _, t in taps), *([] if o.zero else [o.reduced().e])])
    coef = np.zeros((9, c), np.int64)
    for k, t in taps:
        coef[k] += channelwise(Fixed(t.coef.scaled(ue).at(e_p), 0), c, "a stencil coefficient", epi.node)
    offset = channelwise(Fixed(o.at(e_p), 0) if not o.zero else o, c, "the stencil offset", epi.node)
    attrs = dict(height=h, width=w, channels=c, ext=0, u_bits=ut.bits, y_bits=yt.bits, coef_bits=bits_for(coef),
                 out_bits=epi.y.bits, ky=y.e - e_p, sh=epi.y.exp - e_p)
    fields = type(low.layer("shift", where, **attrs)).model_fields
    if "o_bits" in fields:
        attrs["o_bits"] = bits_for(offset)
    centre = low.fresh("centre")
    others = [n for n in g.consumers(u)]
    low.emit_at(low.layer("shift", where, **attrs), [u, res.root], [out, centre], {"coef": coef, "o": offset}, where,
                [ue, ye], [epi.y.exp, ue])
    shift = g.producer[out] if g.producer[out].op_type != "Reshape" else g.producer[g.producer[out].input[0]]
    uses = reaches(low, out, others)
    for n in others:
        if n is not shift and id(n) in uses:
            g.redirect(n, u, shift.output[1])
    if u in g.outputs:
        raise LoweringError(f"{where}: {u} is a graph output")


def reaches(low: Lowering, out: str, nodes: list) -> set[int]:
    """Ids of the consumers of U that may read its centre copy: all that are no ancestors of the shift itself."""
    g, seen, stack = low.g, set(), [out]
    while stack:
        n = g.producer.get(stack.pop())
        if n is not None and id(n) not in seen:
            seen.add(id(n))
            stack += list(n.input)
    return {id(n) for n in nodes if id(n) not in seen}
