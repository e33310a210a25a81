"""Binary matrix-vector unit: XNOR-popcount dot products of +-1 activations and weights, with fused epilogue."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from ..streams import BIPOLAR, DType
from .base import FoldingError, Resources
from .linear import LinearLayer


class BinaryLinear(LinearLayer):
    """in0: (*token_dims, in_channels) BIPOLAR, residuals; out0: s<out_bits>."""

    stem: ClassVar[str] = "binary_linear"
    fetchable: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = (*LinearLayer.sources, "bv_xnor_popcount")

    def check(self) -> None:
        super().check()
        if self.SIMD > 512:
            raise FoldingError(f"binary_linear: SIMD={self.SIMD} is more than 512 inputs for one popcount. "
                               "Choose a smaller divisor of in_channels and a larger PE.")

    def in_type(self) -> DType:
        return BIPOLAR

    def weight_type(self) -> DType:
        return BIPOLAR

    def acc_std(self) -> float:
        return sqrt(self.in_channels)

    def resources(self) -> Resources:
        return self.linear_resources(1.08, 0)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        def example(in_channels: int, **attrs: Any) -> dict[str, Any]:
            return cls.suitable(sqrt(in_channels), in_channels=in_channels, **attrs)

        return [
            example(24, token_dims=[3, 5], out_channels=10, PE=2, SIMD=6, act=1),
            example(32, token_dims=[6], out_channels=12, PE=3, SIMD=32, TP=2, act=1, res1=1, res1_bits=10, sets=2),
            example(72, token_dims=[4, 2], out_channels=8, PE=8, SIMD=72, TP=4, act=1, res1=1, res2=1, res2_bits=12),
            example(9, token_dims=[5], out_channels=7, sets=3, repeat=2, act=0),
            example(32, token_dims=[3], out_channels=6, PE=2, SIMD=16, act=1, res1=1, rs_max=1, res2=1, ks_max=3,
                    sets=3),
            example(130, token_dims=[2, 4], out_channels=6, PE=3, SIMD=65, TP=2, act=1, res2=1, out_bits=10),
        ]
