"""Matrix products with their epilogue: binary_linear and int_linear."""

from __future__ import annotations

from .context import Lowering
from .epilogue import align, final_quants, parse, product, split
from .fixed import bits_for
from .forms import Term
from .match import LoweringError


def lower_linear(low: Lowering) -> int:
    """Quant behind a MatMul with constant weights; the weights and the input decide the kind."""
    g, done = low.g, 0
    for node in final_quants(low):
        out = node.output[0]
        epi = parse(low, node)
        found = split(epi, lambda t: product(g, t.root) is not None)
        if found is None:
            continue
        main, rest = found
        x, w, e_w = product(g, main.root)
        f = low.form(x)
        if f.plain is None or main.index is not None:
            raise LoweringError(f"{epi.where}: the input {x} of its matrix product is not a quantized tensor")
        dtype, e_x = low.int_type(f.plain, epi.where)
        attrs, constants, residuals = align(low, epi, Term(main.root, main.coef), e_x + e_w, rest, w.shape[0])
        attrs |= dict(token_dims=list(g.shape(out))[1:-1] or [1], in_channels=w.shape[1], out_channels=w.shape[0])
        if dtype.bipolar:
            if (abs(w) != 1).any():
                raise LoweringError(f"{epi.where}: binary input, but weights other than +-1")
            layer = low.layer("binary_linear", epi.where, **attrs)
        else:
            layer = low.layer("int_linear", epi.where, in_bits=dtype.bits, in_signed=int(dtype.signed),
                              w_bits=bits_for(w), **attrs)
        low.emit(layer, [f.plain, *residuals], [out], {"w": w, **constants}, epi.where)
        done += 1
    return done
