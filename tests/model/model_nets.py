"""Small lively networks for the model tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bhvit.model.network import BHViT

CONFIGS = Path(__file__).parent / "configs"


def random_float(config, seed: int = 0) -> tuple[BHViT, torch.Tensor]:
    """A float network with lively parameters (negative BN slopes, active shift branches) and its images."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = BHViT(config)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "layerscale" in name and name.endswith("alpha"):
                p.normal_(0, 0.15)
            elif "move" in name:
                p.normal_(0, 0.1)
            elif name.endswith("prelu.weight"):
                p.uniform_(0.1, 0.4)
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm1d):
                m.weight.uniform_(0.5, 1.5)
                m.bias.normal_(0, 0.1)
                m.weight[::5] *= -1
    images = lively_images(config, 16, seed)
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(images)
    return net.eval(), images


def lively_images(config, count: int, seed: int = 0) -> torch.Tensor:
    """uint8-valued images with coarse structure and noise."""
    rng = np.random.default_rng(seed)
    side, ch = config.image_size, config.image_channels
    coarse = rng.integers(0, 256, (count, 4, 4, ch)).repeat(-(-side // 4), 1).repeat(-(-side // 4), 2)[:, :side, :side]
    noise = rng.integers(-60, 60, (count, side, side, ch))
    return torch.as_tensor(np.clip(coarse + noise, 0, 255)).float()
