"""Down-sampling between stages, binary or full precision (spec section 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed, fold_norm, sign_edge, vec
from bhvit.model.layers.float_parts import RPReLU, binary_conv, channel_norm, sign_act
from bhvit.model.layers.fused import norm_act, sign_move
from bhvit.model.layers.linear import BinaryLinear, IntLinear
from bhvit.model.layers.lookup import PositionEmbedding
from bhvit.model.layers.mlp import binary_terms
from bhvit.model.layers.shapes import patch_sum, patch_weight, patchify, tile
from bhvit.model.layers.threshold import Threshold


def repeat_channels(x: Tensor, out: int) -> Tensor:
    """Channels tiled to `out`, a last part cut where `out` is no multiple (the paper's networks double)."""
    c = int(x.shape[-1])
    if out % c == 0:
        return tile(x, out // c)
    return tile(x, out // c + 1).narrow(-1, 0, out)


class Downsample(nn.Module):
    """X (B, H, W, C) -> (B, H/2, W/2, C')."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        channels, out, side = c.widths[stage], c.widths[stage + 1], c.maps[stage + 1]
        self.binary, self.out = c.downsample == "binary", out
        self.norm0 = channel_norm(channels, c.downsample != "conv")
        if self.binary:
            self.move = nn.Parameter(torch.zeros(1, channels, 1, 1))
            self.proj = binary_conv(channels, out, 2, c.weight_sign == "centred", stride=2, bias=False)
            self.rprelu = RPReLU(out)
            self.sign = sign_act()
        else:
            self.proj = nn.Conv2d(channels, out, 2, 2, bias=False)
        self.norm = channel_norm(out, c.downsample != "conv")
        if c.downsample == "conv":
            self.register_buffer("position_embeddings", torch.zeros(1, side * side, out), persistent=False)
        else:
            self.position_embeddings = nn.Parameter(torch.empty(1, side * side, out))
            nn.init.trunc_normal_(self.position_embeddings, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm0(x)
        if self.binary:
            g = self.proj(sign_move(self.sign, u, self.move).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            pooled = F.avg_pool2d(u.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            y = norm_act(g, self.norm, self.rprelu, residual=repeat_channels(pooled, self.out))
        else:
            y = self.norm(self.proj(u.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return y + self.position_embeddings.reshape(1, y.shape[1], y.shape[2], -1)


class DeployedDownsample(nn.Module):
    """X (B, H, W, C) s8 -> (B, H/2, W/2, C') s8 in fixed point."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        channels, out, b = c.widths[stage], c.widths[stage + 1], c.bits
        self.binary, self.out = c.downsample == "binary", out
        self.norm = Epilogue(channels, b, b.activation, act=False)
        if self.binary:
            self.threshold = Threshold(channels, b)
            self.linear = BinaryLinear(4 * channels, out, b, b.activation, res1=True, ratio=4)
        else:
            self.linear = IntLinear(4 * channels, out, b, b.activation)
        self.position = PositionEmbedding(c.maps[stage + 1], out, b)

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm(x)
        if not self.binary:
            return self.position(self.linear(patchify(u, 2)))
        res = repeat_channels(patch_sum(patchify(u, 2), 4), self.out)
        return self.position(self.linear(patchify(self.threshold(u), 2), res))

    @staticmethod
    def edge(f: Downsample) -> Tensor | None:
        """Where the layer's decision falls in its input, (C,) float64."""
        return sign_edge(f.norm0, f.move) if f.binary else None

    def calibrate(self, f: Downsample, x: Fixed, edge: Tensor | None = None) -> Fixed:
        """Args: f: float layer; x: residual stream; edge: of the layer behind, see `Epilogue.finish`."""
        u = self.norm.calibrate(x, *fold_norm(f.norm0), edge=-vec(f.move) if self.binary else None)
        pos = f.position_embeddings.detach().double()
        patches = u.moved(patchify(u.value, 2))
        weight = patch_weight(f.proj.weight.detach())
        if self.binary:
            b = patchify(self.threshold.calibrate(u, vec(f.move)), 2)
            bias = None if u.bias is None else 4 * repeat_channels(u.bias, self.out)
            res = u.summed(repeat_channels(patch_sum(patches.value, 4), self.out), 4, bias)
            t = binary_terms(self.linear, b, f.proj, f.norm, f.rprelu)
            y = self.linear.epilogue.calibrate(*t[:3], res, *t[3:])
        else:
            g, beta = fold_norm(f.norm)
            y = self.linear.calibrate(patches, weight.double() * g[:, None], beta)
        side = int(y.value.shape[1])
        return self.position.calibrate(y, pos.reshape(side, side, -1), edge)
