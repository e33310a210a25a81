"""Per-channel sign of an integer tensor: BN, RSign move and sign(0)=+1 collapsed into one comparison.

    y = +1  if (x >= t[c]) xor pol[c]  else -1

A negative batch-norm slope reverses the comparison; ``pol`` carries that.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np

from ..streams import BIPOLAR, Stream, s, u
from .base import Const, Constants, Layer, Memory, Resources
from .storage import Store


class Threshold(Layer):
    """in0: (*dims) s<bits>; out0: (*dims) BIPOLAR. One beat per cycle."""

    stem: ClassVar[str] = "threshold"
    fetchable: ClassVar[bool] = True
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "TP": "tokens"}

    dims: list[int]
    bits: int = 8
    SIMD: int = 1
    TP: int = 1

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    def inputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), s(self.bits), self.SIMD, self.TP)]

    def outputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), BIPOLAR, self.SIMD, self.TP)]

    def constants(self) -> dict[str, Const]:
        c = self.channels
        return {"t": Const((c,), s(self.bits + 1)), "pol": Const((c,), u(1))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        k = self.set_of_frame(x.shape[0])
        shape = (-1, *(1,) * (x.ndim - 2), self.channels)
        t, pol = (constants[n][k].reshape(shape) for n in ("t", "pol"))
        return [np.where((x >= t) ^ (pol > 0), 1, -1)]

    def cycles(self) -> int:
        return self.inputs()[0].beats

    def stores(self) -> tuple[Store, ...]:
        return (self.const_store("THRESHOLD", self.SIMD * (self.bits + 2), self.channels // self.SIMD),)

    def resources(self) -> Resources:
        return self.total(self.TP * self.SIMD * (self.bits - 1) + (4 if self.sets == 1 else 33))

    def memories(self, constants: Constants) -> dict[str, Memory]:
        t, pol = (constants[n].reshape(-1, self.SIMD) for n in ("t", "pol"))
        return {"THRESHOLD": Memory(((t, s(self.bits + 1)), (pol, u(1))))}

    def rtl_parameters(self) -> dict[str, int]:
        return {**super().rtl_parameters(), "TOKENS": self.tokens, "CHANNELS": self.channels}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], bits=8, SIMD=2),
            dict(dims=[4, 4, 12], bits=8, SIMD=12, TP=2),
            dict(dims=[3, 10], bits=10, SIMD=1, sets=3, repeat=2),
        ]
