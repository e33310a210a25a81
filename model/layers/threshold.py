"""Per-channel binarisation of a fixed-point tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.model.layers import fused_fixed
from bhvit.model.layers.fixed import Fixed
from bhvit.model.numerics import EXACT_LIMIT, Widths, exponent_for_max
from bhvit.model.quantizers import FixedConst, sign_act


class Threshold(nn.Module):
    """b = sign(x * m + o) (`scaled`) or sign(x + o), last axis = channels, sign(0) = +1; paper equation 2 (RSign).

    o is FLOORed on the grid of its argument, which leaves every decision as with the real offset. A negative m reverses
    the comparison (polarity).
    """

    def __init__(self, channels: int, bits: Widths, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        if scaled:
            self.m = FixedConst((channels,), bits.multiplier)
        self.o = FixedConst((channels,), 24, grow=True)
        self.sign = sign_act()
        self.register_buffer("inputs", torch.zeros(2, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if fused_fixed.usable(x):
            return fused_fixed.decide(x, self.m() if self.scaled else None, self.o())
        return self.sign(x * self.m() + self.o()) if self.scaled else self.sign(x + self.o())

    def calibrate(self, x: Fixed, o: Tensor, m: Tensor | None = None) -> Tensor:
        """Args: x: input; o, m: (C,) float64. Returns the +-1 tensor."""
        self.inputs[0], self.inputs[1] = x.e, x.bound
        if x.bias is not None:
            o = o - (x.bias if m is None else x.bias * m)
        e, largest = x.e, torch.full_like(o, float(x.bound))
        if self.scaled:
            top = float(m.abs().max())
            e_m = exponent_for_max(top, self.m.q.bits) if top else 1 - self.m.q.bits
            while top * 2.0**-e_m * x.bound > 0.4 * EXACT_LIMIT:
                e_m += 1
            self.m.set(m, e_m)
            e += self.m.exponent
            largest = largest * self.m.integers().double().abs()
        ints = torch.floor(o * 2.0**-e).clamp(-largest - 1, largest + 1)
        self.o.set(ints * 2.0**e, e)
        return self(x.value)

    def worst_case(self) -> dict[str, float]:
        """Largest argument of the sign, in LSBs."""
        term = torch.full((1,), float(self.inputs[1]), dtype=torch.float64)
        if self.scaled:
            term = term * self.m.integers().double().abs()
        return {"argument": float((term + self.o.integers().double().abs()).max())}
