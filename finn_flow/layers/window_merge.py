"""Window tokens and merge tokens back to a map: the inverse of window_concat with a blend of both.

    R[y, x] = sat( ((pa[c] * L[y, x] << ka) + pb[c] * Msum[y // window, x // window] + o[c]) >> sh )

L: the window tokens put back in place; Msum[cell]: exact sum over all windows of merge token `cell`, upsampled by
repetition. The output starts at map row `row0` and wraps.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, FoldingError, Layer, Memory, Resources, check_divides, floor_shift, saturate
from .storage import Store, slot_stores


class WindowMerge(Layer):
    """in0: (nW * T, channels) s<bits>, T = window*window + nW; out0: (height, width, channels) s<bits>."""

    stem: ClassVar[str] = "window_merge"
    sources: ClassVar[tuple[str, ...]] = ("bv_clip", "bv_saturate", "bv_cell_sums", "bv_blend", "bv_slots")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels"}

    height: int
    width: int
    channels: int
    window: int
    row0: int = 0
    bits: int = 8
    coef_bits: int = 10
    o_bits: int = 24
    ka: int = 0
    sh: int = 0
    SIMD: int = 1

    def check(self) -> None:
        super().check()
        check_divides(self.stem, "window", self.window, "height", self.height)
        check_divides(self.stem, "window", self.window, "width", self.width)
        if self.window * self._fold < 2:
            raise FoldingError(f"SIMD={self.SIMD} with windows of one token leaves one beat per window row.",
                               where=f"layer {self.stem}", do="choose a smaller SIMD")
        if not 0 <= self.row0 < self.height:
            raise ValueError(f"window_merge: row0={self.row0} must be less than height={self.height}.")

    @property
    def windows(self) -> int:
        return (self.height // self.window) * (self.width // self.window)

    @property
    def tokens(self) -> int:
        """Tokens per window, T."""
        return self.window * self.window + self.windows

    @property
    def _fold(self) -> int:
        return self.channels // self.SIMD

    @property
    def _sum_bits(self) -> int:
        return self.bits + ceil(log2(self.windows))

    def inputs(self) -> list[Stream]:
        return [Stream((self.windows * self.tokens, self.channels), s(self.bits), self.SIMD)]

    def outputs(self) -> list[Stream]:
        return [Stream((self.height, self.width, self.channels), s(self.bits), self.SIMD)]

    def constants(self) -> dict[str, Const]:
        c = (self.channels,)
        return {"pa": Const(c, s(self.coef_bits)), "pb": Const(c, s(self.coef_bits)), "o": Const(c, s(self.o_bits))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        n, h, w, c = self.window, self.height, self.width, self.channels
        x = inputs[0].reshape(-1, self.windows, self.tokens, c)
        f, nh, nw = x.shape[0], h // n, w // n
        local = x[:, :, : n * n].reshape(f, nh, nw, n, n, c).transpose(0, 1, 3, 2, 4, 5).reshape(f, h, w, c)
        msum = x[:, :, n * n :].sum(axis=1).reshape(f, nh, nw, c).repeat(n, axis=1).repeat(n, axis=2)
        k = self.set_of_frame(f)
        pa, pb, o = (constants[i][k][:, None, None, :] for i in ("pa", "pb", "o"))
        out = saturate(floor_shift(((pa * local) << self.ka) + pb * msum + o, self.sh), s(self.bits))
        return [np.roll(out, -self.row0, axis=1)]

    def cycles(self) -> int:
        return self.windows * self.tokens * self._fold

    def stores(self) -> tuple[Store, ...]:
        segments = self.height * self.width // self.window
        frame = (segments + min(2, segments)) * self.window * self._fold
        return (Store("FRAME", self.SIMD * self.bits, frame),
                Store("CELLS", self.SIMD * (self._sum_bits), self.windows * self._fold, copies=2),
                *slot_stores(segments, frame),
                Store("BLEND", self.SIMD * (2 * self.coef_bits + self.o_bits), self.sets * self._fold, const=True))

    def resources(self) -> Resources:
        return self.total(40 + 83 * self.SIMD, 2 * self.SIMD)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        pa, pb, o = (constants[n].reshape(-1, self.SIMD) for n in ("pa", "pb", "o"))
        return {"BLEND": Memory(((pa, s(self.coef_bits)), (pb, s(self.coef_bits)), (o, s(self.o_bits))))}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        """Both terms reach the output's range but not far beyond."""
        top, shape = 2.0 ** self.sh, (self.sets, self.channels)
        pa = rng.uniform(-1, 1, shape) * top / 2.0**self.ka
        pb = rng.uniform(-1, 1, shape) * top / self.windows**0.5
        o = rng.uniform(-0.4, 0.4, shape) * top * 2.0 ** (self.bits - 1)
        return {n: saturate(np.rint(v).astype(np.int64), c.dtype)
                for (n, c), v in zip(self.constants().items(), (pa, pb, o))}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(height=6, width=6, channels=6, window=3, row0=2, ka=2, sh=8, SIMD=2),
            dict(height=14, width=14, channels=3, window=7, row0=4, ka=1, sh=8),
            dict(height=7, width=7, channels=4, window=7, row0=1, bits=10, sh=9, SIMD=4, sets=2),
            dict(height=4, width=6, channels=2, window=2, row0=3, ka=3, sh=9, SIMD=2, sets=3, repeat=2),
            dict(height=3, width=3, channels=1, window=3, sh=7),
        ]
