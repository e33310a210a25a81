"""Integer matrix-vector unit with fused epilogue: stem, full-precision down-sampling, classifier."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from ..streams import DType, s
from .base import Resources
from .linear import LinearLayer


class IntLinear(LinearLayer):
    """in0: (*token_dims, in_channels) u/s<in_bits>, residuals; out0: s<out_bits>. One multiplier per PE x SIMD x TP."""

    stem: ClassVar[str] = "int_linear"
    sources: ClassVar[tuple[str, ...]] = (*LinearLayer.sources, "bv_adder_tree")

    in_bits: int = 8
    in_signed: int = 1
    w_bits: int = 8

    def in_type(self) -> DType:
        return DType(self.in_bits, bool(self.in_signed))

    def weight_type(self) -> DType:
        return s(self.w_bits)

    def acc_std(self) -> float:
        x = 2.0**self.in_bits / (3.5 if self.in_signed else 1.7)
        return sqrt(self.in_channels) * x * 2.0**self.w_bits / 3.5

    def resources(self) -> Resources:
        return self.linear_resources(self.w_bits + self.in_bits + 2, 1)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        def example(in_channels: int, **attrs: Any) -> dict[str, Any]:
            std = cls.model_construct(in_channels=in_channels, **attrs).acc_std()
            return cls.suitable(std, in_channels=in_channels, **attrs)

        return [
            example(12, token_dims=[3, 5], out_channels=10, PE=2, SIMD=6, in_signed=0),
            example(16, token_dims=[6], out_channels=9, PE=3, SIMD=16, TP=2, act=1, res1=1, sets=2),
            example(7, token_dims=[4], out_channels=6, PE=6, SIMD=7, TP=2, act=1, in_bits=12, res2=1, m_bits=10),
            dict(token_dims=[1], in_channels=20, out_channels=11, SIMD=5, m_bits=2, sh1=0, out_bits=22),
            example(5, token_dims=[5], out_channels=7, w_bits=4, in_bits=4, sets=3, repeat=2),
        ]
