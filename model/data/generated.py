"""Images without files: scikit-learn's digits, enlarged, and made-up ones."""

from __future__ import annotations

import numpy as np

from bhvit.errors import UserError

from .sets import Dataset, Spec, crc, stratified_split

RANDOM_COUNT = 64  # images of random:SEED when no count is asked for


def enlarge(images: np.ndarray, size: int, scale: int = 1, divisor: int = 1) -> np.ndarray:
    """Bilinear enlargement (pixel centres aligned, edges repeated) in exact integer arithmetic.

    images: (N, h, h, C) integers; returns uint8 (N, size, size, C) of round_half_up(value * scale / divisor).
    """
    side = images.shape[1]
    position = (2 * np.arange(size) + 1) * side - size  # in units of 1 / (2 size) pixels
    position = np.clip(position, 0, (side - 1) * 2 * size)
    low, part = position // (2 * size), position % (2 * size)
    high = np.minimum(low + 1, side - 1)
    wide = images.astype(np.int64)
    wide = wide[:, low] * (2 * size - part)[:, None, None] + wide[:, high] * part[:, None, None]
    wide = wide[:, :, low] * (2 * size - part)[:, None] + wide[:, :, high] * part[:, None]
    whole = divisor * (2 * size) ** 2
    return ((2 * scale * wide + whole) // (2 * whole)).astype(np.uint8)


def digits(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("The digits need scikit-learn.", str(spec), str(error),
                        "run `make setup`, or pip install scikit-learn") from error
    if image_size < 8:
        raise UserError("Digits are 8x8 pixels and only enlarged.", f"image_size {image_size}")
    bundle = load_digits()
    labels = bundle.target.astype(np.int64)
    chosen = stratified_split(labels, {"test": 0.2, "val": 0.1})[spec.split][:count]
    grey = bundle.images[chosen].astype(np.int64)[..., None]  # 0..16
    images = enlarge(grey, image_size, 255, 16)
    return Dataset(np.repeat(images, channels, -1), labels[chosen], str(spec), tuple("0123456789"))


def random_images(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    number = RANDOM_COUNT if count is None else count
    images = np.empty((number, image_size, image_size, channels), np.uint8)
    for i in range(number):
        images[i] = random_image(int(spec.arg), i, image_size, channels, spec.split)
    return Dataset(images, None, str(spec))


def random_image(seed: int, index: int, image_size: int, channels: int, split: str = "test") -> np.ndarray:
    """Image `index` of random:SEED, uint8 (S, S, C): coarse blocks plus fine noise, as in the golden recipe.

    A pixel is clip(round(128 + 48 * (0.5 * fine + coarse)), 0, 255), fine and the 7x7 coarse blocks standard
    normal; every image has generators of its own, so any number can be drawn in any order.
    """
    def normal(part: str, side: int) -> np.ndarray:
        state = np.random.RandomState(crc(f"random.{split}.{index}.{part}:{seed}"))
        return state.standard_normal((side, side, channels))

    block = np.arange(image_size) * 7 // image_size
    field = 0.5 * normal("fine", image_size) + normal("coarse", 7)[block][:, block]
    return np.clip(np.rint(128 + 48 * field), 0, 255).astype(np.uint8)
