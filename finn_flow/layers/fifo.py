"""FIFO of ``depth`` beats between two layers; it changes nothing but the timing."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, FoldingError, Resources
from .cost import MUX_LUT
from .elementwise import ElementwiseLayer
from .storage import Store

#: deepest FIFO in distributed RAM (as in bv_fifo.sv)
SHALLOW = 64


class Fifo(ElementwiseLayer):
    """in0: (*dims) dtype; out0: the same. One beat per cycle, at depth 1 (one register) one every other cycle.

    ``slow``: two registers in a row where the depth is 2, which take no look-up tables, one beat every other cycle.
    """

    stem: ClassVar[str] = "fifo"

    dtype: str = "INT8"
    depth: int = 2
    ID: int = 0
    slow: bool = False

    def check(self) -> None:
        super().check()
        if self.depth < 1:
            raise FoldingError(f"depth={self.depth} is too small.", where="layer fifo", do="choose 1 or more")

    def inputs(self) -> list[Stream]:
        return [self.stream(DType.from_name(self.dtype))]

    def outputs(self) -> list[Stream]:
        return self.inputs()

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        return [inputs[0]]

    def stores(self) -> tuple[Store, ...]:
        width = self.inputs()[0].width
        if self.depth <= 2:
            return ()
        return (Store("RAM", width, self.depth - 1, fixed=True, plain=True) if self.depth <= SHALLOW
                else Store("RAM", width, self.depth),)

    def resources(self) -> Resources:
        width = self.inputs()[0].width
        if self.depth <= 2:
            return self.total(4 if self.half_rate else MUX_LUT * width + 7)
        return self.total(20 if self.depth <= SHALLOW else 50)

    def cycles(self) -> int:
        return super().cycles() * (2 if self.half_rate else 1)

    @property
    def half_rate(self) -> bool:
        """Whether it takes a beat every other cycle only."""
        return self.depth == 1 or (self.slow and self.depth == 2)

    def rtl_parameters(self) -> dict[str, int]:
        return {"WIDTH": self.inputs()[0].width, "DEPTH": self.depth, "ID": self.ID, "SLOW": int(self.slow)}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[10, 6], SIMD=3, depth=2),
            dict(dims=[9, 8], SIMD=4, depth=1),
            dict(dims=[11, 8], SIMD=4, slow=True),
            dict(dims=[5, 6, 4], SIMD=4, TP=5, depth=7),
            dict(dims=[40, 12], dtype="BIPOLAR", SIMD=6, depth=3),
            dict(dims=[33, 4], dtype="INT3", SIMD=2, depth=33),
            dict(dims=[60, 9], dtype="UINT10", depth=70),
        ]
