"""Fields shared by layers that work on each token (``token_dims``) of ``channels`` channels by itself."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from ..streams import DType, Stream
from .base import Layer


class TokenwiseLayer(Layer):
    """Folded by SIMD (a divisor of ``channels``) and TP (a divisor of the number of tokens)."""

    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "TP": "tokens"}

    token_dims: list[int]
    channels: int
    SIMD: int = 1
    TP: int = 1

    @property
    def tokens(self) -> int:
        return prod(self.token_dims)

    @property
    def folds(self) -> int:
        """Beats of one token group."""
        return self.channels // self.SIMD

    @property
    def lanes(self) -> int:
        """Elements of a beat."""
        return self.SIMD * self.TP

    def stream(self, channels: int, dtype: DType, simd: int = 0) -> Stream:
        return Stream((*self.token_dims, channels), dtype, simd or self.SIMD, self.TP)
