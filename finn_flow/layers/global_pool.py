"""Exact sum over all tokens of a frame: global average pooling without its division."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Constants, Layer, Resources
from .elementwise import extra_bits
from .storage import Store


class GlobalPool(Layer):
    """in0: (tokens, C) s<bits>; out0: (1, C) s<bits + ceil(log2 tokens)>. One input beat per cycle."""

    stem: ClassVar[str] = "global_pool"
    sources: ClassVar[tuple[str, ...]] = ("bv_fold_sum",)
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "TP": "tokens"}

    tokens: int
    channels: int
    bits: int = 8
    SIMD: int = 1
    TP: int = 1

    @property
    def sum_bits(self) -> int:
        return self.bits + extra_bits(self.tokens)

    def inputs(self) -> list[Stream]:
        return [Stream((self.tokens, self.channels), s(self.bits), self.SIMD, self.TP)]

    def outputs(self) -> list[Stream]:
        return [Stream((1, self.channels), s(self.sum_bits), self.SIMD)]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [inputs[0].sum(axis=1, keepdims=True)]

    def cycles(self) -> int:
        return self.inputs()[0].beats

    def stores(self) -> tuple[Store, ...]:
        folds = self.channels // self.SIMD
        return (Store("RAM", self.SIMD * self.sum_bits, folds, fixed=True),) if folds > 1 else ()

    def resources(self) -> Resources:
        return self.total((self.TP - 1) * self.SIMD * (self.bits + 2) + self.SIMD * self.sum_bits + 15)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(tokens=9, channels=6, SIMD=2),
            dict(tokens=25, channels=4, SIMD=4, TP=5),
            dict(tokens=49, channels=6, SIMD=3, TP=7, bits=5),
            dict(tokens=8, channels=3, SIMD=3),
        ]

    def rtl_parameters(self) -> dict[str, int]:
        return {k.upper(): getattr(self, k) for k in ("tokens", "channels", "bits", "SIMD", "TP")}
