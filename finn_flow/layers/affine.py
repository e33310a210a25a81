"""Elementwise epilogue: batch norm, residual addition, blends and requantization of a tensor (formula: epilogue.py)."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, Memory, Resources
from .epilogue import EpilogueLayer
from .storage import Store


class Affine(EpilogueLayer):
    """in0: (*dims) s<in_bits>, then the residuals; out0: (*dims) s<out_bits>. One beat per cycle."""

    stem: ClassVar[str] = "affine"
    fetchable: ClassVar[bool] = True
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "TP": "tokens"}

    dims: list[int]
    in_bits: int = 8
    SIMD: int = 1
    TP: int = 1

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    def inputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), s(self.in_bits), self.SIMD, self.TP), *self.residual_inputs(self.outputs()[0])]

    def outputs(self) -> list[Stream]:
        return [Stream(tuple(self.dims), s(self.out_bits), self.SIMD, self.TP)]

    def constants(self) -> dict[str, Const]:
        return self.epilogue_constants(self.channels)

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [self.epilogue(inputs[0], constants, inputs[1:])]

    def cycles(self) -> int:
        return self.outputs()[0].beats

    def stores(self) -> tuple[Store, ...]:
        return (self.epilogue_store(self.SIMD, self.channels // self.SIMD),)

    def resources(self) -> Resources:
        lut, dsp = self.epilogue_logic(self.SIMD * self.TP)
        return self.total(lut + 8, dsp)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        return {"EPILOGUE": self.epilogue_memory(constants, self.SIMD)}

    def rtl_parameters(self) -> dict[str, int]:
        return {**super().rtl_parameters(), "TOKENS": self.tokens, "CHANNELS": self.channels}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        return self.random_epilogue(rng, self.channels, 2.0 ** self.in_bits / 3.5)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        def example(**attrs: Any) -> dict[str, Any]:
            return cls.suitable(2.0 ** attrs.get("in_bits", 8) / 3.5, **attrs)

        return [
            example(dims=[4, 5, 6], SIMD=3),
            example(dims=[6, 10], SIMD=5, TP=2, act=1, res1=1, res1_bits=12, res2=1, res2_bits=8),
            example(dims=[3, 7], act=1, in_bits=12, res2=1, res2_bits=12, out_bits=12, sets=3, repeat=2),
            example(dims=[4, 4, 8], SIMD=8, TP=4, in_bits=16, m_bits=8, res1=1, out_bits=10, sets=2),
            example(dims=[3, 4], SIMD=2, act=1, res1=1, rs_max=3, res2=1, ks_max=1, sets=3),
        ]
