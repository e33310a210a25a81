"""Grouped 3x3 binary convolutions of one map at several dilations, each with its own epilogue, summed (MSGDC).

    acc_d[y, x, c] = sum_{kh, kw, i} w[d, c, i, kh, kw] * X[y + (kh-1)*dil_d, x + (kw-1)*dil_d, group(c) + i]
    out[y, x, c]   = sum_d epilogue_d(acc_d[y, x, c])          (exact)

Taps outside the map contribute 0 (ternary borders): dot = 2*popcount(xnor & valid) - number of valid bits.
Row order: with ext = 0 the map is in natural order. Else the input has height + ext rows, extended row k is map row
(row0 + k) mod height, and output row j is map row (row0 + rot + j) mod height with its centre at extended row j + rot.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Any, ClassVar

import numpy as np

from ..streams import BIPOLAR, Stream, s
from .base import Const, Constants, FoldingError, Memory, Resources, check_divides
from .epilogue import EpilogueLayer
from .storage import Store


class BinaryConv(EpilogueLayer):
    """in0: (height + ext, width, in_channels) BIPOLAR; out0: (height, width, out_channels), ceil(log2 D) bits more."""

    stem: ClassVar[str] = "binary_conv"
    sources: ClassVar[tuple[str, ...]] = (*EpilogueLayer.sources, "bv_popcount", "bv_conv_sum", "bv_conv_window")
    fold_axes: ClassVar[dict[str, str]] = {"SIMD": "in_channels", "PE": "out_channels"}

    height: int
    width: int
    in_channels: int
    out_channels: int
    groups: int = 1
    kernel: int = 3
    dilations: list[int]
    ext: int = 0
    row0: int = 0
    rot: int = 0
    act: int = 1
    sh1: list[int]  # type: ignore[assignment]
    sh2: list[int]  # type: ignore[assignment]
    PE: int = 1
    SIMD: int = 1

    def check(self) -> None:
        super().check()
        d = self.dilations
        if self.kernel != 3 or not 1 <= len(d) <= 4 or len(set(d)) != len(d) or not all(1 <= k < 100 for k in d):
            raise ValueError(f"binary_conv: kernel={self.kernel} must be 3, dilations={d} one to four different "
                             "numbers from 1 to 99.")
        if len(self.sh1) != len(d) or len(self.sh2) != len(d):
            raise ValueError(f"binary_conv: sh1={self.sh1} and sh2={self.sh2} need one entry per dilation {d}.")
        if self.act != 1 or self.res1 or self.res2:
            raise ValueError("binary_conv: act must be 1, res1 and res2 must be 0.")
        for name in ("in_channels", "out_channels"):
            check_divides(self.stem, "groups", self.groups, name, getattr(self, name))
        per_group = self.out_channels // self.groups
        if per_group % self.PE and self.PE % per_group:
            raise FoldingError(f"binary_conv: PE={self.PE} must divide the {per_group} output channels of a group or "
                               "be a multiple of them.")
        natural = self.ext == self.row0 == self.rot == 0
        if not natural and not (0 <= self.row0 < self.height and self.rot >= 0 and self.ext > 0):
            raise ValueError(f"binary_conv: row0={self.row0} and rot={self.rot} need ext > 0 and row0 < height.")
        e, _, valid = self._rows()
        if ((e < 0) | (e >= self.height + self.ext))[valid].any():
            raise ValueError(f"binary_conv: ext={self.ext}, rot={self.rot} do not cover the rows that dilations {d} "
                             f"need. Use rot={max(d)}, ext={2 * max(d)}.")

    # ---- geometry ----------------------------------------------------------------------------------------------------
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(D, 3, H): extended row, map row, validity of tap row kh of output row j at dilation d."""
        j = np.arange(self.height)
        dy = np.asarray(self.dilations)[:, None, None] * np.asarray([-1, 0, 1])[:, None]
        y = (self.row0 + self.rot + j) % self.height + dy
        return j + self.rot + dy, y, (y >= 0) & (y < self.height)

    @property
    def _taps(self) -> int:
        return 9 * self.in_channels // self.groups

    @property
    def _ring(self) -> int:
        """Rows of the line buffer: window, one row being written, and the first rows of the next frame."""
        return min(2 * max(self.dilations) + 3 + self.ext, 2 * (self.height + self.ext))

    def inputs(self) -> list[Stream]:
        return [Stream((self.height + self.ext, self.width, self.in_channels), BIPOLAR, self.SIMD)]

    def outputs(self) -> list[Stream]:
        bits = self.out_bits + ceil(log2(len(self.dilations)))
        return [Stream((self.height, self.width, self.out_channels), s(bits), self.PE)]

    def constants(self) -> dict[str, Const]:
        d, c = len(self.dilations), self.out_channels
        w = Const((d, c, self.in_channels // self.groups, 3, 3), BIPOLAR)
        return {"w": w, **{n: Const((d, *k.shape), k.dtype) for n, k in self.epilogue_constants(c).items()}}

    # ---- golden ------------------------------------------------------------------------------------------------------
    def _branch(self, d: int) -> EpilogueLayer:
        """The layer with the shifts of one dilation, for the methods that an epilogue has."""
        return self.model_copy(update={"sh1": self.sh1[d], "sh2": self.sh2[d]})

    def _accumulate(self, x: np.ndarray, w: np.ndarray, d: int) -> np.ndarray:
        """Exact dot products of dilation ``d``. x: (F, H + ext, W, Cin); w: (out, in/groups, 3, 3)."""
        e, _, valid = (a[d] for a in self._rows())
        f, h, wd, g = x.shape[0], self.height, self.width, self.groups
        cg = self.in_channels // g
        dil = self.dilations[d]
        x = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (dil, dil), (0, 0)))
        rows = [x[:, np.where(valid[k], e[k], 0)] * valid[k][:, None, None] for k in range(3)]
        taps = np.stack([rows[kh][:, :, kw * dil : kw * dil + wd] for kh in range(3) for kw in range(3)], axis=3)
        taps = taps.reshape(f, h, wd, 9, g, cg).transpose(4, 0, 1, 2, 3, 5).reshape(g, f * h * wd, 9 * cg)
        weights = w.transpose(0, 2, 3, 1).reshape(g, -1, 9 * cg).astype(np.float32)
        acc = np.matmul(taps, weights.transpose(0, 2, 1))  # exact: magnitudes are far below 2^24
        return acc.transpose(1, 0, 2).reshape(f, h, wd, self.out_channels).astype(np.int64)

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        (x,) = inputs
        k = self.set_of_frame(x.shape[0])
        out = np.zeros((x.shape[0], *self.outputs()[0].dims), np.int64)
        for d in range(len(self.dilations)):
            acc = np.empty_like(out)
            for i in np.unique(k):
                acc[k == i] = self._accumulate(x[k == i], constants["w"][i, d], d)
            out += self._branch(d).epilogue(acc, {n: v[:, d] for n, v in constants.items() if n != "w"}, [])
        return [out]

    # ---- hardware ----------------------------------------------------------------------------------------------------
    def cycles(self) -> int:
        """A window column takes a read of each of its 2D + 1 rows; a row begins with max(dilations) more columns."""
        read = 2 * len(self.dilations) + 2
        token = max(read, self.out_channels // self.PE)
        compute = self.height * (self.width * token + max(self.dilations) * read)
        return max(compute, self.inputs()[0].beats)

    def stores(self) -> tuple[Store, ...]:
        d, fold = len(self.dilations), self.out_channels // self.PE
        return (Store("RING", self.in_channels, self._ring * self.width, fixed=True),
                self.const_store("WEIGHT", self.PE * d * self._taps, fold, loadable=True),
                self.epilogue_store(self.PE, fold, d))

    def resources(self) -> Resources:
        d = len(self.dilations)
        lut, dsp = self.epilogue_logic(self.PE * d)
        macs = self.PE * d * self._taps
        groups = max(1, self.PE * self.groups // self.out_channels)       # that a beat reads: chosen out of all
        select = 0 if self.groups == 1 else d * self._taps * groups * 0.8 * -(-self.groups // 4)
        odd = (self.in_channels // self.groups) % 2
        total = self.PE * (d - 1) * (self.out_bits + 2)
        return self.total(250 + lut + (2.0 if odd else 1.04) * macs + select + total, dsp)

    def memories(self, constants: Constants) -> dict[str, Memory]:
        w = constants["w"].transpose(0, 2, 1, 4, 5, 3)  # sets, out, D, kh, kw, in
        words = w.reshape(self.sets * self.out_channels // self.PE, -1)
        branches = [self._branch(d).epilogue_memory({n: v[:, d] for n, v in constants.items() if n != "w"}, self.PE)
                    for d in range(len(self.dilations))]
        return {"WEIGHT": Memory(((words, BIPOLAR),)), "EPILOGUE": Memory(sum((b.fields for b in branches), ()))}

    def rtl_parameters(self) -> dict[str, int]:
        def packed(values: list[int]) -> int:  # eight bits an entry
            return sum(v << (8 * i) for i, v in enumerate(values))

        names = ("height", "width", "in_channels", "out_channels", "groups", "ext", "row0", "rot", "m_bits", "o_bits",
                 "z_bits", "slope_bits", "o2_bits", "out_bits", "PE", "SIMD", "sets", "repeat")
        return {**{n.upper(): getattr(self, n) for n in names}, "BRANCHES": len(self.dilations),
                "DILATIONS": packed(self.dilations), "SH1": packed(self.sh1), "SH2": packed(self.sh2)}

    def random_constants(self, rng: np.random.Generator) -> Constants:
        branches = [self._branch(d).random_epilogue(rng, self.out_channels, self._taps**0.5)
                    for d in range(len(self.dilations))]
        w = BIPOLAR.random(rng, (self.sets, *self.constants()["w"].shape))
        return {"w": w, **{n: np.stack([b[n] for b in branches], axis=1) for n in branches[0]}}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        def example(**attrs: Any) -> dict[str, Any]:
            a = {"out_bits": 10, **attrs}
            std = (9 * a["in_channels"] / a.get("groups", 1)) ** 0.5
            e = EpilogueLayer.suitable(std, act=1, out_bits=a["out_bits"], slope_bits=a.get("slope_bits", 8))
            d = len(a["dilations"])
            return {**a, "sh1": [e["sh1"] + i % 2 for i in range(d)], "sh2": [e["sh2"] - (i == 1) for i in range(d)]}

        return [
            example(height=7, width=7, in_channels=8, out_channels=8, groups=2, dilations=[1, 3, 5], PE=2, SIMD=4),
            example(height=6, width=5, in_channels=6, out_channels=12, groups=3, dilations=[2, 1], SIMD=2, sets=2),
            example(height=6, width=6, in_channels=4, out_channels=8, groups=4, dilations=[1, 3, 5], ext=10, row0=2,
                    rot=5, PE=4, SIMD=1),
            example(height=3, width=3, in_channels=5, out_channels=2, dilations=[1, 3], SIMD=5, PE=2, sets=3, repeat=2),
            example(height=4, width=4, in_channels=3, out_channels=3, dilations=[1], ext=2, row0=3, rot=1, SIMD=3),
            example(height=3, width=4, in_channels=2, out_channels=4, dilations=[1, 2], ext=8, rot=3, PE=2),
        ]
