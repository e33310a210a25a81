"""Window attention of binary q, k, v whose probabilities are quantized to four levels by comparisons.

    logit_j = q . k_j                                 e_j = table[(max logit - logit_j) / 2]       S = sum_j e_j
    level_j = sum over k = 1..3 of  (e_j << es) >= t[h, k] * S    (neg[h] = 0)
                                    (e_j << es) <= t[h, k] * S    (neg[h] = 1)
    G[c]    = sum_j level_j * v_j[c]

Head h of a token is its channels h * head_dim ... A frame is ``windows`` windows of ``tokens`` tokens.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import BIPOLAR, Stream, s, u
from .base import Const, Constants, Layer, Memory, Resources
from .storage import Store


class QdAttention(Layer):
    """in0 q, in1 k, in2 v: (windows*tokens, heads*head_dim) BIPOLAR; out0 G: the same shape, s<g_bits>.

    Foldings: SIMD channels per input beat, PE per output beat (both divide head_dim), LP keys per cycle (the fewest for
    a number of cycles).
    """

    stem: ClassVar[str] = "qd_attention"
    sources: ClassVar[tuple[str, ...]] = ("bv_popcount", "bv_window_buffer", "bv_qd_util", "bv_qd_thresholds")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "head_dim", "PE": "head_dim", "LP": "key_rates"}

    windows: int
    tokens: int
    heads: int
    head_dim: int
    es: int
    e_bits: int = 10
    t_bits: int = 9
    PE: int = 1
    SIMD: int = 1
    LP: int = 1

    def check(self) -> None:
        super().check()
        if self.tokens < 2:
            raise ValueError(f"{self.stem}: tokens={self.tokens}; a window has at least 2 tokens.")

    @property
    def key_rates(self) -> tuple[int, ...]:
        """Keys per cycle: the fewest for each number of cycles a row."""
        return tuple(sorted({-(-self.tokens // g) for g in range(1, self.tokens + 1)}))

    @property
    def dims(self) -> tuple[int, int]:
        return self.windows * self.tokens, self.heads * self.head_dim

    @property
    def g_bits(self) -> int:
        return 1 + (3 * self.tokens).bit_length()

    @property
    def groups(self) -> int:
        """Cycles in which the keys of one row are read."""
        return -(-self.tokens // self.LP)

    @property
    def max_stages(self) -> int:
        """Registers of the maximum of LP lanes."""
        return max(1, (self.LP - 1).bit_length())

    def inputs(self) -> list[Stream]:
        return [Stream(self.dims, BIPOLAR, self.SIMD)] * 3

    def outputs(self) -> list[Stream]:
        return [Stream(self.dims, s(self.g_bits), self.PE)]

    def constants(self) -> dict[str, Const]:
        return {"table": Const((self.head_dim + 1,), u(self.e_bits)),
                "t": Const((self.heads, 3), s(self.t_bits)), "neg": Const((self.heads,), u(1))}

    def levels(self, q: np.ndarray, k: np.ndarray, constants: Constants) -> np.ndarray:
        """Quantized probabilities, int64 (F, windows, heads, row, key) with values 0..3."""
        f = q.shape[0]
        sets = self.set_of_frame(f)
        logits = self._heads(q) @ self._heads(k).swapaxes(-1, -2)
        d = ((logits.max(-1, keepdims=True) - logits) / 2).astype(np.int64)
        e = constants["table"].astype(np.int64)[sets[:, None, None, None, None], d]
        total = e.sum(-1, keepdims=True)
        e <<= self.es
        neg = constants["neg"][sets][:, None, :, None, None] > 0
        level = np.zeros(e.shape, np.int64)
        for i in range(3):
            limit = constants["t"][sets][:, None, :, i, None, None] * total
            level += np.where(neg, e <= limit, e >= limit)
        return level

    def _heads(self, x: np.ndarray) -> np.ndarray:
        """(F, tokens, channels) -> float64 (F, windows, heads, token, head_dim); products of these are exact."""
        x = x.reshape(x.shape[0], self.windows, self.tokens, self.heads, self.head_dim)
        return x.transpose(0, 1, 3, 2, 4).astype(np.float64)

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        q, k, v = inputs
        g = self.levels(q, k, constants).astype(np.float64) @ self._heads(v)
        return [g.transpose(0, 1, 3, 2, 4).reshape(q.shape[0], *self.dims).astype(np.int64)]

    def cycles(self) -> int:
        rows = self.tokens * self.heads
        load = rows * (self.head_dim // self.SIMD)
        row = max(self.groups, self.head_dim // self.PE)
        # two halves of the buffer of v: a half is loaded, waits for its window and is free when its last row is done
        turn = -(-(load + rows * row + 2 * self.groups + 13 + self.max_stages) // 2)
        return self.windows * max(load, rows * row, turn)

    def stores(self) -> tuple[Store, ...]:
        d, lp, rows, words = self.head_dim, self.LP, self.tokens * self.heads, self.groups * self.heads
        return (Store("Q", d, 2 * rows), Store("K", d, 2 * words, copies=lp), Store("V", d, 2 * words, copies=lp),
                Store("COUNTS", lp * d.bit_length(), self.groups + 3 + self.max_stages, fixed=True),
                Store("EXPONENTIALS", lp * self.e_bits, self.groups + 6, fixed=True),
                Store("TABLE", self.e_bits, self.sets * (d + 1), const=True, copies=lp),
                Store("THRESH", 3 * self.t_bits + 1, self.sets * self.heads, const=True))

    def resources(self) -> Resources:
        d, lp = self.head_dim, self.LP
        acc = d * (3 * self.tokens).bit_length()
        return self.total(lp * (6.3 * d + 6.5 * self.e_bits) + 2 * acc + 110, 3)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        table = constants["table"].reshape(-1, 1)
        t, neg = constants["t"].reshape(-1, 3), constants["neg"].reshape(-1, 1)
        return {"TABLE": Memory(((table, u(self.e_bits)),)),
                "THRESH": Memory(((t, s(self.t_bits)), (neg, u(1))))}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        d, top = self.head_dim, 2**self.e_bits - 1
        slope = rng.uniform(1.0, 3.0, (self.sets, 1)) / np.sqrt(d)
        table = np.floor(top * np.exp(-slope * np.arange(d + 1)) + 0.5).astype(np.int64)
        mean = 2.0**self.es / self.tokens
        t = np.floor(mean * np.array([0.4, 1.0, 1.8]) * rng.uniform(0.7, 1.4, (self.sets, self.heads, 3)))
        neg = rng.integers(0, 2, (self.sets, self.heads))
        odd = rng.random(t.shape) < 0.1
        t = np.where(odd, rng.integers(-3, 1, t.shape), t)
        return {"table": table, "neg": neg,
                "t": np.clip(t, -(2 ** (self.t_bits - 1)), 2 ** (self.t_bits - 1) - 1).astype(np.int64)}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(windows=2, tokens=10, heads=2, head_dim=16, es=9, SIMD=2, PE=2),
            dict(windows=3, tokens=2, heads=1, head_dim=5, es=6, e_bits=8, t_bits=8, SIMD=5, PE=5, sets=2),
            dict(windows=1, tokens=7, heads=3, head_dim=9, es=9, SIMD=9, PE=3, LP=3, sets=2, repeat=2),
            dict(windows=4, tokens=5, heads=2, head_dim=8, es=10, SIMD=8, PE=1, LP=5),
        ]

    @classmethod
    def full_examples(cls) -> list[dict[str, Any]]:
        return [
            dict(windows=4, tokens=53, heads=4, head_dim=64, es=10, PE=2),
            dict(windows=1, tokens=50, heads=2, head_dim=64, es=10, SIMD=4, PE=4, LP=4),
            dict(windows=2, tokens=18, heads=1, head_dim=96, es=8, e_bits=12, SIMD=32, PE=8, LP=2),
        ]
