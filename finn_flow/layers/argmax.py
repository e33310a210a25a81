"""Index of the largest value of each frame, the first one on ties: the class of an image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s, u
from .base import Constants, Layer, Resources
from .elementwise import extra_bits


class Argmax(Layer):
    """in0: (1, classes) s<bits>; out0: (1, 1) u<index bits>. One input beat per cycle."""

    stem: ClassVar[str] = "argmax"
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "classes"}

    classes: int
    bits: int = 24
    SIMD: int = 1

    @property
    def index_bits(self) -> int:
        return max(1, extra_bits(self.classes))

    def inputs(self) -> list[Stream]:
        return [Stream((1, self.classes), s(self.bits), self.SIMD)]

    def outputs(self) -> list[Stream]:
        return [Stream((1, 1), u(self.index_bits))]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [np.argmax(inputs[0], axis=-1, keepdims=True)]

    def cycles(self) -> int:
        return self.inputs()[0].beats

    def resources(self) -> Resources:
        return Resources(lut=self.SIMD * (1.15 * self.bits + 2.6 * self.index_bits) + 6)

    def rtl_parameters(self) -> dict[str, int]:
        return {"CLASSES": self.classes, "BITS": self.bits, "SIMD": self.SIMD}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(classes=10, bits=24, SIMD=2),
            dict(classes=100, bits=12, SIMD=5),
            dict(classes=21, bits=3, SIMD=7),
            dict(classes=12, bits=4),
            dict(classes=6, bits=9, SIMD=6),
        ]
