"""Stem non-linearity and position embedding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.model.layers.fixed import Fixed, edge_bias
from bhvit.model.numerics import Widths, exponent_for_max, exponent_mse
from bhvit.model.quantizers import FixedConst, FixedQuant


class GeluTable(nn.Module):
    """y = table[x / 2**e_x + 2**(b-1)]: exact GELU of every value of a b-bit input, any shape (paper equation 5)."""

    def __init__(self, bits: Widths) -> None:
        super().__init__()
        self.size = 1 << bits.activation
        self.table = FixedConst((self.size,), bits.gelu)
        self.register_buffer("input_exponent", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        index = (x * 2.0 ** -int(self.input_exponent) + float(self.size // 2)).to(torch.int64)
        y = self.table()[index]
        if self.training:
            surrogate = F.gelu(x)
            y = y + (surrogate - surrogate.detach())
        return y

    def calibrate(self, x: Fixed) -> Fixed:
        """Fills the table for the input's scale."""
        self.input_exponent.fill_(x.e)
        grid = torch.arange(-self.size // 2, self.size // 2, dtype=torch.float64) * 2.0**x.e
        values = F.gelu(grid)
        # only the part of the table that the data reaches decides the scale
        seen = float(F.gelu(x.value.double()).abs().max())
        self.table.set(values, exponent_for_max(seen or 1.0, self.table.q.bits))
        return Fixed(self(x.value), self.table.exponent, *self.table.q.limits)


class PositionEmbedding(nn.Module):
    """X = Quant(x + pos): x (B, H, W, C), pos (H, W, C) on the grid of x."""

    def __init__(self, side: int, channels: int, bits: Widths) -> None:
        super().__init__()
        self.pos = FixedConst((side, side, channels), bits.position, grow=True)
        self.y = FixedQuant(bits.residual)
        self.register_buffer("input_bound", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.y(x + self.pos())

    def calibrate(self, x: Fixed, pos: Tensor, edge: Tensor | None = None) -> Fixed:
        """Args: x: map; pos: (H, W, C) float64; edge: of the layer behind, see `Epilogue.finish`."""
        self.input_bound.fill_(x.bound)
        e_y = exponent_mse(x.value.double() + pos, self.y.bits, x.e)
        self.y.set_exponent(e_y)
        if edge is not None and e_y > x.e:
            self.y.bias = edge_bias(edge, e_y)
            pos = pos + self.y.bias
        self.pos.set(pos + (2.0 ** (e_y - 1) if e_y > x.e else 0.0), x.e)
        return Fixed(self(x.value), e_y, *self.y.limits, self.y.bias)

    def worst_case(self) -> dict[str, float]:
        """Largest sum in LSBs."""
        return {"x + pos": float(self.pos.integers().abs().max()) + int(self.input_bound)}
