"""Stem: patch convolution, batch norm, GELU, position embedding (paper equation 5, spec section 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers.fixed import Fixed, fold_norm, vec
from bhvit.model.layers.float_parts import ChannelNorm
from bhvit.model.layers.linear import IntLinear
from bhvit.model.layers.lookup import GeluTable, PositionEmbedding
from bhvit.model.layers.shapes import patch_weight, patchify


class Stem(nn.Module):
    """Normalised image (B, S, S, Cin) -> (B, H, H, C), H = S / patch."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        side, channels = c.maps[0], c.widths[0]
        self.patch_embeddings = nn.Module()
        self.patch_embeddings.proj = nn.Conv2d(c.image_channels, channels, c.stem_patch, c.stem_patch)
        self.patch_embeddings.norm = ChannelNorm(channels)
        self.position_embeddings = nn.Parameter(torch.empty(1, channels, side, side))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch_embeddings
        y = p.norm(p.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return F.gelu(y) + self.position_embeddings.permute(0, 2, 3, 1)


class DeployedStem(nn.Module):
    """uint8 pixels (B, S, S, Cin) -> X (B, H, H, C) s8; the input normalisation is folded into the weights."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.patch = c.stem_patch
        self.linear = IntLinear(c.stem_patch**2 * c.image_channels, c.widths[0], c.bits, c.bits.activation)
        self.gelu = GeluTable(c.bits)
        self.position = PositionEmbedding(c.maps[0], c.widths[0], c.bits)

    def forward(self, x: Tensor) -> Tensor:
        return self.position(self.gelu(self.linear(patchify(x, self.patch))))

    def calibrate(self, f: Stem, images: Tensor, mean: Tensor, std: Tensor, edge: Tensor | None = None) -> Fixed:
        """Args: f: float stem; images: uint8-valued; mean, std: (Cin,) float64 on the 0..1 scale; edge: of the layer
        behind, see `Epilogue.finish`."""
        conv = f.patch_embeddings.proj
        g, beta = fold_norm(f.patch_embeddings.norm)
        w = conv.weight.detach().double()
        o = g * (vec(conv.bias) - (w.sum((2, 3)) * (mean / std)).sum(1)) + beta
        w = patch_weight(w / (255 * std)[:, None, None]) * g[:, None]
        y = self.linear.calibrate(Fixed(patchify(images, self.patch), 0, 0, 255), w, o)
        pos = f.position_embeddings.detach().double()[0].permute(1, 2, 0)
        return self.position.calibrate(self.gelu.calibrate(y), pos, edge)
