"""Exact element-wise sum of several streams."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Constants, FoldingError, Resources
from .elementwise import ElementwiseLayer, extra_bits


class Add(ElementwiseLayer):
    """in0 .. in<terms-1>: (*dims) s<bits>; out0: (*dims) s<bits + ceil(log2 terms)>. One beat per cycle."""

    stem: ClassVar[str] = "add"

    bits: int = 8
    terms: int = 2

    def check(self) -> None:
        super().check()
        if not 2 <= self.terms <= 4:
            raise FoldingError(f"terms={self.terms} is not supported.", where="layer add", do="choose 2 to 4")

    @property
    def out_bits(self) -> int:
        return self.bits + extra_bits(self.terms)

    def inputs(self) -> list[Stream]:
        return [self.stream(s(self.bits))] * self.terms

    def outputs(self) -> list[Stream]:
        return [self.stream(s(self.out_bits))]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [np.sum(inputs, axis=0)]

    def resources(self) -> Resources:
        return Resources(lut=self.lanes * self.bits * (self.terms - 1) + 4)

    def rtl_parameters(self) -> dict[str, int]:
        return {"LANES": self.lanes, "BITS": self.bits, "TERMS": self.terms}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], SIMD=3),
            dict(dims=[4, 3, 5], bits=10, SIMD=5, TP=2, terms=3),
            dict(dims=[7, 4], bits=5, terms=4),
        ]
