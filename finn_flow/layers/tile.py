"""Repetition of the channels: ``out[j] = in[j mod C]``, the residual of a widening binary layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, Resources
from .tokenwise import TokenwiseLayer


class Tile(TokenwiseLayer):
    """in0: (*token_dims, C) dtype; out0: (*token_dims, ratio * C). One output beat per cycle."""

    stem: ClassVar[str] = "tile"

    ratio: int = 2
    dtype: str = "INT8"

    def inputs(self) -> list[Stream]:
        return [self.stream(self.channels, DType.from_name(self.dtype))]

    def outputs(self) -> list[Stream]:
        return [self.stream(self.ratio * self.channels, DType.from_name(self.dtype))]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        return [np.tile(x, self.ratio)]

    def cycles(self) -> int:
        return self.outputs()[0].beats

    def resources(self) -> Resources:
        width = self.inputs()[0].width
        return Resources(lut=width * (1 + self.folds / 32) + 15, bits=self.folds * width)

    def rtl_parameters(self) -> dict[str, int]:
        return {"WIDTH": self.inputs()[0].width, "FOLDS": self.folds, "RATIO": self.ratio}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[5], channels=6, SIMD=2, ratio=4),
            dict(token_dims=[3, 4], channels=5, SIMD=5, TP=2, ratio=3),
            dict(token_dims=[4, 2], channels=9, SIMD=3, TP=4, ratio=2, dtype="INT12"),
            dict(token_dims=[6], channels=7, ratio=1),
        ]
