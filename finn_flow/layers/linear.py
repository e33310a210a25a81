"""What binary_linear and int_linear share: matrix-vector products folded by PE, SIMD and TP, then the epilogue."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import ClassVar

import numpy as np

from ..streams import DType, Stream, s
from .base import Const, Constants, Memory, Resources
from .epilogue import EpilogueLayer
from .storage import Store


class LinearLayer(EpilogueLayer):
    """in0: (*token_dims, in_channels), then the residuals; out0: (*token_dims, out_channels) s<out_bits>.

    One weight word (PE x SIMD) a cycle serves TP tokens.
    """

    sources: ClassVar[tuple[str, ...]] = (*EpilogueLayer.sources, "bv_weights", "bv_linear_front",
                                         "bv_linear_back")
    fold_axes: ClassVar[dict[str, str]] = {"PE": "out_channels", "SIMD": "in_channels", "TP": "tokens"}

    token_dims: list[int]
    in_channels: int
    out_channels: int
    PE: int = 1
    SIMD: int = 1
    TP: int = 1

    @property
    def tokens(self) -> int:
        return prod(self.token_dims)

    @property
    def weight_words(self) -> int:
        """Words of a set."""
        return (self.out_channels // self.PE) * (self.in_channels // self.SIMD)

    @abstractmethod
    def in_type(self) -> DType:
        """Type of the input elements."""

    @abstractmethod
    def weight_type(self) -> DType:
        """Type of the weights."""

    @abstractmethod
    def acc_std(self) -> float:
        """Standard deviation of the sums for random data: scales random constants."""

    def inputs(self) -> list[Stream]:
        x = Stream((*self.token_dims, self.in_channels), self.in_type(), self.SIMD, self.TP)
        return [x, *self.residual_inputs(self.outputs()[0])]

    def outputs(self) -> list[Stream]:
        return [Stream((*self.token_dims, self.out_channels), s(self.out_bits), self.PE, self.TP)]

    def constants(self) -> dict[str, Const]:
        w = Const((self.out_channels, self.in_channels), self.weight_type())
        return {"w": w, **self.epilogue_constants(self.out_channels)}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        w = self.weight_type().random(rng, (self.sets, self.out_channels, self.in_channels))
        return {"w": w, **self.random_epilogue(rng, self.out_channels, self.acc_std())}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        x = inputs[0]
        w = constants["w"][self.set_of_frame(x.shape[0])].astype(np.float64)  # exact, and fast
        acc = x.reshape(x.shape[0], self.tokens, self.in_channels).astype(np.float64) @ w.transpose(0, 2, 1)
        acc = np.rint(acc).astype(np.int64).reshape(*x.shape[:-1], self.out_channels)
        return [self.epilogue(acc, constants, inputs[1:])]

    def cycles(self) -> int:
        folds = self.tokens // self.TP * (self.out_channels // self.PE) * (self.in_channels // self.SIMD)
        return folds + self.late_cycles

    @property
    def late_cycles(self) -> int:
        """Half a cycle for each group of tokens with one output fold and more than eight input folds, else none."""
        alone = self.out_channels == self.PE and self._buffers == 2  # see rtl/bv_linear_front.sv
        return -(-(self.tokens // self.TP) // 2) if alone else 0

    @property
    def _buffers(self) -> int:
        """Token groups that wait with their beats."""
        return 4 if self.out_channels == self.PE and self.in_channels // self.SIMD <= 8 else 2

    def memories(self, constants: Constants) -> dict[str, Memory]:
        w = constants["w"].reshape(self.sets, self.out_channels // self.PE, self.PE, self.in_channels // self.SIMD,
                                   self.SIMD)
        words = w.transpose(0, 1, 3, 2, 4).reshape(-1, self.PE * self.SIMD)
        return {"WEIGHT": Memory(((words, self.weight_type()),)), "EPILOGUE": self.epilogue_memory(constants, self.PE)}

    def stream_passes(self) -> int:
        return self.tokens // self.TP

    def rtl_parameters(self) -> dict[str, int]:
        return {**super().rtl_parameters(), "TOKENS": self.tokens}

    def stores(self) -> tuple[Store, ...]:
        x = self.inputs()[0]
        folds, out_folds = self.in_channels // self.SIMD, self.out_channels // self.PE
        # one beat per token group waits in a register
        buffer = () if folds == 1 and out_folds > 2 else (
            Store("BUFFER", x.width, self._buffers * folds, fixed=True),)
        return (*buffer,
                self.const_store("WEIGHT", self.PE * self.SIMD * self.weight_type().bits, self.weight_words,
                                 loadable=True, streamable=self.sets == 1),
                self.epilogue_store(self.PE, self.out_channels // self.PE))

    def linear_resources(self, mac_lut: float, mac_dsp: int) -> Resources:
        """Estimate with the given cost of one multiplication and its share of the adder tree."""
        lanes = self.PE * self.TP
        macs = lanes * self.SIMD
        lut, dsp = self.epilogue_logic(lanes)
        x = self.inputs()[0]
        product = 0 if x.dtype.bipolar else x.dtype.bits + self.weight_type().bits
        acc = lanes * (self.in_channels.bit_length() + product)
        if x.dtype.bipolar and self.in_channels == self.SIMD:            # the count is the sum
            acc = 0
        return self.total(lut + macs * mac_lut + acc + 60, dsp + macs * mac_dsp)
