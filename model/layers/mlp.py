"""MLP with shift branches (paper equation 13, spec section 5), the second half of every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers import fused
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed, fold_norm, vec
from bhvit.model.layers.float_parts import ChannelNorm, LayerScale, RPReLU, binary_linear, channel_norm, sign_act
from bhvit.model.layers.fused import norm_act, sign_move
from bhvit.model.layers.linear import BinaryLinear
from bhvit.model.layers.shapes import channel_sum, patch_weight, shifted, tile
from bhvit.model.layers.shift import BRANCHES, Shift, branch_taps
from bhvit.model.layers.threshold import Threshold
from bhvit.model.numerics import Widths
from bhvit.model.quantizers import centred_binary


def latent(layer: nn.Module) -> Tensor:
    """What a float-phase binary layer takes signs of: its weight (out, ...), centred by row unless plain, float64."""
    w = layer.weight.detach().double()
    rows = w.reshape(w.shape[0], -1)
    return (rows - rows.mean(1, keepdim=True)).reshape(w.shape) if layer.centred else w


def row_scale(w: Tensor) -> Tensor:
    """Scales (out,) float64 of a latent binary weight."""
    return centred_binary(w.detach().double())[1].reshape(-1)


class Intermediate(nn.Module):
    """h = RPReLU(BN(BLin(U + move)) + tile(U)): (..., C) -> (..., I)."""

    def __init__(self, channels: int, hidden: int, centred: bool = True) -> None:
        super().__init__()
        self.move = nn.Parameter(torch.zeros(channels))
        self.dense = binary_linear(channels, hidden, centred)
        self.norm = ChannelNorm(hidden)
        self.rprelu = RPReLU(hidden)
        self.sign = sign_act()

    def forward(self, u: Tensor) -> Tensor:
        return norm_act(self.dense(sign_move(self.sign, u, self.move)), self.norm, self.rprelu, residual=u)


class Output(nn.Module):
    """M = LS(RPReLU(BN(BLin(h + move)) + pool(h))) [+ second]: (..., I) -> (..., C)."""

    def __init__(self, channels: int, hidden: int, centred: bool = True) -> None:
        super().__init__()
        self.move = nn.Parameter(torch.zeros(hidden))
        self.dense = binary_linear(hidden, channels, centred)
        self.norm = ChannelNorm(channels)
        self.rprelu = RPReLU(channels)
        self.layerscale = LayerScale(channels, 0.1)
        self.sign, self.ratio = sign_act(), hidden // channels

    def forward(self, h: Tensor, second: Tensor | None = None) -> Tensor:
        b, pooled = sign_move(self.sign, h, self.move, self.ratio)
        return norm_act(self.dense(b), self.norm, self.rprelu, self.layerscale, residual=pooled, second=second)


class MlpMixin(nn.Module):
    """Adds the MLP's parameters and `mlp(Y)` to a block, under the released names."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        channels, hidden, centred = c.widths[stage], c.widths[stage] * c.mlp_ratios[stage], c.weight_sign == "centred"
        self.layernorm_after = channel_norm(channels, c.pre_norm)
        self.intermediate = Intermediate(channels, hidden, centred)
        self.output = Output(channels, hidden, centred)
        self.shift = c.shift
        for b in BRANCHES if c.shift != "off" else ():
            self.add_module(f"layerscale_{b}", LayerScale(channels, 0.0))

    def shift_scales(self) -> dict[str, LayerScale]:
        """LayerScale of every shift branch there is."""
        return {} if self.shift == "off" else {b: getattr(self, f"layerscale_{b}") for b in BRANCHES}

    def shift_branches(self, u: Tensor) -> Tensor:
        """Sum of the shift branches of u (B, H, W, C)."""
        if self.shift == "off":
            return torch.zeros_like(u)
        u3 = {d: shifted(u, *d) for d in ((-1, 0), (1, 0), (0, -1), (0, 1))}
        u5 = {d: shifted(u, *d) for d in ((-2, 0), (2, 0), (0, -2), (0, 2))}
        q = u.shape[-1] // 4

        def mix(maps: dict, r: int) -> Tensor:
            order = ((-r, 0), (r, 0), (0, -r), (0, r))
            return torch.cat([maps[d][..., i * q:(i + 1) * q] for i, d in enumerate(order)], -1)

        if self.shift == "pure":
            out = self.layerscale_h3(u3[-1, 0]) + self.layerscale_w3(u3[0, -1]) + self.layerscale_ch3(mix(u3, 1))
            out = out + self.layerscale_h5(u5[-2, 0]) + self.layerscale_w5(u5[0, -2])
            return out + self.layerscale_ch5(mix(u5, 2))
        h3, w3 = u3[-1, 0] + u + u3[1, 0], u3[0, -1] + u + u3[0, 1]
        out = self.layerscale_h3(h3 / 3) + self.layerscale_w3(w3 / 3) + self.layerscale_ch3(mix(u3, 1))
        out = out + self.layerscale_h5((h3 + u5[-2, 0] + u5[2, 0]) / 5)
        out = out + self.layerscale_w5((w3 + u5[0, -2] + u5[0, 2]) / 5)
        return out + self.layerscale_ch5(mix(u5, 2))

    def shifted_residual(self, u: Tensor, y: Tensor) -> Tensor:
        """y + the shift branches of u, both (B, H, W, C), as one stencil: the form of hardware."""
        scales = self.shift_scales()
        coef = sum(branch_taps(b, u.shape[-1], self.shift).float() * s.alpha for b, s in scales.items())
        return fused.cross(u, coef, sum(s.move for s in scales.values()), y)

    def mlp(self, y: Tensor) -> Tensor:
        """Y (B, H, W, C) -> next residual stream."""
        u = self.layernorm_after(y)
        if fused.is_active() and self.shift != "off":
            return self.output(self.intermediate(u), self.shifted_residual(u, y))
        return y + self.output(self.intermediate(u)) + self.shift_branches(u)


class DeployedMlp(nn.Module):
    """Y (B, H, W, C) s8 -> X' s8 in fixed point."""

    def __init__(self, channels: int, ratio: int, bits: Widths) -> None:
        super().__init__()
        hidden = channels * ratio
        self.ratio = ratio
        self.norm = Epilogue(channels, bits, bits.activation, act=False)
        self.shift = Shift(channels, bits)
        self.threshold1 = Threshold(channels, bits)
        self.fc1 = BinaryLinear(channels, hidden, bits, bits.activation, res1=True)
        self.threshold2 = Threshold(hidden, bits)
        self.fc2 = BinaryLinear(hidden, channels, bits, bits.residual, res1=True, ratio=ratio, res2=True,
                                slope_bits=bits.layerscale_slope)

    def forward(self, y: Tensor) -> Tensor:
        u = self.norm(y)
        v = self.shift(u, y)
        h = self.fc1(self.threshold1(u), tile(u, self.ratio))
        return self.fc2(self.threshold2(h), channel_sum(h, self.ratio), v)

    def calibrate(self, f: MlpMixin, y: Fixed, edge: Tensor | None = None) -> Fixed:
        """Args: f: the float block; y: residual stream; edge: see `Epilogue.finish`."""
        r = self.ratio
        move1, move2 = vec(f.intermediate.move), vec(f.output.move)
        u = self.norm.calibrate(y, *fold_norm(f.layernorm_after), edge=-move1)
        v = self.shift.calibrate(u, y, f.shift_scales(), f.shift)
        b = self.threshold1.calibrate(u, move1)
        res = u.moved(tile(u.value, r), None if u.bias is None else u.bias.repeat(r))
        h = calibrate_binary(self.fc1, b, f.intermediate, res, edge=-move2)
        b = self.threshold2.calibrate(h, move2)
        res = h.summed(channel_sum(h.value, r), r, None if h.bias is None else h.bias.reshape(-1, r).sum(1))
        return calibrate_binary(self.fc2, b, f.output, res, v, edge)


def calibrate_binary(layer: BinaryLinear, b: Tensor, f: nn.Module, res1: Fixed, res2: Fixed | None = None,
                     edge: Tensor | None = None) -> Fixed:
    """Calibrates binary linear + BN + residual + RPReLU [+ LayerScale] [+ residual] from float module `f`; edge: see
    `Epilogue.finish`."""
    terms = binary_terms(layer, b, f.dense, f.norm, f.rprelu, getattr(f, "layerscale", None))
    return layer.epilogue.calibrate(*terms[:3], res1, *terms[3:], res2, edge=edge)


def binary_terms(layer: BinaryLinear, b: Tensor, f: nn.Module, norm: nn.Module, act: RPReLU,
                 scale: LayerScale | None = None) -> tuple[Fixed, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Accumulator and targets m, o, p, n, o2 (float64 vectors) of BN, RPReLU and LayerScale after a binary layer.

    f: the float linear, or a convolution whose stride is its kernel.
    """
    w = latent(f)
    acc = layer.accumulate(b, w if w.dim() == 2 else patch_weight(w))
    g, beta = fold_norm(norm)
    p = torch.ones_like(g) if scale is None else vec(scale.alpha)
    o2 = vec(act.move2) * p + (0.0 if scale is None else vec(scale.move))
    return acc, g * row_scale(f.weight), beta - vec(act.move1), p, p * vec(act.prelu.weight), o2
