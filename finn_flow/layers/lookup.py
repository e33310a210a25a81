"""Table look-up of every element: any function of one quantized value, such as GELU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, Memory, Resources
from .elementwise import ElementwiseLayer
from .storage import Store


class Lookup(ElementwiseLayer):
    """in0: (*dims) s<in_bits>; out0: (*dims) s<out_bits> = table[x - min]. One beat per cycle."""

    stem: ClassVar[str] = "lookup"

    in_bits: int = 8
    out_bits: int = 8

    def inputs(self) -> list[Stream]:
        return [self.stream(s(self.in_bits))]

    def outputs(self) -> list[Stream]:
        return [self.stream(s(self.out_bits))]

    def constants(self) -> dict[str, Const]:
        return {"table": Const((2**self.in_bits,), s(self.out_bits))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        k = self.set_of_frame(x.shape[0]).reshape(-1, *(1,) * (x.ndim - 1))
        return [constants["table"][k, x - s(self.in_bits).min]]

    def stores(self) -> tuple[Store, ...]:
        return (Store("TABLE", self.out_bits, self.sets << self.in_bits, const=True, copies=self.lanes),)

    def resources(self) -> Resources:
        return self.total(6)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        return {"TABLE": Memory(((constants["table"].reshape(-1, 1), s(self.out_bits)),))}

    def rtl_parameters(self) -> dict[str, int]:
        return {"LANES": self.lanes, "IN_BITS": self.in_bits, "OUT_BITS": self.out_bits,
                "BEATS": self.inputs()[0].beats, "SETS": self.sets, "REPEAT": self.repeat}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], SIMD=3, out_bits=10),
            dict(dims=[4, 3, 5], SIMD=5, TP=2, in_bits=5),
            dict(dims=[4, 4], SIMD=2, in_bits=6, out_bits=4, sets=3, repeat=2),
        ]
