"""A small convolutional network: a teacher for small images that trains in a few epochs, where none is at hand.

Three blocks of two 3x3 convolutions with batch norm, GELU and pooling; the shape is the one of Jordan, "94% on
CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498), 1.97 million parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.errors import UserError

WIDTHS = (24, 64, 256, 256)


class ConvNet(nn.Module):
    """Images (B, S, S, C), values 0..255, S at least 9 -> logits (B, classes).

    cfg: the ModelConfig of the student. Raises UserError for smaller images.
    """

    def __init__(self, cfg) -> None:
        super().__init__()
        if cfg.image_size < 9:
            raise UserError("The images are too small for a convolutional teacher.", f"image_size {cfg.image_size}",
                            "three poolings leave nothing of a side below 9",
                            "take the full-precision twin as a teacher")
        stem, *widths = WIDTHS
        layers: list[nn.Module] = [nn.Conv2d(cfg.image_channels, stem, 2), nn.GELU()]
        for width in widths:
            layers += [nn.Conv2d(stem, width, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width),
                       nn.GELU(), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
            stem = width
        self.features = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.head = nn.Linear(stem, cfg.classes)
        self.register_buffer("mean", torch.tensor(cfg.mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg.std).reshape(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = (images.permute(0, 3, 1, 2) / 255 - self.mean) / self.std  # NHWC in memory: channels last
        return self.head(self.features(x).amax((2, 3)))
