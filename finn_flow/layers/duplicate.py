"""Fork: one stream goes to several consumers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, FoldingError, Resources
from .elementwise import ElementwiseLayer


class Duplicate(ElementwiseLayer):
    """in0: (*dims) dtype; out0 .. out<copies-1>: the same. One beat per cycle."""

    stem: ClassVar[str] = "duplicate"

    dtype: str = "INT8"
    copies: int = 2

    def check(self) -> None:
        super().check()
        if not 2 <= self.copies <= 8:
            raise FoldingError(f"copies={self.copies} is not supported.", where="layer duplicate", do="choose 2 to 8")

    def inputs(self) -> list[Stream]:
        return [self.stream(DType.from_name(self.dtype))]

    def outputs(self) -> list[Stream]:
        return self.inputs() * self.copies

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [inputs[0]] * self.copies

    def resources(self) -> Resources:
        return Resources(lut=2 * self.copies)

    def rtl_parameters(self) -> dict[str, int]:
        return {"WIDTH": self.inputs()[0].width, "COPIES": self.copies}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], SIMD=3),
            dict(dims=[4, 3, 5], dtype="BIPOLAR", SIMD=5, TP=3, copies=3),
            dict(dims=[6, 8], dtype="INT11", SIMD=2, TP=2, copies=8),
        ]
