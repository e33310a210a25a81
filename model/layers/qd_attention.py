"""Attention with quantized probabilities without division (paper equations 9 to 11, spec section 8.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bhvit.model.layers.fixed import Fixed
from bhvit.model.layers.float_parts import QD
from bhvit.model.numerics import Widths
from bhvit.model.quantizers import FixedConst


class QDAttention(nn.Module):
    """q, k, v (B, nW*T, C) of +-1 -> G (B, nW*T, C), integers: sum over keys of level * v, without the step alpha.

    e_j = table[(max_j - logit_j) / 2], S = sum e_j; level = number of k with c * e_j >= t_k * S, where c = 2**es, or
    c = -2**es and negated t_k for heads with a negative step.
    """

    def __init__(self, channels: int, heads: int, n_windows: int, tokens: int, bits: Widths) -> None:
        super().__init__()
        self.heads, self.dim, self.n_windows, self.tokens = heads, channels // heads, n_windows, tokens
        self.widths = bits
        self.table = FixedConst((self.dim + 1,), bits.exp_table, signed=False)
        self.c = FixedConst((heads, 1, 1), 16)
        self.t = nn.ModuleList(FixedConst((heads, 1, 1), bits.threshold + 1) for _ in range(3))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, nW*T, C) -> (B, nW, heads, T, d)."""
        return x.reshape(-1, self.n_windows, self.tokens, self.heads, self.dim).permute(0, 1, 3, 2, 4)

    def levels(self, q: Tensor, k: Tensor) -> Tensor:
        """Probability levels 0..3 (B, nW, heads, T, T) of +-1 heads q, k (B, nW, heads, T, d)."""
        logits = torch.matmul(q, k.transpose(-1, -2))
        top = torch.amax(logits, -1, keepdim=True)
        e = self.table()[((top - logits) * 0.5).to(torch.int64)]
        scaled = e * self.c()
        total = e.sum(-1, keepdim=True)
        level = (scaled >= total * self.t[0]()).to(q.dtype)
        for t in list(self.t)[1:]:
            level = level + (scaled >= total * t()).to(q.dtype)
        if self.training:
            p = torch.softmax(logits / math.sqrt(self.dim), -1)
            first, last = (self.t[k]().detach() / self.c().detach() for k in (0, 2))
            # levels step at probabilities t1 < t2 < t3: a line through them inside the range; where the three are one,
            # a line from 0 over it
            one = (last - first).abs() <= 1e-6
            slope = torch.where(one, 1.5 / first.where(first.abs() > 1e-6, torch.ones_like(first)),
                                2.0 / (last - first).where(~one, torch.ones_like(first)))
            surrogate = ((p - first) * slope + torch.where(one, 1.5, 0.5)).clamp(0, 3)
            level = level + (surrogate - surrogate.detach())
        return level

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        out = torch.matmul(self.levels(q, k), v).permute(0, 1, 3, 2, 4)
        return out.reshape(-1, self.n_windows * self.tokens, self.heads * self.dim)

    def calibrate(self, q: Tensor, k: Tensor, v: Tensor, quantizer: QD) -> Fixed:
        """Args: q, k, v: +-1; quantizer: of the float phase."""
        top = (1 << self.widths.exp_table) - 1
        x = torch.arange(self.dim + 1, dtype=torch.float64)
        self.table.set(torch.round(top * torch.exp(-2 * x / math.sqrt(self.dim))), 0)
        step = quantizer.hardware_step()
        sign = torch.where(step < 0, -torch.ones_like(step), torch.ones_like(step))
        limit = (1 << self.widths.threshold) - 1
        # P never exceeds 1, so thresholds above 1 mean never
        real = [t.clamp(-1.001, 1.001) for t in quantizer.thresholds()]
        largest = max(float(r.abs().max()) for r in real)
        es = 0
        while es < 13 and largest * 2.0 ** (es + 1) + 0.5 <= limit:
            es += 1
        self.c.set(sign * 2.0**es, 0)
        for const, r in zip(self.t, real):
            const.set(torch.round(r * sign * 2.0**es).clamp(-limit, limit), 0)
        g = self(q, k, v)
        return Fixed(g, 0, -3 * self.tokens, 3 * self.tokens)

    def worst_case(self) -> dict[str, float]:
        """Both sides of the comparison, and the sums."""
        table = self.table.integers().double()
        total = float(table.max()) * self.tokens
        t = max(float(c.integers().abs().max()) for c in self.t)
        return {"logit": float(self.dim), "sum of exponentials": total, "threshold * sum": t * total,
                "exponential << es": float(table.max()) * float(self.c.integers().abs().max())}
