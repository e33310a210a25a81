"""Recognise the epilogue (docs/contract.md, section 1) behind a quantizer and align its exponents to integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from .context import Lowering, term_list
from .fixed import Fixed, bits_for
from .forms import Form, Term, channelwise
from .match import Graph, LoweringError, Quantizer, attr, label, pairs


@dataclass
class Epilogue:
    """``y = Quant(...)`` taken apart; ``first`` is what enters the first quantizer."""

    node: NodeProto
    y: Quantizer
    first: Form
    z: Quantizer | None = None
    p: Fixed | None = None
    n: Fixed | None = None
    o2: Fixed | None = None
    res2: Term | None = None

    @property
    def act(self) -> int:
        return int(self.z is not None)

    @property
    def where(self) -> str:
        return label(self.node)


def prelu(g: Graph, tensor: str) -> tuple[str, Fixed, Fixed] | None:
    """(z, p, n) when the tensor is ``where(z >= 0, p, n) * z``."""
    node = g.producer.get(tensor)
    if node is None:
        return None
    if node.op_type == "PRelu" and g.const(node.input[1]) is not None:
        return node.input[0], Fixed(np.asarray(1), 0), g.fixed(node.input[1])
    if node.op_type != "Mul":
        return None
    for w, z in pairs(node):
        sel = g.producer.get(w)
        if sel is None or sel.op_type != "Where":
            continue
        cond = g.nonneg(sel.input[0])
        a, b = (g.fixed(t) if g.const(t) is not None else None for t in sel.input[1:3])
        if cond and cond[0] == z and a is not None and b is not None:
            return (z, a, b) if cond[1] else (z, b, a)
    return None


def final_quants(low: Lowering) -> Iterator[NodeProto]:
    """Activation quantizers that still exist and end an epilogue (the z of an RPReLU does not)."""
    g = low.g
    for node in g.nodes("Quant"):
        out = node.output[0]
        if g.producer.get(out) is not node or not g.is_activation_quant(node):
            continue
        muls = [n for n in g.consumers(out) if n.op_type in ("Mul", "PRelu")]
        if not any((a := prelu(g, n.output[0])) is not None and a[0] == out for n in muls):
            yield node


def parse(low: Lowering, node: NodeProto) -> Epilogue:
    """The epilogue that ends in the Quant ``node``."""
    g, y = low.g, low.g.quantizer(node)
    if not y.signed or y.narrow:
        raise LoweringError(f"{label(node)}: only signed quantizers of full range map to hardware")
    form = low.form(node.input[0])
    acts = [(t, a) for t in form.terms if (a := prelu(g, t.root)) is not None]
    if not acts:
        return Epilogue(node, y, form)
    (term, (z, p, n)), rest = acts[0], [t for t in form.terms if t is not acts[0][0]]
    zn = g.producer.get(z)
    if len(acts) > 1 or len(rest) > 1 or term.index is not None:
        raise LoweringError(f"{label(node)}: expected RPReLU(z) + offset [+ residual], found {term_list(form)}")
    if zn is None or not g.is_activation_quant(zn):
        raise LoweringError(f"{label(node)}: the input of its RPReLU, {z}, is not quantized")
    if any(c.op_type not in ("Where", "Mul", "GreaterOrEqual", "Less", "PRelu") for c in g.consumers(z)):
        raise LoweringError(f"{label(node)}: {z} is used outside the RPReLU")
    zq = g.quantizer(zn)
    if not zq.signed or zq.narrow:
        raise LoweringError(f"{label(zn)}: only signed quantizers of full range map to hardware")
    first, res2 = low.form(zn.input[0]), rest[0] if rest else None
    return Epilogue(node, y, first, zq, p * term.coef, n * term.coef, form.const, res2)


def split(epi: Epilogue, is_main: Callable[[Term], bool]) -> tuple[Term, list[Term]] | None:
    """(main term, residual terms) of the first quantizer, when exactly one term is a main one."""
    main = [t for t in epi.first.terms if is_main(t)]
    return (main[0], [t for t in epi.first.terms if t is not main[0]]) if len(main) == 1 else None


def align(low: Lowering, epi: Epilogue, main: Term, e_main: int, rest: list[Term], channels: int,
          ) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    """Integer form of an epilogue: (attributes, constants, residual tensors)."""
    where, attrs, residuals = epi.where, {"act": epi.act, "out_bits": epi.y.bits}, []
    e_p, e_first = main.coef.e + e_main, (epi.z or epi.y).exp
    r1 = None
    if rest:
        tensor, coef = residual(low, rest, where)
        t1, e1 = low.int_type(tensor, where)
        r1 = coef.scaled(e1).reduced()
        e_p = min(e_p, r1.e)
        residuals.append(tensor)
        attrs |= {"res1": 1, "res1_bits": t1.bits}
    o = epi.first.const
    if not o.zero:
        e_p = min(e_p, o.reduced().e)
    e_p = min(e_p, e_first)
    m = channelwise(Fixed(main.coef.scaled(e_main).at(e_p), e_p), channels, "the multiplier", epi.node)
    oi = channelwise(Fixed(o.at(e_p), e_p) if not o.zero else o, channels, "the offset", epi.node)
    if r1 is not None:
        rm = r1.at(e_p)
        if not r1.uniform or int(rm.flat[0]) < 1:
            raise LoweringError(f"{where}: the residual {residuals[0]} is scaled by {r1.value.reshape(-1)[:4]}, only "
                                "one positive factor for all channels maps to hardware")
        attrs["rm"] = int(rm.flat[0])
    attrs |= {"sh1": e_first - e_p, "m_bits": bits_for(m), "o_bits": bits_for(oi)}
    constants = {"m": m, "o": oi}
    if epi.act:
        more, c2, res2 = second(low, epi, channels)
        attrs |= more
        constants |= c2
        residuals += res2
    return attrs, constants, residuals


def second(low: Lowering, epi: Epilogue, channels: int) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    """The part after z: slopes, second offset and residual."""
    where, e_s = epi.where, min(epi.p.e, epi.n.e)
    e_ps, attrs, residuals = epi.z.exp + e_s, {"z_bits": epi.z.bits}, []
    r2 = None
    if epi.res2 is not None:
        tensor, coef = residual(low, [epi.res2], where)
        t2, e2 = low.int_type(tensor, where)
        r2 = coef.scaled(e2).reduced()
        if not r2.uniform or int(r2.i.flat[0]) != 1:
            raise LoweringError(f"{where}: the second residual {tensor} must have factor 1")
        e_ps = min(e_ps, r2.e)
        residuals.append(tensor)
        attrs |= {"res2": 1, "res2_bits": t2.bits}
    if not epi.o2.zero:
        e_ps = min(e_ps, epi.o2.reduced().e)
    e_ps = min(e_ps, epi.y.exp)
    p, n = (channelwise(Fixed(c.at(e_ps - epi.z.exp), 0), channels, "a slope", epi.node) for c in (epi.p, epi.n))
    o2 = channelwise(Fixed(epi.o2.at(e_ps), 0) if not epi.o2.zero else epi.o2, channels, "the second offset", epi.node)
    attrs |= {"slope_bits": bits_for(p, n), "o2_bits": bits_for(o2), "sh2": epi.y.exp - e_ps}
    if r2 is not None:
        attrs["k2"] = r2.e - e_ps
    return attrs, {"p": p, "n": n, "o2": o2}, residuals


def residual(low: Lowering, terms: list[Term], where: str) -> tuple[str, Fixed]:
    """One tensor and factor for the residual terms; several with one factor are added exactly by an `add` layer."""
    for t in terms:
        if t.index is not None:
            raise LoweringError(f"{where}: the residual {t.root} arrives in another order of elements")
    if len(terms) == 1:
        return terms[0].root, terms[0].coef
    coef, types = terms[0].coef, [low.int_type(t.root, where) for t in terms]
    if any(t.coef != coef for t in terms) or len({e for _, e in types}) > 1:
        names = ", ".join(t.root for t in terms)
        raise LoweringError(f"{where}: its residuals {names} have different factors or scales")
    roots = [t.root for t in terms]
    for n in low.g.nodes("BvAdd"):  # the same sum, made for another consumer
        if set(n.input) == set(roots):
            return n.output[0], coef
    bits = max(d.bits for d, _ in types)
    layer = low.layer("add", where, dims=list(low.g.shape(roots[0]))[1:], bits=bits, terms=len(roots))
    return low.emit(layer, roots, [low.fresh("sum")], {}, where)[0], coef


def product(g: Graph, tensor: str) -> tuple[str, np.ndarray, int] | None:
    """(x, W (out, in) integers, exponent of W) when the tensor is ``x @ W^T`` with constant W."""
    node = g.producer.get(tensor)
    if node is None or node.op_type not in ("MatMul", "Gemm") or g.const(node.input[1]) is None:
        return None
    if node.op_type == "Gemm" and (len(node.input) > 2 or attr(node, "alpha", 1.0) != 1.0 or attr(node, "transA", 0)):
        return None
    w = g.fixed(node.input[1])
    if w.i.ndim != 2:
        return None
    return node.input[0], w.i if attr(node, "transB", 0) else w.i.T, w.e
