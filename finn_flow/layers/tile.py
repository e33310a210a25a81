"""Repetition of the channels: ``out[j] = in[j mod C]``, the residual of a widening binary layer.

The last repetition may leave out its last ``cut`` channels, where the new width is no multiple of the old; with ratio 1
this keeps the first channels only, for a new width that is smaller.
"""

from __future__ import annotations

from math import gcd
from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, FoldingError, Resources
from .cost import MUX_LUT
from .storage import Store
from .tokenwise import TokenwiseLayer


class Tile(TokenwiseLayer):
    """in0: (*token_dims, C) dtype; out0: (*token_dims, ratio * C - cut). One beat per cycle."""

    stem: ClassVar[str] = "tile"
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "common", "TP": "tokens"}

    ratio: int = 2
    cut: int = 0
    dtype: str = "INT8"

    @property
    def common(self) -> int:
        """Greatest divisor of all repetitions, whole or cut."""
        return gcd(self.channels, self.cut)

    def check(self) -> None:
        super().check()
        if not 0 <= self.cut < self.channels:
            raise FoldingError(f"tile: cut={self.cut} must be less than channels={self.channels}.")

    def inputs(self) -> list[Stream]:
        return [self.stream(self.channels, DType.from_name(self.dtype))]

    def outputs(self) -> list[Stream]:
        return [self.stream(self.ratio * self.channels - self.cut, DType.from_name(self.dtype))]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        return [np.tile(x, self.ratio)[..., : self.ratio * self.channels - self.cut]]

    def cycles(self) -> int:
        return max(self.inputs()[0].beats, self.outputs()[0].beats)

    def stores(self) -> tuple[Store, ...]:
        return (Store("RAM", self.inputs()[0].width, self.folds, fixed=True),)

    def resources(self) -> Resources:
        return self.total(9 + (MUX_LUT * self.inputs()[0].width if self.ratio > 1 else 0))

    def rtl_parameters(self) -> dict[str, int]:
        return {"WIDTH": self.inputs()[0].width, "FOLDS": self.folds, "RATIO": self.ratio,
                "CUT": self.cut // self.SIMD}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[5], channels=6, SIMD=2, ratio=4),
            dict(token_dims=[3, 4], channels=5, SIMD=5, TP=2, ratio=3),
            dict(token_dims=[4, 2], channels=9, SIMD=3, TP=4, ratio=2, dtype="INT12"),
            dict(token_dims=[6], channels=7, ratio=1),
            dict(token_dims=[4], channels=6, SIMD=2, TP=2, ratio=2, cut=4),
            dict(token_dims=[3], channels=5, ratio=3, cut=4),
            dict(token_dims=[4], channels=12, SIMD=2, TP=2, ratio=1, cut=4),
            dict(token_dims=[5], channels=4, ratio=1, cut=1),
        ]
