"""Merged shift branches: one nine-tap circular cross stencil per channel, plus the residual Y.

    V[y, x] = sat_out( (sum_k coef[k, c] * U[y + dy_k, x + dx_k] + (Y[y, x] << ky) + o[c]) >> sh )

Taps k: centre, up 1, down 1, up 2, down 2, left 1, right 1, left 2, right 2. The columns wrap here; the rows wrap
because the input map is extended: with ext = 4 output row j has its centre at input row j + 2 (wrap_rows repeats rows).
ext = 0 is the plain circular stencil on a map in natural order; it has no kernel.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s, u
from .base import Const, Constants, Layer, Memory, Resources, floor_shift, saturate
from .storage import Store

#: (dy, dx) of the taps in the order of ``coef``
TAPS = ((0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2))


class Shift(Layer):
    """in0 U s<u_bits>, in1 Y s<y_bits> (height + ext, width, channels); out0 V s<out_bits>, out1 U at the centre."""

    stem: ClassVar[str] = "shift"
    fetchable: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("bv_clip", "bv_dot9")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "channels", "RING": "rings"}
    #: rows in the ring: with fewer than ten the frames wait for each other
    rings: ClassVar[tuple[int, ...]] = (6, 7, 8, 9, 10)

    height: int
    width: int
    channels: int
    ext: int = 4
    u_bits: int = 8
    y_bits: int = 8
    coef_bits: int = 10
    o_bits: int = 24
    out_bits: int = 12
    ky: int = 0
    ks_max: int = 0
    sh: int = 0
    SIMD: int = 1
    RING: int = 10

    def check(self) -> None:
        super().check()
        if self.ext not in (0, 4):
            raise ValueError(f"shift: ext={self.ext} must be 4 (extended map) or 0 (natural order, no kernel).")
        if self.coef_bits > 18 or self.u_bits > 25:
            raise ValueError(f"shift: coef_bits={self.coef_bits} (at most 18), u_bits={self.u_bits} (at most 25): the "
                             "multipliers are no wider.")

    @property
    def _fold(self) -> int:
        return self.channels // self.SIMD

    def inputs(self) -> list[Stream]:
        dims = (self.height + self.ext, self.width, self.channels)
        return [Stream(dims, s(self.u_bits), self.SIMD), Stream(dims, s(self.y_bits), self.SIMD)]

    def outputs(self) -> list[Stream]:
        dims = (self.height, self.width, self.channels)
        return [Stream(dims, s(self.out_bits), self.SIMD), Stream(dims, s(self.u_bits), self.SIMD)]

    def constants(self) -> dict[str, Const]:
        c = {"coef": Const((len(TAPS), self.channels), s(self.coef_bits)), "o": Const((self.channels,), s(self.o_bits))}
        return {**c, "ks": Const((1,), u(self.ks_max.bit_length()))} if self.ks_max else c

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        u, y = inputs
        k = self.set_of_frame(u.shape[0])
        coef, o = constants["coef"][k][:, :, None, None, :], constants["o"][k][:, None, None, :]
        rot, h = self.ext // 2, self.height
        ky = self.ky + (constants["ks"][k][:, :, None, None] if self.ks_max else 0)
        acc = (y[:, rot : rot + h] << ky) + o
        for i, (dy, dx) in enumerate(TAPS):
            acc = acc + coef[:, i] * np.roll(np.roll(u, -dx, axis=2), -dy, axis=1)[:, rot : rot + h]
        return [saturate(floor_shift(acc, self.sh), s(self.out_bits)), u[:, rot : rot + h]]

    def cycles(self) -> int:
        """Rows come in extended by ext; each row is read with two columns more on either side."""
        if self.RING == 10:
            return max((self.height + self.ext) * self.width, self.height * (self.width + 4)) * self._fold
        return self._frame() * self._fold

    def _frame(self) -> int:
        """Columns per frame when rows wait for a place in the ring and windows for their rows."""
        frames, rows = 6, self.height + self.ext
        written, freed, ends = [0], [0] * (frames * rows + self.RING), []
        now = 0
        for f in range(frames):
            for j in range(self.height):
                newest = f * rows + j + 4
                while len(written) <= newest + 1:
                    n = len(written) - 1
                    written.append(max(written[-1], freed[n - self.RING] if n >= self.RING else 0) + self.width)
                now = max(now, written[newest + 1]) + self.width + 4
                last = j == self.height - 1
                for r in range(f * rows + j, f * rows + j + (5 if last else 1)):
                    freed[r] = now
            ends.append(now)
        return ends[-1] - ends[-2]

    def stores(self) -> tuple[Store, ...]:
        row = self.width * self._fold
        banks, slots = (5, 2) if self.RING == 10 else (self.RING, 1)
        word = self.SIMD * (len(TAPS) * self.coef_bits + self.o_bits) + self.ks_max.bit_length()
        late = (Store("LATE", 4 * self.SIMD * self.u_bits, self._fold, fixed=True),) if self._fold > 1 else ()
        return (Store("U", self.SIMD * self.u_bits, slots * row, copies=banks),
                Store("Y", self.SIMD * self.y_bits, (self.RING - 2) * row), *late,
                self.const_store("COEF", word, self._fold))

    def resources(self) -> Resources:
        select = 5 * self.u_bits * (2 if self.RING == 10 else (self.RING + 1) // 2 - 1)  # five of the banks, in order
        lane = select + self.out_bits // 2 + self.y_bits + self.ks_max + 2
        return self.total(130 + lane * self.SIMD, (len(TAPS) + 1) * self.SIMD)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        shape = (self.sets, len(TAPS), self._fold, self.SIMD)
        coef = constants["coef"].reshape(shape).transpose(0, 2, 3, 1).reshape(self.sets * self._fold, -1)
        o = constants["o"].reshape(self.sets * self._fold, self.SIMD)
        scale = [(np.repeat(constants["ks"], self._fold, axis=0), u(self.ks_max.bit_length()))] if self.ks_max else []
        return {"COEF": Memory(((coef, s(self.coef_bits)), (o, s(self.o_bits)), *scale))}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        c = super().random_constants(rng)
        top = min(s(self.o_bits).max, 1 << (self.out_bits + self.sh - 2))
        if self.ks_max:
            c["ks"] = rng.integers(0, self.ks_max + 1, (self.sets, 1))
        return {**c, "o": rng.integers(-top, top + 1, (self.sets, self.channels))}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(height=6, width=6, channels=6, ky=6, sh=7, SIMD=2),
            dict(height=3, width=3, channels=2, ky=5, sh=6, SIMD=2, sets=2, repeat=2),
            dict(height=7, width=7, channels=3, u_bits=6, y_bits=10, coef_bits=8, out_bits=10, ky=2, sh=6),
            dict(height=5, width=4, channels=4, ky=4, sh=7, SIMD=4, sets=3),
            dict(height=3, width=4, channels=4, ky=3, ks_max=2, sh=7, SIMD=2, sets=3),
            dict(height=2, width=1, channels=2, ky=4, sh=7),
            dict(height=6, width=5, channels=4, ky=6, sh=7, SIMD=2, RING=6),
            dict(height=5, width=6, channels=2, ky=6, sh=7, SIMD=2, RING=7, sets=2),
            dict(height=7, width=9, channels=2, ky=6, sh=7, RING=9),
        ]
