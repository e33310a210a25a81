"""What calibration passes from layer to layer, and the folding of batch norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Fixed:
    """A fixed-point tensor during calibration.

    value: any shape, real values, multiples of 2**e. lo, hi: its integer range in LSBs, from formats, not from data.
    bias: (C,) float64, what each channel of the value holds on top of the quantity that it stands for (`edge_bias`);
    whoever uses the value takes it off in an offset of its own. None: nothing.
    """

    value: Tensor
    e: int
    lo: int
    hi: int
    bias: Tensor | None = None

    @property
    def bound(self) -> int:
        """Largest magnitude in LSBs."""
        return max(-self.lo, self.hi)

    def summed(self, value: Tensor, terms: int, bias: Tensor | None = None) -> Fixed:
        """`value` as an exact sum of at most `terms` elements of this tensor (zeros may replace some)."""
        return Fixed(value, self.e, terms * min(self.lo, 0), terms * max(self.hi, 0), bias)

    def moved(self, value: Tensor, bias: Tensor | None = None) -> Fixed:
        """The same elements in another order or shape."""
        return Fixed(value, self.e, self.lo, self.hi, bias)


def edge_bias(edge: Tensor, e: int) -> Tensor:
    """How far to move the rounding of a quantizer so that a decision behind it falls between two of its values.

    Rounding to nearest puts its steps at odd multiples of half an LSB. A threshold elsewhere cannot tell apart the
    values between it and the next step; moved by this bias (at most half an LSB), the step is the threshold.

    Args: edge: (C,) float64, where the decision falls in the quantized tensor; e: exponent of the quantizer.
    Returns: (C,) float64, to be added in front of the quantizer; its values then are larger by as much on average.
    """
    place = edge * 2.0**-e + 0.5
    return (torch.floor(place + 0.5) - place) * 2.0**e


def fold_norm(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Batch norm (or no norm) in eval mode as x * g + b. Returns g, b: (C,) float64."""
    if not hasattr(norm, "running_var"):  # float_parts.NoNorm
        return torch.ones(norm.channels, dtype=torch.float64), torch.zeros(norm.channels, dtype=torch.float64)
    g = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return g, norm.bias.double() - norm.running_mean.double() * g


def sign_edge(norm: nn.Module, move: Tensor) -> Tensor:
    """Where sign(norm(x) + move) changes, (C,) float64 in x; 0 for channels without slope. norm: batch norm."""
    g, b = fold_norm(norm)
    return torch.where(g.abs() > 1e-9, -(b + vec(move)) / torch.where(g.abs() > 1e-9, g, 1.0), 0.0)


def vec(p: Tensor) -> Tensor:
    """A per-channel parameter of any shape as a float64 vector (C,)."""
    return p.detach().double().reshape(-1)
