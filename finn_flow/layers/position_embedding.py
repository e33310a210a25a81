"""Sum of the stream and a stored tensor of the same shape, requantized."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, Memory, Resources, floor_shift, saturate
from .elementwise import ElementwiseLayer
from .storage import Store


class PositionEmbedding(ElementwiseLayer):
    """out0 = sat((x << ka + pe << kb + offset) >> sh); in0: (*dims) s<in_bits>, out0: (*dims) s<out_bits>."""

    stem: ClassVar[str] = "position_embedding"
    sources: ClassVar[tuple[str, ...]] = ("bv_weights",)

    in_bits: int = 8
    pe_bits: int = 8
    ka: int = 0
    kb: int = 0
    offset: int = 0
    sh: int = 0
    out_bits: int = 8

    def inputs(self) -> list[Stream]:
        return [self.stream(s(self.in_bits))]

    def outputs(self) -> list[Stream]:
        return [self.stream(s(self.out_bits))]

    def constants(self) -> dict[str, Const]:
        return {"pe": Const(tuple(self.dims), s(self.pe_bits))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        pe = constants["pe"][self.set_of_frame(x.shape[0])]
        total = (x << self.ka) + (pe << self.kb) + self.offset
        return [saturate(floor_shift(total, self.sh), s(self.out_bits))]

    def stores(self) -> tuple[Store, ...]:
        return (Store("PE", self.lanes * self.pe_bits, self.sets * self.inputs()[0].beats, const=True, loadable=True,
                      streamable=self.sets == 1),)

    def resources(self) -> Resources:
        return self.total(self.lanes * (max(self.in_bits + self.ka, self.pe_bits + self.kb) + self.out_bits) + 20)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        return {"PE": Memory(((self.stream(s(self.pe_bits)).to_elements(constants["pe"]), s(self.pe_bits)),))}

    def rtl_parameters(self) -> dict[str, int]:
        names = ("in_bits", "pe_bits", "ka", "kb", "offset", "sh", "out_bits", "sets", "repeat")
        return {"LANES": self.lanes, "BEATS": self.inputs()[0].beats, **{n.upper(): getattr(self, n) for n in names}}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], SIMD=3, ka=1, offset=1, sh=1),
            dict(dims=[4, 3, 5], in_bits=10, SIMD=5, TP=2, kb=3, offset=-37, sh=4),
            dict(dims=[4, 6], SIMD=2, in_bits=5, pe_bits=4, out_bits=10, ka=3, sets=2, repeat=2),
        ]
