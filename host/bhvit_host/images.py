"""Preprocessing: pictures to the pixels that the network takes, byte for byte as in the network's evaluation.

The accelerator contains the normalization, so images are uint8 pixels (H, W, C).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import HostError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}


class Preprocess:
    """size: pixels of a side. channels: 1 (grey) or 3 (RGB)."""

    def __init__(self, size: int, channels: int) -> None:
        self.size, self.channels = size, channels

    def photograph(self, picture) -> np.ndarray:
        """A file or PIL image of any size as uint8 (size, size, channels): shorter side to size * 256 / 224 (bicubic),
        then the centre."""
        from PIL import Image

        if isinstance(picture, Image.Image):
            return self._crop(picture, Image)
        try:
            with Image.open(picture) as opened:
                return self._crop(opened, Image)
        except (OSError, ValueError, SyntaxError) as e:
            raise HostError("The picture cannot be read.", Path(picture), e, "remove or replace the file") from e

    def _crop(self, picture, image) -> np.ndarray:
        picture = picture.convert("RGB" if self.channels == 3 else "L")
        short = round(self.size * 256 / 224)
        width, height = picture.size
        if width <= height:
            width, height = short, max(short, int(short * height / width))
        else:
            width, height = max(short, int(short * width / height)), short
        filters = getattr(image, "Resampling", image)  # before Pillow 9.1 the module itself
        picture = picture.resize((width, height), filters.BICUBIC)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        crop = picture.crop((left, top, left + self.size, top + self.size))
        return np.asarray(crop, np.uint8).reshape(self.size, self.size, self.channels)

    def small(self, images: np.ndarray, scale: int = 1, divisor: int = 1) -> np.ndarray:
        """Small square images (N, h, h, C) of integers, such as CIFAR-10's or the digits', enlarged: bilinear with
        aligned pixel centres and repeated edges, exact, round_half_up(value * scale / divisor); grey is repeated
        where the network takes three channels. Returns uint8 (N, size, size, channels)."""
        n, side, _, channels = images.shape
        if side > self.size or channels not in (1, self.channels):
            raise HostError("The images cannot be enlarged.", why=f"they are {images.shape[1:]}, the network takes "
                            f"({self.size}, {self.size}, {self.channels})", do="use photograph() for large pictures")
        if side == self.size and scale == divisor:
            return np.repeat(images.astype(np.uint8), self.channels // channels, -1)
        wide = images.astype(np.int64)
        position = np.clip((2 * np.arange(self.size) + 1) * side - self.size, 0, (side - 1) * 2 * self.size)
        low, part = np.divmod(position, 2 * self.size)
        high = np.minimum(low + 1, side - 1)
        rest = 2 * self.size - part
        wide = wide[:, low] * rest[:, None, None] + wide[:, high] * part[:, None, None]
        wide = wide[:, :, low] * rest[:, None] + wide[:, :, high] * part[:, None]
        whole = divisor * (2 * self.size) ** 2
        pixels = ((2 * scale * wide + whole) // (2 * whole)).astype(np.uint8)
        return np.repeat(pixels, self.channels // channels, -1).reshape(n, self.size, self.size, self.channels)
