"""Layer norm of tokens in exact integer arithmetic, with a correctly rounded inverse square root.

    S = sum x     Q = sum x^2     v = C*Q - S^2 + eps_int     r = floor(2^k / sqrt(v) + 1/2)
    n = sat_n_bits(((C*x - S) * r) >> s1)                     y = sat_out_bits((m[c]*n + o[c]) >> sh)

r is the largest integer with (2r-1)^2 * v <= 4^(k+1). v is at most C^2 * (2^in_bits - 1)^2 / 4 + eps_int and at least
eps_int, which bounds r; n is about 2^(k - s1) times the normalized value. Blocks that share an engine may have an eps
and a shift s1 each (``eps_sets``, ``s1_sets``).
"""

from __future__ import annotations

from math import isqrt, prod
from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, FoldingError, Layer, Memory, Resources, saturate
from .storage import Store


def inverse_sqrt(v: np.ndarray, k: int) -> np.ndarray:
    """floor(2^k / sqrt(v) + 1/2) of positive int64 ``v``, exactly.

    A float64 guess is off by one at most (k <= 28), and two comparisons in integers correct it. Nothing overflows for
    v < 2^56: the compared value is at most (2^(k+1) + 2*sqrt(v))^2 < 2^60.
    """
    v = np.asarray(v, np.int64)
    r = np.maximum(np.floor(2.0**k / np.sqrt(v.astype(np.float64)) + 0.5).astype(np.int64) - 1, 0)
    for _ in range(2):
        r += (2 * r + 1) ** 2 * v <= 4 ** (k + 1)
    return r


class LayerNorm(Layer):
    """in0: (*token_dims, channels) s<in_bits>; out0: the same shape, s<out_bits>.

    Foldings: SIMD channels a beat (at most 64); ROOTS inverse square roots at a time (1 or 2).
    """

    stem: ClassVar[str] = "layer_norm"
    sources: ClassVar[tuple[str, ...]] = ("bv_clip", "bv_saturate", "bv_rsqrt", "bv_sum_fours", "bv_layer_norm_sums")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "lanes", "ROOTS": "roots"}
    roots: ClassVar[tuple[int, ...]] = (1, 2)

    token_dims: list[int]
    channels: int
    in_bits: int = 8
    k: int
    s1: int
    n_bits: int = 12
    eps_int: int
    eps_sets: list[int] = []
    s1_sets: list[int] = []
    m_bits: int = 12
    o_bits: int = 24
    sh: int
    out_bits: int = 8
    SIMD: int = 1
    ROOTS: int = 1

    def check(self) -> None:
        super().check()
        if self.ROOTS not in self.roots:
            raise FoldingError(f"{self.stem}: ROOTS={self.ROOTS} is not 1 or 2.")
        if not 1 <= self.eps_int < 2**31:
            raise ValueError(f"{self.stem}: eps_int={self.eps_int}; at least 1, since v must be positive, below 2^31.")
        if self.eps_sets and (len(self.eps_sets) != self.sets or self.eps_int != max(self.eps_sets)
                              or min(self.eps_sets) < 1 or self.eps_int >= 2**31):
            raise ValueError(f"{self.stem}: eps_sets={self.eps_sets} needs one positive value a set, the largest as "
                             "eps_int.")
        if self.s1_sets and (len(self.s1_sets) != self.sets or self.s1 != max(self.s1_sets)
                             or not 0 <= self.s1_spread <= 3 or self.sets > 15):
            raise ValueError(f"{self.stem}: s1_sets={self.s1_sets} needs one value a set (at most 15), the largest as "
                             "s1, the least at most 3 below it.")
        if not 1 <= self.k <= 28 or self.v_bits > 56 or self.product_bits > 62:
            raise ValueError(f"{self.stem}: k={self.k} (1 to 28), variance of {self.v_bits} bits (at most 56), product "
                             f"of {self.product_bits} bits (at most 62): use a smaller k or fewer input bits.")

    def of_set(self, index: int) -> Layer:
        eps = self.eps_sets[index] if self.eps_sets else self.eps_int
        s1 = self.s1_sets[index] if self.s1_sets else self.s1
        return super().of_set(index).model_copy(update={"eps_int": eps, "eps_sets": [], "s1": s1, "s1_sets": []})

    def lanes(self) -> tuple[int, ...]:
        """Legal values of SIMD."""
        return tuple(d for d in range(1, min(self.channels, 64) + 1) if self.channels % d == 0)

    @property
    def s1_spread(self) -> int:
        """How far the least shift s1 of a set is below the largest."""
        return self.s1 - min(self.s1_sets, default=self.s1)

    @property
    def tokens(self) -> int:
        return prod(self.token_dims)

    @property
    def v_bits(self) -> int:
        """Bits of the largest v (a variance is at most a quarter of the squared range)."""
        return (self.channels**2 * (2**self.in_bits - 1) ** 2 // 4 + self.eps_int).bit_length()

    @property
    def r_bits(self) -> int:
        """Bits of the largest r, that of v = the smallest eps."""
        least = min(self.eps_sets, default=self.eps_int)
        return ((isqrt(4 ** (self.k + 1) // least) + 1) // 2).bit_length()

    @property
    def product_bits(self) -> int:
        """Bits of (C*x - S) * r."""
        return self.in_bits + (self.channels - 1).bit_length() + self.r_bits + 2

    def _stream(self, bits: int) -> Stream:
        return Stream((*self.token_dims, self.channels), s(bits), self.SIMD)

    def inputs(self) -> list[Stream]:
        return [self._stream(self.in_bits)]

    def outputs(self) -> list[Stream]:
        return [self._stream(self.out_bits)]

    def constants(self) -> dict[str, Const]:
        return {"m": Const((self.channels,), s(self.m_bits)), "o": Const((self.channels,), s(self.o_bits))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        x = x.astype(np.int64)
        sets = self.set_of_frame(x.shape[0])
        m, o = (constants[n][sets].reshape(-1, *(1,) * (x.ndim - 2), self.channels) for n in ("m", "o"))
        total = x.sum(-1, keepdims=True)
        eps, s1 = (np.array(values or [one] * self.sets)[sets].reshape(-1, *(1,) * (x.ndim - 1))
                   for values, one in ((self.eps_sets, self.eps_int), (self.s1_sets, self.s1)))
        v = self.channels * (x * x).sum(-1, keepdims=True) - total * total + eps
        n = saturate(((self.channels * x - total) * inverse_sqrt(v, self.k)) >> s1, s(self.n_bits))
        return [saturate((m * n + o) >> self.sh, s(self.out_bits))]

    def cycles(self) -> int:
        return self.tokens * max(self.channels // self.SIMD, -(-(2 * self.r_bits + 2) // self.ROOTS))

    def stores(self) -> tuple[Store, ...]:
        folds = self.channels // self.SIMD
        sums = self.in_bits + (self.channels - 1).bit_length()
        return (Store("TOKENS", self.SIMD * self.in_bits, 4 * self.ROOTS * folds, fixed=True),
                Store("SUMS", sums + self.v_bits, 4 * self.ROOTS, fixed=True),
                Store("SCALE", self.SIMD * (self.m_bits + self.o_bits), self.sets * folds, const=True))

    def resources(self) -> Resources:
        root = 2 * max(2 * self.k + 5, self.v_bits + 2 * self.r_bits + 2) + 2 * self.k + 5
        select = self.n_bits * self.s1_spread.bit_length()
        lane = 2 * self.in_bits + self.product_bits + self.n_bits + self.o_bits + 2 * self.out_bits + 30 + select
        scaled = self.channels & (self.channels - 1) != 0     # multiplying by C takes a multiplier
        return self.total(self.ROOTS * root + self.SIMD * lane + 2 * self.v_bits + 270,
                          (3 + scaled) * self.SIMD + 1 + scaled)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        m, o = (constants[n].reshape(-1, self.SIMD) for n in ("m", "o"))
        return {"SCALE": Memory(((m, s(self.m_bits)), (o, s(self.o_bits))))}

    def rtl_parameters(self) -> dict[str, int]:
        eps = sum(v << (32 * i) for i, v in enumerate(self.eps_sets))
        lower = sum((self.s1 - v) << (2 * i) for i, v in enumerate(self.s1_sets))
        return {**super().rtl_parameters(), "EPS_SETS": eps, "S1_SETS": lower, "S1_SPREAD": self.s1_spread,
                "TOKENS": self.tokens, "V_BITS": self.v_bits, "R_BITS": self.r_bits}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        shape = (self.sets, self.channels)
        spread = 2.0 ** (self.sh + self.out_bits - 2)      # of the outputs: half their range
        limit = 2 ** (self.m_bits - 1) - 1
        m = np.clip(spread / 2.0 ** max(self.k - self.s1, 0) * rng.uniform(-1.5, 1.5, shape), -limit - 1, limit)
        limit = 2 ** (self.o_bits - 1) - 1
        o = np.clip(spread * rng.uniform(-0.7, 0.7, shape), -limit - 1, limit)
        return {"m": np.rint(m).astype(np.int64), "o": np.rint(o).astype(np.int64)}

    def random_inputs(self, rng: np.random.Generator, frames: int) -> list[np.ndarray]:
        """Tokens of every spread: constant ones (v = eps_int), nearly constant ones, and the whole range."""
        shape = (frames, *self.token_dims, 1)
        spread = 2.0 ** rng.uniform(-2, self.in_bits, shape) * (rng.random(shape) > 0.1)
        middle = rng.integers(-(2 ** (self.in_bits - 1)), 2 ** (self.in_bits - 1), shape)
        x = middle + spread * rng.standard_normal((*shape[:-1], self.channels))
        return [saturate(np.rint(x).astype(np.int64), s(self.in_bits))]

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[9], channels=128, in_bits=8, k=20, s1=12, eps_int=11, sh=9, SIMD=2),
            dict(token_dims=[11], channels=40, in_bits=8, k=20, s1=12, eps_int=3, sh=9, SIMD=20, ROOTS=2),
            dict(token_dims=[2, 5], channels=12, in_bits=8, k=12, s1=4, eps_int=1, sh=9, SIMD=12, sets=2, repeat=2),
            dict(token_dims=[7], channels=45, in_bits=6, k=16, s1=10, n_bits=9, eps_int=3, m_bits=10, o_bits=20, sh=6,
                 out_bits=7, SIMD=9, sets=3),
            dict(token_dims=[4], channels=5, in_bits=4, k=8, s1=2, eps_int=1, sh=4),
            dict(token_dims=[3], channels=6, in_bits=8, k=14, s1=6, eps_int=900, eps_sets=[2, 900, 40],
                 s1_sets=[6, 4, 5], sh=9, SIMD=6, sets=3),
        ]

    @classmethod
    def full_examples(cls) -> list[dict[str, Any]]:
        return [
            dict(token_dims=[212], channels=256, k=23, s1=15, eps_int=671, sh=9),
            dict(token_dims=[53], channels=512, k=23, s1=15, eps_int=1, sh=9, SIMD=4),
            dict(token_dims=[30], channels=96, in_bits=10, k=28, s1=20, eps_int=1, sh=9, SIMD=32, sets=2),
        ]
