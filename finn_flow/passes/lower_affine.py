"""Elementwise quantizers: affine (batch norm, residual addition) and position embedding."""

from __future__ import annotations

import numpy as np

from .context import Lowering, term_list
from .epilogue import Epilogue, align, final_quants, parse
from .fixed import bits_for, trailing_zeros
from .forms import Term
from .match import LoweringError


def lower_affine(low: Lowering) -> int:
    """Quant of m*x + o [+ residual(s)]."""
    g, done = low.g, 0
    for node in final_quants(low):
        out = node.output[0]
        epi = parse(low, node)
        terms = epi.first.terms
        if not terms or any(low.type_of(t.root) is None or t.index is not None for t in terms):
            continue
        main = main_term(epi)
        rest = [t for t in terms if t is not main]
        dtype, e = low.int_type(main.root, epi.where)
        if dtype.bipolar or not dtype.signed:
            raise LoweringError(f"{epi.where}: an affine of {dtype.name} has no hardware form")
        if epi.first.const.i.ndim > 1:
            if len(terms) == 1 and not epi.act and main.coef.uniform:
                position_embedding(low, epi, main)
                done += 1
                continue
            raise LoweringError(f"{epi.where}: its offset varies over positions; only Quant(x + constant) maps to "
                                "hardware")
        attrs, constants, residuals = align(low, epi, main, e, rest, epi.first.shape[-1])
        layer = low.layer("affine", epi.where, dims=list(g.shape(out))[1:], in_bits=dtype.bits, **attrs)
        low.emit(layer, [main.root, *residuals], [out], constants, epi.where)
        done += 1
    return done


def main_term(epi: Epilogue) -> Term:
    """The term that is multiplied per channel; residuals have one factor for all channels."""
    terms = epi.first.terms
    own = [t for t in terms if not t.coef.uniform or int(t.coef.i.flat[0]) <= 0]
    if len(own) > 1:
        raise LoweringError(f"{epi.where}: more than one input has per-channel multipliers: {term_list(epi.first)}")
    if own:
        return own[0]
    single = [t for t in terms if sum(o.coef == t.coef for o in terms) == 1]  # one among a group of equal residuals
    return (single or terms)[0]


def position_embedding(low: Lowering, epi: Epilogue, main: Term) -> None:
    """Quant(x + pe): pe keeps the bits in which positions differ, the rest is one scalar offset."""
    where, f = epi.where, epi.first
    dtype, e = low.int_type(main.root, where)
    x = main.coef.scaled(e).reduced()
    if int(x.i.flat[0]) != 1:
        raise LoweringError(f"{where}: a position embedding needs x with a power of two as factor")
    e_p = min(x.e, f.const.reduced().e, epi.y.exp)
    c = np.broadcast_to(f.const.at(e_p), f.shape)[0]
    kb = min(trailing_zeros(c - c.flat[0]), 30)
    offset = int(c.flat[0]) & ((1 << kb) - 1)
    pe = (c - offset) >> kb
    layer = low.layer("position_embedding", where, dims=list(f.shape[1:]), in_bits=dtype.bits, pe_bits=bits_for(pe),
                      ka=x.e - e_p, kb=kb, offset=offset, sh=epi.y.exp - e_p, out_bits=epi.y.bits)
    low.emit(layer, [main.root], [epi.node.output[0]], {"pe": pe}, where)
