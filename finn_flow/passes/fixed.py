"""Exact fixed-point constants: integer arrays with a power-of-two exponent, value = i * 2**e."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_LIMIT = 1 << 62


class NotFixedPoint(ValueError):
    """A constant is no multiple of a power of two with a mantissa of sensible width."""


@dataclass(frozen=True)
class Fixed:
    """Integers ``i`` (int64, any shape) at exponent ``e``. Arithmetic is exact and broadcasts."""

    i: np.ndarray
    e: int = 0

    @classmethod
    def of(cls, values: Any, e: int | None = None, max_bits: int = 40) -> Fixed:
        """Exact representation of float values; with ``e`` None the largest exponent that represents all of them.

        Raises:
            NotFixedPoint: not representable, or wider than ``max_bits``.
        """
        v = np.asarray(values, dtype=np.float64)
        if not np.isfinite(v).all():
            raise NotFixedPoint("inf or nan")
        if e is None:
            e = _exponent(v)
        scaled = np.ldexp(v, -e)
        if not np.array_equal(scaled, np.rint(scaled)) or (v.size and np.abs(scaled).max() >= 2.0**max_bits):
            raise NotFixedPoint(f"values like {v.flat[0]!r} are no integers of at most {max_bits} bits at exponent {e}")
        return cls(scaled.astype(np.int64), e)

    @property
    def value(self) -> np.ndarray:
        return np.ldexp(self.i.astype(np.float64), self.e)

    @property
    def uniform(self) -> bool:
        """Whether all elements are equal."""
        return self.i.size == 1 or bool((self.i == self.i.flat[0]).all())

    @property
    def zero(self) -> bool:
        return not self.i.any()

    def at(self, e: int) -> np.ndarray:
        """Integers at exponent ``e``; raises NotFixedPoint when that would lose bits."""
        if e <= self.e:
            return _checked(self.i, float(2.0 ** (self.e - e))) << (self.e - e) if e < self.e else self.i
        low = self.i & ((1 << min(e - self.e, 62)) - 1)
        if low.any():
            raise NotFixedPoint(f"constant at exponent {self.e} is no multiple of 2^{e}")
        return self.i >> min(e - self.e, 62)

    def reduced(self) -> Fixed:
        """The same values at the largest exponent."""
        if self.zero:
            return self
        k = trailing_zeros(self.i)
        return Fixed(self.i >> k, self.e + k)

    def __add__(self, other: Fixed) -> Fixed:
        if self.zero or other.zero:  # a zero does not force a finer exponent
            shape = np.broadcast_shapes(self.i.shape, other.i.shape)
            a = other if self.zero else self
            return Fixed(np.broadcast_to(a.i, shape), a.e)
        e = min(self.e, other.e)
        a, b = self.at(e), other.at(e)
        return Fixed(_checked(a, 2.0) + _checked(b, 2.0), e)

    def __neg__(self) -> Fixed:
        return Fixed(-self.i, self.e)

    def __sub__(self, other: Fixed) -> Fixed:
        return self + (-other)

    def __mul__(self, other: Fixed) -> Fixed:
        top = float(np.abs(other.i).max()) if other.i.size else 0.0
        return Fixed(_checked(self.i, max(top, 1.0)) * other.i, self.e + other.e)

    def scaled(self, e: int) -> Fixed:
        """Times 2**e."""
        return Fixed(self.i, self.e + e)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and np.array_equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


def _exponent(v: np.ndarray) -> int:
    nz = v[v != 0]
    if not nz.size:
        return 0
    m, ex = np.frexp(nz)
    i = np.ldexp(m, 53).astype(np.int64)
    tz = np.log2((i & -i).astype(np.float64)).astype(np.int64)
    return int((ex - 53 + tz).min())


def _checked(i: np.ndarray, factor: float) -> np.ndarray:
    if i.size and float(np.abs(i).max()) * factor >= _LIMIT:
        raise NotFixedPoint("constants of the pattern need more than 62 bits together")
    return i


def trailing_zeros(i: np.ndarray) -> int:
    """Largest k such that 2**k divides all elements (62 for all zero)."""
    g = int(np.bitwise_or.reduce(np.asarray(i, np.int64).reshape(-1))) if np.size(i) else 0
    return (g & -g).bit_length() - 1 if g else 62


def bits_for(*arrays: Any, least: int = 2) -> int:
    """Fewest two's complement bits that hold all elements."""
    need = least
    for a in arrays:
        a = np.asarray(a)
        if a.size:
            for v in (int(a.min()), int(a.max())):
                need = max(need, (v if v >= 0 else -v - 1).bit_length() + 1)
    return need


def unsigned_bits(a: Any) -> int:
    """Fewest bits that hold the non-negative elements."""
    return max(1, int(np.max(a)).bit_length())
