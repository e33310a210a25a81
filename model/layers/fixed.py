"""What calibration passes from layer to layer, and the folding of batch norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Fixed:
    """A fixed-point tensor during calibration.

    value: any shape, real values, multiples of 2**e. lo, hi: its integer range in LSBs, from formats, not from data.
    """

    value: Tensor
    e: int
    lo: int
    hi: int

    @property
    def bound(self) -> int:
        """Largest magnitude in LSBs."""
        return max(-self.lo, self.hi)

    def summed(self, value: Tensor, terms: int) -> Fixed:
        """`value` as an exact sum of at most `terms` elements of this tensor (zeros may replace some)."""
        return Fixed(value, self.e, terms * min(self.lo, 0), terms * max(self.hi, 0))

    def moved(self, value: Tensor) -> Fixed:
        """The same elements in another order or shape."""
        return Fixed(value, self.e, self.lo, self.hi)


def fold_norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Batch norm in eval mode as x * g + b. Returns g, b: (C,) float64."""
    g = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return g, norm.bias.double() - norm.running_mean.double() * g


def vec(p: Tensor) -> Tensor:
    """A per-channel parameter of any shape as a float64 vector (C,)."""
    return p.detach().double().reshape(-1)
