"""Augmentation of whole batches at once, on any device; every random number comes from numpy's frozen RandomState.

A shift is nothing but an index per row and per column, so shifting, padding and mirroring are one gather from the
stored uint8 images. Results are whole numbers 0..255, as the network's input demands.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bhvit.model.train.options import TrainConfig


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor on a device; a GPU gets it in its turn, while the CPU goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def augment(images, draw: np.random.RandomState, shift: float, flip: bool, padding: str = "edge",
            chosen: np.ndarray | None = None) -> Tensor:
    """Shift each image by up to `shift` of its side in both directions and mirror half of them.

    images: uint8 (M, S, S, C), array or tensor; chosen: indices (N,) of the images to take, default all, in order;
    padding: edge, reflect or zero. Returns uint8 (N, S, S, C) on the images' device.
    """
    images = torch.as_tensor(images)
    count, side = len(images) if chosen is None else len(chosen), images.shape[1]
    reach = round(shift * side)
    offsets = draw.randint(-reach, reach + 1, (count, 2))
    mirrored = (draw.random_sample(count) < 0.5) & flip
    place = np.arange(side)
    rows = offsets[:, :1] + place
    columns = offsets[:, 1:] + np.where(mirrored[:, None], place[::-1], place)
    outside = None
    if padding == "zero" and reach:
        inside_rows, inside_columns = ((x >= 0) & (x < side) for x in (rows, columns))
        outside = ~(inside_rows[:, :, None] & inside_columns[:, None, :])
    if padding == "reflect":
        rows, columns = (side - 1 - np.abs(side - 1 - np.abs(x)) for x in (rows, columns))
    rows, columns = rows.clip(0, side - 1), columns.clip(0, side - 1)
    number = np.arange(count) if chosen is None else chosen
    rows = upload(number[:, None] * side + rows, images.device)
    flat = rows[:, :, None] * side + upload(columns, images.device)[:, None, :]
    taken = images.reshape(-1, images.shape[3]).index_select(0, flat.reshape(-1)).reshape(count, side, side, -1)
    if outside is not None:
        taken.masked_fill_(upload(outside, taken.device)[..., None], 0)
    return taken


def boxes(draw: np.random.RandomState, count: int, smallest: float) -> np.ndarray:
    """Random crops as in RandomResizedCrop: float (count, 4) of top, left, height, width, in parts of the side.

    The area is uniform in smallest..1, the aspect ratio log-uniform in 3/4..4/3 (Szegedy et al. 2015, as used for
    ImageNet ever since); sides are cut at 1.
    """
    area = draw.uniform(smallest, 1.0, count)
    ratio = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3), count))
    height, width = np.minimum(np.sqrt(area / ratio), 1), np.minimum(np.sqrt(area * ratio), 1)
    top, left = draw.random_sample((2, count)) * (1 - np.stack([height, width]))
    return np.stack([top, left, height, width], 1)


def resized_crops(images: Tensor, box: np.ndarray, mirrored: np.ndarray) -> Tensor:
    """Cut the boxes (N, 4) out of uint8 images (N, S, S, C) and bring them to S x S (bilinear), mirrored or not."""
    top, left, height, width = box.T
    scale = np.where(mirrored, -width, width)
    matrix = np.zeros((len(box), 2, 3), np.float32)
    matrix[:, 0, 0], matrix[:, 0, 2] = scale, 2 * left + width - 1
    matrix[:, 1, 1], matrix[:, 1, 2] = height, 2 * top + height - 1
    return _warp(images, matrix, "reflection")


def _warp(images: Tensor, matrix: np.ndarray, padding: str = "zeros") -> Tensor:
    """uint8 (N, S, S, C) seen through affine maps (N, 2, 3) on coordinates -1..1, bilinear."""
    planes = images.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(torch.from_numpy(matrix).to(images.device), list(planes.shape), align_corners=False)
    seen = functional.grid_sample(planes, grid, padding_mode=padding, align_corners=False)
    return seen.permute(0, 2, 3, 1).round_().clamp_(0, 255).to(torch.uint8)


def erase(images: Tensor, draw: np.random.RandomState, probability: float) -> Tensor:
    """Replace one random rectangle of some images by noise: area 2 to 33 %, aspect ratio 0.3 to 3.3 (Zhong et al.,
    "Random erasing data augmentation", 2020). images: uint8 (N, S, S, C)."""
    count, side = images.shape[:2]
    hit = draw.random_sample(count) < probability
    area, ratio = draw.uniform(0.02, 1 / 3, count), np.exp(draw.uniform(np.log(0.3), np.log(3.3), count))
    mask = rectangles(draw, np.sqrt(area * ratio), np.sqrt(area / ratio), side) & hit[:, None, None]
    noise = draw.randint(0, 256, images.shape).astype(np.uint8)
    return torch.where(torch.from_numpy(mask).to(images.device)[..., None],
                       torch.from_numpy(noise).to(images.device), images)


def rectangles(draw: np.random.RandomState, height: np.ndarray, width: np.ndarray, side: int) -> np.ndarray:
    """Masks (N, S, S), true inside a rectangle of that height and width (parts of the side) around a random centre;
    what sticks out is cut off."""
    masks = []
    for part in (height, width):
        length = np.rint(part * side)
        first = draw.randint(0, side, len(part)) - length // 2
        place = np.arange(side)[None]
        masks.append((place >= first[:, None]) & (place < (first + length)[:, None]))
    return masks[0][:, :, None] & masks[1][:, None, :]


OPERATIONS = ("none", "brightness", "contrast", "colour", "posterize", "solarize", "rotate", "shear", "translate")


def change(images: Tensor, draw: np.random.RandomState) -> Tensor:
    """One random operation of `OPERATIONS` at a random strength per image (the idea of TrivialAugment, Mueller and
    Hutter 2021, with operations that work on whole batches). images: uint8 (N, S, S, C)."""
    count = len(images)
    kind = draw.randint(0, len(OPERATIONS), count)
    strength, sign = draw.random_sample(count), draw.choice((-1.0, 1.0), count)
    result = images.clone()
    for number, name in enumerate(OPERATIONS[1:], 1):
        which = np.flatnonzero(kind == number)
        if len(which):
            at = torch.from_numpy(which).to(images.device)
            result[at] = _operation(name, images[at], strength[which], sign[which])
    return result


def _operation(name: str, images: Tensor, strength: np.ndarray, sign: np.ndarray) -> Tensor:
    if name in ("rotate", "shear", "translate"):
        matrix = np.tile(np.eye(2, 3, dtype=np.float32), (len(images), 1, 1))
        if name == "rotate":
            angle = sign * strength * np.pi / 6
            matrix[:, 0, 0] = matrix[:, 1, 1] = np.cos(angle)
            matrix[:, 0, 1], matrix[:, 1, 0] = -np.sin(angle), np.sin(angle)
        elif name == "shear":
            matrix[:, 0, 1] = sign * strength * 0.4
        else:
            matrix[:, 0, 2], matrix[:, 1, 2] = sign * strength * 0.6, -sign * strength[::-1] * 0.6
        return _warp(images, matrix)
    power = torch.from_numpy(strength.astype(np.float32)).to(images.device)[:, None, None, None]
    if name == "posterize":
        keep = 8 - (power * 5).floor().to(torch.int32)  # 8 to 4 bits
        return ((images.to(torch.int32) >> (8 - keep)) << (8 - keep)).to(torch.uint8)
    if name == "solarize":
        return torch.where(images.float() >= 256 * (1 - power * 0.8), 255 - images, images)
    values = images.float()
    grey = values.mean(3, keepdim=True)
    centre = {"brightness": torch.zeros_like(grey), "contrast": grey.mean((1, 2), keepdim=True), "colour": grey}[name]
    factor = 1 + torch.from_numpy(sign.astype(np.float32)).to(images.device)[:, None, None, None] * power * 0.8
    return (centre + (values - centre) * factor).round_().clamp_(0, 255).to(torch.uint8)


def mix(images: Tensor, partners: Tensor, draw: np.random.RandomState, options: TrainConfig,
        mine: np.ndarray, count: int) -> tuple[Tensor, np.ndarray]:
    """Mixup and CutMix, each image with its partner: (images, share of the own image (N,)).

    images, partners: float (N, S, S, C) whole numbers; mine: their places (N,) in a batch of `count`, for which the
    random numbers are drawn, so that several processes draw alike. Zhang et al. 2018; Yun et al. 2019.
    """
    side = images.shape[1]
    mixed = draw.random_sample(count) < options.mix_probability
    cut = draw.random_sample(count) < (0.5 if options.mixup > 0 and options.cutmix > 0 else float(options.cutmix > 0))
    shares = [draw.beta(alpha, alpha, count) if alpha > 0 else np.ones(count)
              for alpha in (options.mixup, options.cutmix)]
    length = np.sqrt(1 - shares[1])
    mask = rectangles(draw, length, length, side) & (cut & mixed)[:, None, None]
    share = np.where(cut, 1 - mask.mean((1, 2)), shares[0])
    share = np.where(mixed, share, 1.0)
    mask, share, cut = mask[mine], share[mine], cut[mine]
    blend = upload(np.where(cut, 1.0, share).astype(np.float32), images.device)[:, None, None, None]
    result = (images * blend + partners * (1 - blend)).round_()
    return torch.where(upload(mask, images.device)[..., None], partners, result), share
