"""Cuts a map into non-overlapping patches, each one token with channels in the order (kh, kw, c)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, FoldingError, Layer, Resources, check_divides
from .storage import Store


class Patchify(Layer):
    """in0: (H, W, C) dtype; out0: (H / p, W / p, p * p * C). One beat per cycle; buffers two strips of p rows.

    A beat is SIMD channels of a pixel, or PIXELS pixels of a row with all channels: an image at a pixel a beat takes as
    many cycles as it has pixels, which limits what follows.
    """

    stem: ClassVar[str] = "patchify"
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "PIXELS": "patch"}

    height: int
    width: int
    channels: int
    patch: int = 2
    dtype: str = "INT8"
    SIMD: int = 1
    PIXELS: int = 1

    def check(self) -> None:
        check_divides(self.stem, "patch", self.patch, "height", self.height)
        check_divides(self.stem, "patch", self.patch, "width", self.width)
        super().check()
        if self.PIXELS > 1 and self.channels != self.SIMD:
            raise FoldingError(f"PIXELS={self.PIXELS} is not possible with SIMD={self.SIMD}.", where="layer patchify",
                               do=f"choose SIMD={self.channels}, all channels of a pixel, or PIXELS=1")

    def inputs(self) -> list[Stream]:
        return [Stream((self.height, self.width, self.channels), DType.from_name(self.dtype), self.SIMD, self.PIXELS)]

    def outputs(self) -> list[Stream]:
        p = self.patch
        return [Stream((self.height // p, self.width // p, p * p * self.channels), DType.from_name(self.dtype),
                       self.SIMD * self.PIXELS)]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        p, h, w = self.patch, self.height // self.patch, self.width // self.patch
        y = x.reshape(-1, h, p, w, p, self.channels).transpose(0, 1, 3, 2, 4, 5)
        return [y.reshape(-1, h, w, p * p * self.channels)]

    def cycles(self) -> int:
        return self.inputs()[0].beats

    def stores(self) -> tuple[Store, ...]:
        beats = 2 * self.patch * self.width * self.channels // (self.SIMD * self.PIXELS)
        return (Store("RAM", self.inputs()[0].width, beats),)

    def resources(self) -> Resources:
        return self.total(60)

    def rtl_parameters(self) -> dict[str, int]:
        return {"COLUMNS": self.width, "PATCH": self.patch, "FOLDS": self.channels // self.SIMD,
                "PIXELS": self.PIXELS, "BITS": self.inputs()[0].width}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(height=6, width=4, channels=6, SIMD=2),
            dict(height=8, width=12, channels=3, patch=4, SIMD=3, dtype="UINT8"),
            dict(height=3, width=9, channels=5, patch=3, dtype="BIPOLAR", SIMD=5),
            dict(height=2, width=2, channels=4, SIMD=4),
            dict(height=4, width=8, channels=3, patch=4, SIMD=3, PIXELS=2, dtype="UINT8"),
            dict(height=6, width=9, channels=2, patch=3, SIMD=2, PIXELS=3),
        ]
