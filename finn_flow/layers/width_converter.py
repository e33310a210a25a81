"""Relayout of the beats between a producer and a consumer of different foldings."""

from __future__ import annotations

from math import lcm, prod
from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, Layer, Resources
from .cost import MUX_LUT
from .storage import Store


class WidthConverter(Layer):
    """in0: (*dims) dtype, TP_IN x SIMD_IN; out0: the same tensor, TP_OUT x SIMD_OUT."""

    stem: ClassVar[str] = "width_converter"
    sources: ClassVar[tuple[str, ...]] = ("bv_gear_up", "bv_gear_down", "bv_token_split", "bv_token_join")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD_IN": "channels", "SIMD_OUT": "channels", "TP_IN": "tokens",
                                           "TP_OUT": "tokens"}

    dims: list[int]
    dtype: str = "INT8"
    SIMD_IN: int = 1
    SIMD_OUT: int = 1
    TP_IN: int = 1
    TP_OUT: int = 1

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    def inputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), DType.from_name(self.dtype), self.SIMD_IN, self.TP_IN)]

    def outputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), DType.from_name(self.dtype), self.SIMD_OUT, self.TP_OUT)]

    def middle(self) -> int:
        """Channels per beat between the steps: where tokens are split, wide enough not to slow the streams down."""
        step = lcm(self.SIMD_IN, self.SIMD_OUT)
        if self.TP_IN == self.TP_OUT:
            return step
        beats = max(self.inputs()[0].beats, self.outputs()[0].beats)
        widths = [w for w in range(step, self.channels + 1, step) if self.channels % w == 0]
        return next((w for w in widths if self.tokens * (self.channels // w) <= beats), self.channels)

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [inputs[0]]

    def cycles(self) -> int:
        middle = 0 if self.TP_IN == self.TP_OUT else self.tokens * (self.channels // self.middle())
        return max(self.inputs()[0].beats, self.outputs()[0].beats, middle)

    def _tokens(self) -> tuple[int, ...]:
        """Tokens of a beat on each side where tokens are split or joined."""
        return tuple(tp for tp in (self.TP_IN, self.TP_OUT) if tp > 1) if self.TP_IN != self.TP_OUT else ()

    def stores(self) -> tuple[Store, ...]:
        simd = self.middle()
        word, folds = simd * self.inputs()[0].dtype.bits, self.channels // simd
        if folds == 1 or not self._tokens():
            return ()
        split = (Store("SPLIT", self.TP_IN * word, 2 * folds, fixed=True),) if self.TP_IN > 1 else ()
        join = (Store("JOIN", word, 2 * folds, copies=self.TP_OUT, fixed=True),) if self.TP_OUT > 1 else ()
        return split + join

    def resources(self) -> Resources:
        def select(choices: int) -> float:  # LUTs a bit
            return 0 if choices == 1 else max(1.0, choices / 3.5)

        def cut(choices: int) -> float:
            return MUX_LUT if choices == 2 else select(choices)

        bits, simd = self.inputs()[0].dtype.bits, self.middle()
        lut = 3 + self.TP_OUT * self.SIMD_OUT * bits * cut(simd // self.SIMD_OUT)
        if self.TP_IN != self.TP_OUT:
            lut += simd * bits * select(self.TP_IN) + 15 * len(self._tokens())
        return self.total(lut)

    def rtl_parameters(self) -> dict[str, int]:
        names = ("SIMD_IN", "SIMD_OUT", "TP_IN", "TP_OUT")
        return {"CHANNELS": self.channels, "BITS": DType.from_name(self.dtype).bits,
                **{n: getattr(self, n) for n in names}, "SIMD": self.middle()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[6, 12], SIMD_IN=2, SIMD_OUT=6),
            dict(dims=[3, 4, 12], dtype="BIPOLAR", SIMD_IN=12, SIMD_OUT=3, TP_IN=2, TP_OUT=2),
            dict(dims=[8, 12], dtype="INT5", SIMD_IN=4, SIMD_OUT=6),
            dict(dims=[8, 12], SIMD_IN=3, SIMD_OUT=3, TP_OUT=4),
            dict(dims=[12, 12], SIMD_IN=2, SIMD_OUT=6, TP_IN=3),
            dict(dims=[12, 24], dtype="UINT3", SIMD_IN=2, SIMD_OUT=4, TP_IN=3, TP_OUT=2),
            dict(dims=[6, 4], SIMD_IN=4, SIMD_OUT=2, TP_OUT=3),
            dict(dims=[6, 4], SIMD_IN=4, SIMD_OUT=4, TP_IN=6),
        ]
