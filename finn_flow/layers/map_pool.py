"""Exact sum over the taps of a patch: average pooling without its division."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Constants, Resources
from .elementwise import extra_bits
from .storage import Store
from .tokenwise import TokenwiseLayer


class MapPool(TokenwiseLayer):
    """in0: (*token_dims, taps * C) s<bits> as `patchify` makes it; out0: (*token_dims, C) s<bits + ceil(log2 taps)>."""

    stem: ClassVar[str] = "map_pool"
    sources: ClassVar[tuple[str, ...]] = ("bv_fold_sum",)

    taps: int = 4
    bits: int = 8

    @property
    def sum_bits(self) -> int:
        return self.bits + extra_bits(self.taps)

    def inputs(self) -> list[Stream]:
        return [self.stream(self.taps * self.channels, s(self.bits))]

    def outputs(self) -> list[Stream]:
        return [self.stream(self.channels, s(self.sum_bits))]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        return [x.reshape(*x.shape[:-1], self.taps, self.channels).sum(axis=-2)]

    def cycles(self) -> int:
        return self.inputs()[0].beats

    def stores(self) -> tuple[Store, ...]:
        return (Store("RAM", self.lanes * self.sum_bits, self.folds, fixed=True),) if self.folds > 1 else ()

    def resources(self) -> Resources:
        return self.total(self.lanes * self.sum_bits + 15)

    def rtl_parameters(self) -> dict[str, int]:
        return {"LANES": self.lanes, "BITS": self.bits, "FOLDS": self.folds, "TAPS": self.taps}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[3, 2], channels=6, SIMD=2, taps=4),
            dict(token_dims=[3, 4], channels=5, SIMD=5, TP=2, taps=4),
            dict(token_dims=[4], channels=6, SIMD=3, TP=4, taps=9, bits=6),
        ]
