"""Random networks with diverse outputs: the parameters and images of the golden recipe, for any configuration.

A tensor with state-dict key K gets numpy's legacy generator RandomState(crc32("K:SEED") & 0x7fffffff), so its values
depend on nothing but key, shape and seed. The rules are ordered; the first that matches the key wins.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch

PIXELS = 1 << 19  # calibration images: as many as have about so many pixels, at least 8, at most 32
WIDE_NORMS = ("layernorm_before", "layernorm_after", "norm0")  # see the variance of residual streams


def generator(key: str, seed: int) -> np.random.RandomState:
    """The generator of one tensor."""
    return np.random.RandomState(zlib.crc32(f"{key}:{seed}".encode()) & 0x7FFFFFFF)


def recipe_tensor(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The tensor of a state-dict key: float32 of that shape (int64 1 for num_batches_tracked)."""
    path = key.split(".")
    last, parent = path[-1], path[-2] if len(path) > 1 else ""
    if last == "num_batches_tracked":
        return np.ones(shape, np.int64)
    if last == "init_state":
        return np.ones(shape, np.float32)
    draw = generator(key, seed)

    def normal(scale: float) -> np.ndarray:
        return np.asarray(scale * draw.standard_normal(shape)).astype(np.float32)

    def uniform(low: float, high: float) -> np.ndarray:
        return np.asarray(low + (high - low) * draw.random_sample(shape)).astype(np.float32)

    if last == "running_mean":
        return normal(0.1)
    if last == "running_var":
        wide = parent in WIDE_NORMS or key == "vit.layernorm.running_var"
        return uniform(2, 6) if wide else uniform(0.5, 1.5)
    if key.endswith("prelu.weight"):
        return uniform(0.1, 0.4)
    if key.endswith("att_prob_quantizer.alpha"):
        return uniform(0.03, 0.15)
    if last == "zero_point":
        return uniform(-0.3, 0.3)
    if last == "att_prob_clip":
        return uniform(0.01, 0.2)
    if last in ("att_prob_clip2", "att_prob_clip3"):
        return uniform(0.5, 1.5)
    if last == "alpha":
        return normal(0.15)
    if last in ("a1", "parm"):
        return uniform(0.3, 0.7)
    if last == "position_embeddings":
        return normal(0.02)
    if last.startswith("move"):
        return normal(0.02 if last == "move" and parent.startswith("layerscale") else 0.1)
    if last == "bias":
        return normal(0.1)
    if last == "weight":
        if len(shape) == 1:
            return uniform(0.5, 1.5)
        if key == "vit.embeddings.patch_embeddings.proj.weight":
            return normal(0.15)
        if len(shape) in (2, 4):
            return normal(0.05)
    raise KeyError(f"the recipe has no rule for the key {key} of shape {tuple(shape)}")


def recipe_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """All tensors of a state dict, given its keys and shapes."""
    return {key: torch.from_numpy(np.asarray(recipe_tensor(key, tuple(shape), seed)))
            for key, shape in shapes.items()}


def state_crc(state: Mapping[str, torch.Tensor]) -> int:
    """Running crc32 over the little-endian bytes of all tensors in the order of their keys."""
    value = 0
    for key in sorted(state):
        value = zlib.crc32(np.ascontiguousarray(state[key].numpy()).tobytes(), value)
    return value


def recipe_images(image_size: int, channels: int, seed: int, count: int = 2) -> np.ndarray:
    """The recipe's images, float32 NCHW (count, channels, S, S): fine noise plus 7x7 coarse blocks, not normalized.

    With count 2, 3 channels and 224 pixels these are the images of the golden vectors.
    """
    fine = generator("input.fine", seed).standard_normal((count, channels, image_size, image_size))
    coarse = generator("input.coarse", seed).standard_normal((count, channels, 7, 7))
    block = np.arange(image_size) * 7 // image_size
    return (0.5 * fine + coarse[:, :, block][:, :, :, block]).astype(np.float32)


def calibration_images(cfg, seed: int, count: int | None = None) -> np.ndarray:
    """The recipe's images as the network takes them: uint8 (count, S, S, C), such that the stem's normalization
    gives the recipe's values back, up to rounding and clipping to 0..255. Default count: 8 to 32, by their size."""
    count = count or min(32, max(8, PIXELS // cfg.image_size**2))
    images = recipe_images(cfg.image_size, cfg.image_channels, seed, count).transpose(0, 2, 3, 1)
    pixels = (images * np.asarray(cfg.std) + np.asarray(cfg.mean)) * 255
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def recipe_float_state(cfg, seed: int) -> dict[str, torch.Tensor]:
    """The recipe's parameters of a configuration's float phase: name -> tensor."""
    from bhvit.model.network import BHViT

    return recipe_state({key: tuple(value.shape) for key, value in BHViT(cfg).state_dict().items()}, seed)


def random_network(cfg, seed: int):
    """A frozen network with the recipe's parameters, its scales calibrated on the recipe's images.

    cfg: ModelConfig; seed: of parameters and images. Returns a BHViT in eval mode, on the CPU. The recipe was made
    for the paper's networks; narrower ones keep its rules unchanged. Their outputs still differ between images and all
    four attention levels occur, though with few tokens per window the low levels are rare, because the recipe's
    attention steps suit rows of about 50 probabilities.
    """
    from bhvit.model.evaluate import as_input
    from bhvit.model.network import BHViT

    net = BHViT(cfg)
    net.load_state_dict(recipe_float_state(cfg, seed))
    net.eval()
    net.freeze(as_input(calibration_images(cfg, seed)))
    return net.eval()
