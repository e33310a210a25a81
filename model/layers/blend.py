"""Learned blends of two exact tensors: merge tokens (paper section 4.2) and the merge back to a map (equation 12)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bhvit.model.layers.fixed import Fixed, edge_bias
from bhvit.model.numerics import EXACT_LIMIT, Widths, exponent_for_max, exponent_mse
from bhvit.model.quantizers import FixedConst, FixedQuant


class Blend(nn.Module):
    """y = Quant(a * ca + b * cb + o), last axis = channels."""

    def __init__(self, channels: int, bits: Widths) -> None:
        super().__init__()
        self.ca = FixedConst((channels,), bits.blend)
        self.cb = FixedConst((channels,), bits.blend)
        self.o = FixedConst((channels,), 24, grow=True)
        self.y = FixedQuant(bits.activation)
        self.register_buffer("inputs", torch.zeros(3, dtype=torch.int64))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.y(a * self.ca() + b * self.cb() + self.o())

    def calibrate(self, a: Fixed, b: Fixed, ca: Tensor, cb: Tensor, e_y: int | None = None,
                  edge: Tensor | None = None) -> Fixed:
        """Args: a, b: inputs of one exponent; ca, cb: (C,) float64; e_y: output exponent where it is given; edge: (C,)
        where a threshold on the output falls, if one follows."""
        if a.e != b.e:
            raise ValueError(f"a blend needs inputs of one exponent, got {a.e} and {b.e}")
        self.inputs.copy_(torch.tensor([a.e, a.bound, b.bound]))
        e = [exponent_for_max(float(c.abs().max()) or 1.0, self.ca.q.bits) for c in (ca, cb)]
        e[0] = max(e)
        # a small cb must not put the sum above 2**24 of its LSBs; the half LSB of the output needs as much as y
        top = float(ca.abs().max()) * a.bound + float(cb.abs().max()) * b.bound + 1e-30
        e[1] = max(e[1], math.ceil(math.log2(top / (0.5 * EXACT_LIMIT))))
        e[1] = min(e[1], e[0], 0 if e_y is None else e_y - a.e)
        self.ca.set(ca, e[0])
        self.cb.set(cb, e[1])
        e_p = a.e + e[1]
        if e_y is None:
            total = a.value.double() * self.ca().double() + b.value.double() * self.cb().double()
            e_y = exponent_mse(total, self.y.bits, e_p)
        offset = torch.full_like(ca, 2.0 ** (e_y - 1) if e_y > e_p else 0.0)
        self.y.set_exponent(e_y)
        if edge is not None and e_y > e_p:
            self.y.bias = edge_bias(edge, e_y)
            offset = offset + self.y.bias
        self.o.set(offset, e_p)
        return Fixed(self(a.value, b.value), e_y, *self.y.limits, self.y.bias)

    def worst_case(self) -> dict[str, float]:
        """First product on the common grid, then the sum."""
        _, a, b = (int(v) for v in self.inputs)
        first = self.ca.integers().double().abs() * a * 2.0 ** (self.ca.exponent - self.cb.exponent)
        both = first + self.cb.integers().double().abs() * b
        return {"a * ca": float(first.max()),
                "a * ca + b * cb + o": float((both + self.o.integers().double().abs()).max())}
