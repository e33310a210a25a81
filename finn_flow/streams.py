"""Streams: what flows between two hardware layers.

A stream carries one frame after another. A frame is an integer tensor of shape ``dims = (..., C)``; its leading
dimensions, flattened in row-major order, are the tokens. The frame is cut into *beats*: a beat holds ``TP`` consecutive
tokens times ``SIMD`` consecutive channels,

    for group in tokens / TP:  for fold in C / SIMD:  one beat
    element  e = t * SIMD + s  of the beat is  x[group * TP + t, fold * SIMD + s]

and element ``e`` occupies the bits ``[e * bits, (e + 1) * bits)`` of TDATA (element 0 in the least significant bits).
TDATA is padded with zeros to whole bytes. Two's complement for signed types; +-1 data is one bit, 1 for +1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np


@dataclass(frozen=True)
class DType:
    """Integer element type: ``bits`` wide, signed or not, or bipolar (+-1 in one bit)."""

    bits: int
    signed: bool = True
    bipolar: bool = False

    @property
    def name(self) -> str:
        """FINN/QONNX data type name."""
        if self.bipolar:
            return "BIPOLAR"
        return f"{'' if self.signed else 'U'}INT{self.bits}"

    @classmethod
    def from_name(cls, name: str) -> DType:
        if name == "BIPOLAR":
            return BIPOLAR
        if name == "BINARY":
            return cls(1, False)
        signed = not name.startswith("U")
        return cls(int(name.removeprefix("U").removeprefix("INT")), signed)

    @property
    def min(self) -> int:
        return -1 if self.bipolar else (-(1 << (self.bits - 1)) if self.signed else 0)

    @property
    def max(self) -> int:
        return 1 if self.bipolar else ((1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform random values with the extremes over-represented, as int64."""
        if self.bipolar:
            return rng.integers(0, 2, shape) * 2 - 1
        x = rng.integers(self.min, self.max + 1, shape)
        corner = rng.random(shape)
        x = np.where(corner < 0.03, self.min, x)
        return np.where(corner > 0.97, self.max, x)


BIPOLAR = DType(1, False, True)


def s(bits: int) -> DType:
    return DType(bits, True)


def u(bits: int) -> DType:
    return DType(bits, False)


@dataclass(frozen=True)
class Stream:
    """One stream port of a layer: frame shape, element type and beat layout."""

    dims: tuple[int, ...]
    dtype: DType
    SIMD: int = 1
    TP: int = 1

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    @property
    def beats(self) -> int:
        """Beats per frame."""
        return (self.tokens // self.TP) * (self.channels // self.SIMD)

    @property
    def width(self) -> int:
        """Payload bits of a beat."""
        return self.TP * self.SIMD * self.dtype.bits

    @property
    def padded_width(self) -> int:
        return (self.width + 7) // 8 * 8

    def to_elements(self, frames: np.ndarray) -> np.ndarray:
        """(F, *dims) -> (F * beats, TP * SIMD) in stream order."""
        f, tp, simd = frames.shape[0], self.TP, self.SIMD
        x = np.asarray(frames).reshape(f, self.tokens // tp, tp, self.channels // simd, simd)
        return x.transpose(0, 1, 3, 2, 4).reshape(f * self.beats, tp * simd)

    def from_elements(self, elements: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_elements`."""
        tp, simd = self.TP, self.SIMD
        f = elements.shape[0] // self.beats
        x = elements.reshape(f, self.tokens // tp, self.channels // simd, tp, simd)
        return x.transpose(0, 1, 3, 2, 4).reshape(f, *self.dims)

    def pack(self, frames: np.ndarray) -> np.ndarray:
        """(F, *dims) integers -> (F * beats, padded_width / 8) bytes, least significant byte first.

        Raises:
            ValueError: a value does not fit the element type.
        """
        return pack_words(self.to_elements(frames), self.dtype)

    def unpack(self, data: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`pack`; returns int64 (F, *dims)."""
        return self.from_elements(unpack_words(data, self.TP * self.SIMD, self.dtype))


def pack_words(elements: np.ndarray, dtype: DType) -> np.ndarray:
    """(N, E) integers -> (N, ceil(E * bits / 8)) bytes; element 0 in the least significant bits."""
    x = np.asarray(elements).astype(np.int64)
    if x.size and (x.min() < dtype.min or x.max() > dtype.max or (dtype.bipolar and (x == 0).any())):
        raise ValueError(f"value range [{x.min()}, {x.max()}] does not fit {dtype.name}")
    if dtype.bipolar:
        x = (x > 0).astype(np.int64)
    bits = (x[:, :, None] >> np.arange(dtype.bits)) & 1
    return np.packbits(bits.reshape(x.shape[0], -1).astype(np.uint8), axis=1, bitorder="little")


def unpack_words(data: np.ndarray, elements: int, dtype: DType) -> np.ndarray:
    """Inverse of :func:`pack_words`, int64 (N, elements)."""
    b = dtype.bits
    bits = np.unpackbits(data, axis=1, bitorder="little")[:, : elements * b].reshape(data.shape[0], elements, b)
    x = (bits.astype(np.int64) << np.arange(b)).sum(axis=2)
    if dtype.bipolar:
        return x * 2 - 1
    if dtype.signed:
        x = x - ((x >> (b - 1)) << b)
    return x
