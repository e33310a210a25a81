"""Fields shared by layers whose streams all have the shape ``dims``: one beat in, one beat out."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from ..streams import DType, Stream
from .base import Layer


class ElementwiseLayer(Layer):
    """``dims`` (last one: channels) folded by SIMD and TP."""

    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "TP": "tokens"}

    dims: list[int]
    SIMD: int = 1
    TP: int = 1

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    @property
    def lanes(self) -> int:
        """Elements of a beat."""
        return self.SIMD * self.TP

    def stream(self, dtype: DType) -> Stream:
        return Stream(tuple(self.dims), dtype, self.SIMD, self.TP)

    def cycles(self) -> int:
        return self.inputs()[0].beats


def extra_bits(terms: int) -> int:
    """Bits by which an exact sum of ``terms`` values grows: ceil(log2 terms)."""
    return (terms - 1).bit_length()
