"""Exact sums of adjacent channels, the residual of a narrowing binary layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Constants, FoldingError, Resources, check_divides
from .elementwise import extra_bits
from .tokenwise import TokenwiseLayer


class ChannelPool(TokenwiseLayer):
    """in0: (*token_dims, C) s<bits>, SIMD channels per beat; out0: (*token_dims, C / ratio)
    s<bits + ceil(log2 ratio)>, PE channels per beat. The slower side sets the rate.
    """

    stem: ClassVar[str] = "channel_pool"
    sources: ClassVar[tuple[str, ...]] = ("bv_gear_up", "bv_gear_down")
    fold_axes: ClassVar[dict[str, str]] = {**TokenwiseLayer.fold_axes, "PE": "out_channels"}

    ratio: int = 2
    bits: int = 8
    PE: int = 1

    @property
    def out_channels(self) -> int:
        return self.channels // self.ratio

    @property
    def natural(self) -> int:
        """Sums per token that an input beat completes (at least one)."""
        return max(1, self.SIMD // self.ratio)

    def check(self) -> None:
        check_divides(self.stem, "ratio", self.ratio, "channels", self.channels)
        super().check()
        check_divides(self.stem, "PE", self.PE, "channels / ratio", self.out_channels)
        if self.SIMD % self.ratio and self.ratio % self.SIMD:
            raise FoldingError(f"SIMD={self.SIMD} is neither a multiple nor a divisor of ratio={self.ratio}.",
                               where="layer channel_pool", do="choose a SIMD that is one")
        if self.PE % self.natural and self.natural % self.PE:
            raise FoldingError(f"PE={self.PE} is neither a multiple nor a divisor of the {self.natural} sums of a "
                               "beat.", where="layer channel_pool", why=f"SIMD={self.SIMD}, ratio={self.ratio}",
                               do="choose a PE that is one")

    def inputs(self) -> list[Stream]:
        return [self.stream(self.channels, s(self.bits))]

    def outputs(self) -> list[Stream]:
        return [self.stream(self.out_channels, s(self.bits + extra_bits(self.ratio)), self.PE)]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        return [x.reshape(*x.shape[:-1], self.out_channels, self.ratio).sum(axis=-1)]

    def cycles(self) -> int:
        return max(self.inputs()[0].beats, self.outputs()[0].beats)

    def resources(self) -> Resources:
        width, terms = self.outputs()[0].dtype.bits, min(self.SIMD, self.ratio)
        quads, several = -(-terms // 4), terms < self.ratio             # four terms each; a sum over several beats
        one = (terms - quads) * (self.bits + 1) + (quads - 1 + several) * width
        choose = max(0, self.natural - self.PE) * width                 # sums that wait for their beat
        return Resources(lut=self.TP * (self.natural * one + choose) + 5 + 7 * several)

    def rtl_parameters(self) -> dict[str, int]:
        return {"BITS": self.bits, "RATIO": self.ratio, "SIMD": self.SIMD, "PE": self.PE, "TP": self.TP}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[5], channels=12, SIMD=4, ratio=4, PE=1),
            dict(token_dims=[3, 4], channels=24, SIMD=12, ratio=3, PE=2, TP=2),
            dict(token_dims=[6], channels=24, SIMD=2, ratio=8, PE=3, TP=3),
            dict(token_dims=[4], channels=20, ratio=2, PE=5, bits=5),
            dict(token_dims=[4], channels=24, SIMD=12, ratio=6, PE=4, TP=2),
        ]
