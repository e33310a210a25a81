"""Small float-phase modules shared by the blocks; parameter names are those of the released state dict."""

from __future__ import annotations

import math

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from bhvit.model.quantizers import CentredBinaryWeight, exactly, sign_act


class ChannelNorm(nn.BatchNorm1d):
    """Batch norm over the last axis of any shape (..., C), eps 1e-5."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class RPReLU(nn.Module):
    """x (..., C) -> prelu(x - move1) + move2, slopes per channel (paper equation 7)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.move1 = nn.Parameter(torch.zeros(channels))
        self.move2 = nn.Parameter(torch.zeros(channels))
        self.prelu = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        z = x - self.move1
        # torch's PReLU takes channels in axis 1
        return self.prelu(z.reshape(-1, z.shape[-1])).reshape(z.shape) + self.move2


class LayerScale(nn.Module):
    """x (..., C) -> x * alpha + move."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((channels,), init))
        self.move = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.alpha + self.move


class Move(nn.Module):
    """Learned offset kept as a submodule, key `bias` (1, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))


def binary_linear(in_features: int, out_features: int) -> qnn.QuantLinear:
    """Float-phase binary linear (paper equation 1), no bias; weight initialised as torch does."""
    return qnn.QuantLinear(in_features, out_features, bias=False, weight_quant=CentredBinaryWeight)


def binary_conv(channels: int, out: int, kernel: int, **kw) -> qnn.QuantConv2d:
    """Float-phase binary convolution on signed NCHW maps."""
    return qnn.QuantConv2d(channels, out, kernel, weight_quant=CentredBinaryWeight, **kw)


class QD(nn.Module):
    """Quantization decomposition of attention probabilities: 3P (..., heads, T, T) -> alpha * level, level 0..3.

    Paper equations 10 and 11 with the released code's learned step and zero point per head.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(heads))
        self.zero_point = nn.Parameter(torch.zeros(heads))
        self.register_buffer("init_state", torch.zeros(1))
        # what init_state says, on the Python side: a look at the tensor would cut a compiled graph in two; None: unknown
        self._ready: bool | None = None

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._ready = None

    def _init(self, x: Tensor) -> None:
        with torch.no_grad():
            heads = x.shape[-3]
            per_head = x.movedim(-3, 0).reshape(heads, -1)
            self.alpha.fill_(float(2 * x.mean() / math.sqrt(3)))
            self.zero_point.copy_(0.9 * self.zero_point + 0.1 * per_head.min(1).values)
            self.init_state.fill_(1)

    def forward(self, p: Tensor) -> Tensor:
        x = 3 * p
        if self.training and not self._ready:
            if not bool(self.init_state):
                self._init(x)
            self._ready = True
        alpha, zero = self.alpha, self.zero_point
        if self.training:
            g = self.alpha.numel() / math.sqrt(3 * x.numel())
            alpha = exactly(alpha, alpha * g)
            zero = exactly(zero, zero * g)
        v = x / alpha[:, None, None] + zero[:, None, None]
        level = exactly(v.round(), v).clamp(0, 3)
        return alpha[:, None, None] * level


class GSB(nn.Module):
    """Group superposition binarization (released `--gsb`, spec 8.2): P (..., heads, T, T) -> A of the same shape."""

    def forward(self, p: Tensor, a: Tensor, a2: Tensor, a3: Tensor) -> Tensor:
        q = p / a
        top = q.amax(-1, keepdim=True)
        b0 = exactly(q.round(), q).clamp(0, 1)
        t2 = (q > 0.9 * top).to(p.dtype).detach()
        t1 = (q > 0.7 * top).to(p.dtype).detach()
        a, a2, a3 = (s.clamp(min=1e-5) for s in (a, a2, a3))
        return a * ((b0 - t1) + (t1 - t2) * a2 + t2 * a3)


__all__ = ["GSB", "QD", "ChannelNorm", "LayerScale", "Move", "RPReLU", "binary_conv", "binary_linear", "sign_act"]
