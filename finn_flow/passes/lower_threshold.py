"""Affine and sign collapse into one integer comparison per channel."""

from __future__ import annotations

import numpy as np

from .context import Lowering, term_list
from .fixed import Fixed
from .forms import channelwise
from .match import LoweringError, label


def threshold_constants(m: np.ndarray, o: np.ndarray, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds t and polarities of [m*x + o >= 0] for integers x in [lo, hi]: (x >= t) xor pol.

    m > 0: x >= ceil(-o/m). m < 0: x <= floor(o/|m|), that is not x >= floor(o/|m|) + 1. m = 0: the sign of o, for
    every x. A threshold outside [lo, hi + 1] is clipped there, which changes no comparison.
    """
    a = np.where(m == 0, 1, np.abs(m))
    up, down = -(o // a), o // a + 1
    t = np.where(m > 0, up, np.where(m < 0, down, lo))
    pol = np.where(m > 0, 0, np.where(m < 0, 1, (o < 0).astype(np.int64)))
    return np.clip(t, lo, hi + 1), pol


def lower_threshold(low: Lowering) -> int:
    """sign(m*x + o) -> threshold."""
    g, done = low.g, 0
    for node in g.nodes("BipolarQuant", "Where", "Add", "Sub"):
        out = node.output[0]
        if out not in g.producer or g.const(out) is not None or (arg := g.sign_input(out)) is None:
            continue
        where, f = label(node), low.form(arg)
        if len(f.terms) != 1 or f.terms[0].index is not None:
            raise LoweringError(f"{where}: a sign needs m * x + o of one tensor, found {term_list(f)}")
        term = f.terms[0]
        dtype, e = low.int_type(term.root, where)
        if dtype.bipolar or not dtype.signed:
            raise LoweringError(f"{where}: a sign of {dtype.name} has no hardware form")
        c = f.shape[-1]
        scaled = term.coef.scaled(e)
        e_p = min(scaled.e, f.const.e) if not f.const.zero else scaled.e
        m = channelwise(Fixed(scaled.at(e_p), 0), c, "the multiplier", node)
        o = channelwise(Fixed(f.const.at(e_p), 0) if not f.const.zero else f.const, c, "the offset", node)
        t, pol = threshold_constants(m, o, dtype.min, dtype.max)
        layer = low.layer("threshold", where, dims=list(f.shape[1:]), bits=dtype.bits)
        low.emit_at(layer, [term.root], [out], {"t": t, "pol": pol}, where, [e], [0])
        done += 1
    return done
