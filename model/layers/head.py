"""Head: batch norm, mean over the map, linear classifier (spec section 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed, fold_norm, vec
from bhvit.model.layers.linear import Classifier


class DeployedHead(nn.Module):
    """X (B, H, W, C) s8 -> logits (B, classes), integers * 2**e. The mean is an exact sum and a fixed multiplier."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        channels, self.tokens = c.widths[3], c.maps[3] ** 2
        self.norm = Epilogue(channels, c.bits, c.bits.activation, act=False)
        self.mean = Epilogue(channels, c.bits, c.bits.activation, act=False)
        self.classifier = Classifier(channels, c.classes, c.bits)

    def _sum(self, u: Tensor) -> Tensor:
        return u.reshape(-1, self.tokens, int(u.shape[-1])).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.mean(self._sum(self.norm(x))))

    def calibrate(self, norm: nn.Module, classifier: nn.Linear, x: Fixed) -> Fixed:
        """Args: norm, classifier: float layers; x: last map."""
        u = self.norm.calibrate(x, *fold_norm(norm))
        total = u.summed(self._sum(u.value), self.tokens)
        ones = torch.full((u.value.shape[-1],), 1.0 / self.tokens, dtype=torch.float64)
        feature = self.mean.calibrate(total, ones, torch.zeros_like(ones))
        return self.classifier.calibrate(feature, classifier.weight.detach().double(), vec(classifier.bias))
