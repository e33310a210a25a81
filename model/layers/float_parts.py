"""Small float-phase modules shared by the blocks; parameter names are those of the released state dict."""

from __future__ import annotations

import math

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from bhvit.model.layers import fused
from bhvit.model.quantizers import CentredBinaryWeight, UncentredBinaryWeight, exactly, sign_act


class ChannelNorm(nn.BatchNorm1d):
    """Batch norm over the last axis of any shape (..., C), eps 1e-5."""

    def forward(self, x: Tensor) -> Tensor:
        if fused.is_active():
            return fused.norm_act(x, norm=self)
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class NoNorm(nn.Module):
    """The identity (..., C) in the place of a norm, for variants of the paper that have none there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x


def channel_norm(channels: int, there: bool = True) -> ChannelNorm | NoNorm:
    """Batch norm, or the identity where a variant has none."""
    return (ChannelNorm if there else NoNorm)(channels)


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


def binary_linear(in_features: int, out_features: int, centred: bool = True) -> qnn.QuantLinear:
    """Float-phase binary linear (paper equation 1), no bias; weight initialised as torch does.

    centred: signs of weights minus their row's mean (released code), else of the weights (paper).
    """
    layer = qnn.QuantLinear(in_features, out_features, bias=False, weight_quant=_weight_quant(centred))
    layer.centred = centred
    return layer


def binary_conv(channels: int, out: int, kernel: int, centred: bool = True, **kw) -> qnn.QuantConv2d:
    """Float-phase binary convolution on signed NCHW maps; centred: as in `binary_linear`."""
    layer = qnn.QuantConv2d(channels, out, kernel, weight_quant=_weight_quant(centred), **kw)
    layer.centred = centred
    return layer


def _weight_quant(centred: bool) -> type:
    return CentredBinaryWeight if centred else UncentredBinaryWeight


class QD(nn.Module):
    """Quantization decomposition of attention probabilities: P (..., heads, T, T) -> alpha * level.

    level = round(top * P / alpha + zero_point), clipped to 0..top, top = 2**bits - 1. With two bits this is paper
    equation 10, learned step and zero point per head as in the released code, or without `learned` the fixed
    thresholds of the paper. With one bit it is equation 3, whose offset b is -zero_point * alpha.
    """

    def __init__(self, heads: int, bits: int = 2, learned: bool = True) -> None:
        super().__init__()
        self.top, self.learned = 2**bits - 1, learned
        for name, value in (("alpha", torch.ones(heads)), ("zero_point", torch.zeros(heads))):
            if learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value, persistent=False)
        if learned:
            self.register_buffer("init_state", torch.zeros(1))
        # what init_state says, on the Python side: to look at the tensor would cut a compiled graph; None: unknown
        self._ready: bool | None = None if learned else True

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._ready = None if self.learned else True

    def _init(self, x: Tensor) -> None:
        with torch.no_grad():
            heads = x.shape[-3]
            per_head = x.movedim(-3, 0).reshape(heads, -1)
            self.alpha.fill_(float(2 * x.mean() / math.sqrt(self.top)))
            self.zero_point.copy_(0.9 * self.zero_point + 0.1 * per_head.min(1).values)
            self.init_state.fill_(1)

    def forward(self, p: Tensor) -> Tensor:
        x = self.top * p
        if self.training and not self._ready:
            if not bool(self.init_state):
                self._init(x)
            self._ready = True
        alpha, zero = self.alpha, self.zero_point
        if self.training and self.learned:
            g = self.alpha.numel() / math.sqrt(self.top * x.numel())
            alpha = exactly(alpha, alpha * g)
            zero = exactly(zero, zero * g)
        v = x / alpha[:, None, None] + zero[:, None, None]
        level = exactly(v.round(), v).clamp(0, self.top)
        return alpha[:, None, None] * level

    # hardware counts three comparisons: a single bit is three equal ones, levels 0 and 3

    def thresholds(self) -> list[Tensor]:
        """Three (heads,) float64 probabilities: a hardware level more behind each (in front of it where alpha < 0)."""
        alpha, zero = self.alpha.detach().double(), self.zero_point.detach().double()
        return [(step - 0.5 - zero) * alpha / self.top for step in ((1, 2, 3) if self.top == 3 else (1, 1, 1))]

    def hardware_levels(self, p: Tensor) -> Tensor:
        """Levels 0..3 as hardware counts them, of probabilities p (..., heads, T, T)."""
        v = self.top * p / self.alpha[:, None, None] + self.zero_point[:, None, None]
        return v.round().clamp(0, self.top) * (3 // self.top)

    def hardware_step(self) -> Tensor:
        """What a hardware level stands for, (heads,) float64."""
        return self.alpha.detach().double() * self.top / 3


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


__all__ = ["GSB", "QD", "ChannelNorm", "LayerScale", "Move", "NoNorm", "RPReLU", "binary_conv", "binary_linear",
           "channel_norm", "sign_act"]
