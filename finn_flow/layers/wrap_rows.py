"""Rotate, extend or cut the row order of a map: output row k is input row (start + k) mod height.

A circular stencil needs the first rows again after the last one (`start` = 0, `count` = height + ext): `frame` = 0
keeps only the rows that come back. An order that begins with late rows needs the whole map: `frame` = 1 holds it in
one of two banks.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, Layer, Resources
from .cost import MUX_LUT
from .storage import Store


class WrapRows(Layer):
    """in0: (height, width, channels); out0: (count, width, channels). One beat per cycle, latency 2 (frame = 0)."""

    stem: ClassVar[str] = "wrap_rows"
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels"}

    height: int
    width: int
    channels: int
    dtype: str = "INT8"
    start: int = 0
    count: int
    frame: int = 0
    SIMD: int = 1

    def check(self) -> None:
        super().check()
        if not (0 <= self.start < self.height and self.count >= 1 and self.frame in (0, 1)):
            raise ValueError(f"wrap_rows: start={self.start} must be in [0, height={self.height}), count={self.count} "
                             f"at least 1 and frame={self.frame} 0 or 1.")

    @property
    def element(self) -> DType:
        return DType.from_name(self.dtype)

    @property
    def _row(self) -> int:
        """Beats per row."""
        return self.width * self.channels // self.SIMD

    @property
    def _again(self) -> int:
        """Rows emitted from the buffer after the last input row (frame = 0)."""
        return max(0, self.start + self.count - self.height)

    def inputs(self) -> list[Stream]:
        return [Stream((self.height, self.width, self.channels), self.element, self.SIMD)]

    def outputs(self) -> list[Stream]:
        return [Stream((self.count, self.width, self.channels), self.element, self.SIMD)]

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        return [x[:, (self.start + np.arange(self.count)) % self.height]]

    def cycles(self) -> int:
        return (max(self.height, self.count) if self.frame else self.height + self._again) * self._row

    def stores(self) -> tuple[Store, ...]:
        rows = 2 * self.height if self.frame else max(1, min(self.height, self._again))
        return (Store("RAM", self.SIMD * self.element.bits, rows * self._row),)

    def resources(self) -> Resources:
        mux = MUX_LUT * self.SIMD * self.element.bits if self._again and not self.frame else 0
        return self.total(44 + mux)

    def rtl_parameters(self) -> dict[str, int]:
        names = ("height", "width", "channels", "start", "count", "frame", "SIMD")
        return {**{n.upper(): getattr(self, n) for n in names}, "BITS": self.element.bits}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(height=6, width=5, channels=6, dtype="INT8", start=0, count=10, SIMD=2),
            dict(height=3, width=3, channels=4, dtype="UINT5", start=0, count=7, SIMD=4),
            dict(height=5, width=4, channels=3, dtype="BIPOLAR", start=2, count=5, SIMD=3),
            dict(height=7, width=2, channels=2, dtype="INT10", start=1, count=4),
            dict(height=5, width=3, channels=4, dtype="INT8", start=3, count=9, frame=1, SIMD=2),
            dict(height=3, width=1, channels=1, dtype="INT8", start=2, count=2, frame=1),
        ]
