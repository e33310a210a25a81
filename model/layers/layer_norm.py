"""LayerNorm of window tokens, exact: integer sums, one integer reciprocal square root per token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bhvit.model.layers.epilogue import Epilogue, Flips
from bhvit.model.layers.fixed import Fixed, vec
from bhvit.model.numerics import Widths, exponent_mse
from bhvit.model.quantizers import FixedQuant, floor_ste


class LayerNorm(nn.Module):
    """x (..., C) -> h (..., C), in float64 until n.

    S = sum x, Q = sum x^2 (integers), V = C*Q - S^2 + E, r = floor(2^k / sqrt(V) + 1/2),
    n = Quant(((C*x - S) * r) >> s1), h = Quant(n * m + o).
    """

    def __init__(self, channels: int, bits: Widths) -> None:
        super().__init__()
        self.channels, self.k = channels, bits.layer_norm_k
        self.n = FixedQuant(bits.layer_norm)
        self.affine = Epilogue(channels, bits, bits.activation, act=False)
        # input exponent, E, input bound
        self.register_buffer("inputs", torch.zeros(3, dtype=torch.int64))

    @property
    def s1(self) -> int:
        """Right shift of the product."""
        return self.k + self.n.exponent

    def _normalised(self, x: Tensor) -> Tensor:
        """(C*x - S) * r as float64 integers, any k <= 23 exactly."""
        e, eps, _ = (int(v) for v in self.inputs)
        x = x.to(torch.float64) * 2.0**-e
        total = x.sum(-1, keepdim=True)
        square = (x * x).sum(-1, keepdim=True)
        variance = square * float(self.channels) - total * total + float(eps)
        r = floor_ste(float(1 << self.k) / torch.sqrt(variance) + 0.5)
        return (x * float(self.channels) - total) * r

    def forward(self, x: Tensor) -> Tensor:
        n = floor_ste(self._normalised(x) * 2.0**-self.s1).to(torch.float32)
        return self.affine(self.n(n * 2.0**self.n.exponent))

    def calibrate(self, x: Fixed, norm: nn.LayerNorm, flips: Flips | None = None) -> Fixed:
        """Args: x: tokens; norm: the float layer; flips: see `Epilogue.calibrate`."""
        eps = max(1, round(norm.eps * self.channels**2 / 4.0**x.e))
        self.inputs.copy_(torch.tensor([x.e, eps, x.bound]))
        real = self._normalised(x.value) * 2.0**-self.k
        self.n.set_exponent(max(exponent_mse(real, self.n.bits), -self.k))
        n = self.n(floor_ste(real * 2.0**-self.n.exponent).to(torch.float32) * 2.0**self.n.exponent)
        # FLOOR lowers n by half an LSB on average
        m, o = vec(norm.weight), vec(norm.bias)
        half = 2.0 ** (self.n.exponent - 1) if self.s1 > 0 else 0.0
        return self.affine.calibrate(Fixed(n, self.n.exponent, *self.n.limits), m, o + m * half, flips=flips)

    def worst_case(self) -> dict[str, float]:
        """The float64 part is bounded by 2^53; what is reported is the width of the integers that it holds."""
        _, eps, x = (int(v) for v in self.inputs)
        c = self.channels
        variance = c * c * x * x + eps
        product = math.isqrt(c) + 1
        bits = max(math.log2(variance), self.k + math.log2(product) + 1)
        if bits >= 53:
            raise ValueError(f"LayerNorm of {c} channels needs {bits:.0f} bits, more than float64 holds exactly; use "
                             "token_norm: batch or a smaller bits.layer_norm_k")
        return {}
