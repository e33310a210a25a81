"""Windows of a map with merge tokens appended: the token order of window attention.

Per window (row-major) its window*window tokens (row-major), then the same nW merge tokens (one per pooling cell):

    merge = sat( ((ca[c] * max << ka) + cb[c] * sum + o[c]) >> sh )

max and sum over kernel `window`, stride `window`, `padding`: cell i covers rows window*i - padding .. + window - 1,
clipped to the map (padding adds 0 to the sum and never wins the maximum). The input starts at map row `row0` and wraps.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s
from .base import Const, Constants, FoldingError, Layer, Memory, Resources, check_divides, floor_shift, saturate
from .storage import Store, slot_stores


class WindowConcat(Layer):
    """in0: (height, width, channels) s<bits>; out0: (nW * T, channels) s<bits>, T = window*window + nW."""

    stem: ClassVar[str] = "window_concat"
    sources: ClassVar[tuple[str, ...]] = ("bv_clip", "bv_saturate", "bv_cell_sums", "bv_blend", "bv_slots")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels"}

    height: int
    width: int
    channels: int
    window: int
    padding: int = 0
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
        if not (0 <= 2 * self.padding < self.window or self.padding == 0) or not 0 <= self.row0 < self.height:
            raise ValueError(f"window_concat: padding={self.padding} must be less than half of window={self.window}, "
                             f"row0={self.row0} less than height={self.height}.")

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
        return self.bits + ceil(log2(self.window * self.window))

    def inputs(self) -> list[Stream]:
        return [Stream((self.height, self.width, self.channels), s(self.bits), self.SIMD)]

    def outputs(self) -> list[Stream]:
        return [Stream((self.windows * self.tokens, self.channels), s(self.bits), self.SIMD)]

    def constants(self) -> dict[str, Const]:
        c = (self.channels,)
        return {"ca": Const(c, s(self.coef_bits)), "cb": Const(c, s(self.coef_bits)), "o": Const(c, s(self.o_bits))}

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        x = np.roll(inputs[0], self.row0, axis=1)  # map row order
        f, h, w, c = x.shape
        n, p, nh, nw = self.window, self.padding, h // self.window, w // self.window
        pads = ((0, 0), (p, 0), (p, 0), (0, 0))  # rows and columns beyond the last cell fall out
        cells = [np.pad(x, pads, constant_values=v)[:, :h, :w].reshape(f, nh, n, nw, n, c)
                 for v in (0, s(self.bits).min)]
        total, peak = cells[0].sum(axis=(2, 4)), cells[1].max(axis=(2, 4))
        k = self.set_of_frame(f)
        ca, cb, o = (constants[i][k][:, None, None, :] for i in ("ca", "cb", "o"))
        merge = saturate(floor_shift(((ca * peak) << self.ka) + cb * total + o, self.sh), s(self.bits))
        tokens = x.reshape(f, nh, n, nw, n, c).transpose(0, 1, 3, 2, 4, 5).reshape(f, nh * nw, n * n, c)
        merge = np.broadcast_to(merge.reshape(f, 1, nh * nw, c), (f, nh * nw, nh * nw, c))
        return [np.concatenate([tokens, merge], axis=2).reshape(f, -1, c)]

    def cycles(self) -> int:
        return self.windows * self.tokens * self._fold

    def stores(self) -> tuple[Store, ...]:
        segments = self.height * self.width // self.window
        frame = (segments + min(2, segments)) * self.window * self._fold
        return (Store("FRAME", self.SIMD * self.bits, frame),
                Store("CELLS", self.SIMD * (self._sum_bits + self.bits), self.windows * self._fold, copies=2),
                *slot_stores(segments, frame),
                Store("BLEND", self.SIMD * (2 * self.coef_bits + self.o_bits), self.sets * self._fold, const=True))

    def resources(self) -> Resources:
        return self.total(80 + 129 * self.SIMD, 2 * self.SIMD)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        ca, cb, o = (constants[n].reshape(-1, self.SIMD) for n in ("ca", "cb", "o"))
        return {"BLEND": Memory(((ca, s(self.coef_bits)), (cb, s(self.coef_bits)), (o, s(self.o_bits))))}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        """Both terms reach the output's range but not far beyond."""
        top, shape = 2.0 ** self.sh, (self.sets, self.channels)
        ca = rng.uniform(-0.9, 0.9, shape) * top / 2.0**self.ka
        cb = rng.uniform(-2, 2, shape) * top / self.window
        o = rng.uniform(-0.4, 0.4, shape) * top * 2.0 ** (self.bits - 1)
        return {n: saturate(np.rint(v).astype(np.int64), c.dtype)
                for (n, c), v in zip(self.constants().items(), (ca, cb, o))}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(height=6, width=6, channels=6, window=3, padding=1, row0=2, ka=2, sh=8, SIMD=2),
            dict(height=14, width=14, channels=3, window=7, padding=3, row0=4, ka=1, sh=8),
            dict(height=7, width=7, channels=4, window=7, padding=3, row0=1, bits=10, sh=9, SIMD=4, sets=2),
            dict(height=4, width=6, channels=2, window=2, padding=0, row0=3, ka=3, sh=9, SIMD=2, sets=3, repeat=2),
            dict(height=3, width=3, channels=1, window=3, padding=1, row0=2, sh=7),
        ]
