"""The epilogue: everything between an exact accumulator and the next quantized tensor (docs/contract.md, section 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bhvit.model.layers import fused_fixed
from bhvit.model.layers.fixed import Fixed, edge_bias
from bhvit.model.numerics import (
    EXACT_LIMIT,
    Widths,
    exponent_for_decisions,
    exponent_for_max,
    exponent_mse,
    require_exact,
)
from bhvit.model.quantizers import FixedConst, FixedQuant

Flips = Callable[[Tensor, Tensor], float]


class Epilogue(nn.Module):
    """Per-channel affine, optional residuals and RPReLU, last axis = channels.

    act = True:  z = Quant(acc * m + o [+ res1 [* r]]);  y = Quant(where(z >= 0, p, n) * z + o2 [+ res2])
    act = False: y = Quant(acc * m + o [+ res1 [* r]])

    RPReLU's move1 is folded into o, move2 and a following LayerScale into p, n, o2. Half an LSB of the quantizer that
    follows is part of o and o2, so FLOOR rounds to nearest; where a threshold follows, it is moved by at most half an
    LSB (`fixed.edge_bias`). `ratio` = number of terms in a pooled residual: r = 1/ratio.
    """

    def __init__(self, channels: int, bits: Widths, out_bits: int, *, act: bool, res1: bool = False,
                 ratio: int = 1, res2: bool = False, slope_bits: int | None = None) -> None:
        super().__init__()
        self.act, self.has_res1, self.has_res2, self.ratio, self.widths = act, res1, res2, ratio, bits
        self.m = FixedConst((channels,), bits.multiplier)
        self.o = FixedConst((channels,), 24, grow=True)
        if ratio > 1:
            self.r = FixedConst((1,), bits.ratio, grow=True)
        if act:
            self.z = FixedQuant(bits.z)
            self.p = FixedConst((channels,), slope_bits or bits.slope)
            self.n = FixedConst((channels,), slope_bits or bits.slope)
            self.o2 = FixedConst((channels,), 24, grow=True)
        self.y = FixedQuant(out_bits)
        # acc exponent, acc bound, res1 exponent, res1 bound, res2 exponent, res2 bound
        self.register_buffer("inputs", torch.zeros(6, dtype=torch.int64))

    def forward(self, acc: Tensor, res1: Tensor | None = None, res2: Tensor | None = None) -> Tensor:
        if fused_fixed.usable(acc, res1, res2):
            return fused_fixed.epilogue(self, acc, res1, res2)
        t = acc * self.m() + self.o()
        if self.has_res1:
            t = t + (res1 * self.r() if self.ratio > 1 else res1)
        if not self.act:
            return self.y(t)
        z = self.z(t)
        u = torch.where(z >= 0, self.p(), self.n()) * z + self.o2()
        if self.has_res2:
            u = u + res2
        return self.y(u)

    # calibration

    def prepare(self, acc: Fixed, m: Tensor, o: Tensor, res1: Fixed | None = None, p: Tensor | None = None,
                n: Tensor | None = None, o2: Tensor | None = None, res2: Fixed | None = None,
                e_m: int | None = None) -> Tensor:
        """Fixes m, r, z and the slopes; returns the real-valued tensor before the output quantizer.

        Args: acc, res1, res2: inputs with their formats; m, o, p, n, o2: (C,) float64 targets; e_m: exponent of m where
        the caller has chosen it.
        """
        for i, t in enumerate((acc, res1, res2)):
            if t is not None:
                self.inputs[2 * i], self.inputs[2 * i + 1] = t.e, t.bound
        lsb_res = None
        if res1 is not None:
            lsb_res = res1.e
            if self.ratio > 1:
                e_r = self._ratio_exponent(acc, m, res1)
                self.r.set(torch.tensor([1 / self.ratio]), e_r)
                lsb_res += e_r
            if res1.bias is not None:
                o = o - res1.bias / self.ratio
        if res2 is not None and res2.bias is not None:
            o2 = o2 - res2.bias
        if acc.bias is not None:
            o = o - acc.bias * m
        self._acc, self._res1, self._res2, self._o, self._o2 = acc, res1, res2, o, o2
        self.e_p = self._multiplier_exponent(acc, m, o, lsb_res, e_m) + acc.e
        self.m.set(m, self.e_p - acc.e)
        t = acc.value.double() * self.m().double() + o
        if res1 is not None:
            t = t + res1.value.double() * (self.r().double() if self.ratio > 1 else 1.0)
        if not self.act:
            self.floor_e = self.e_p
            return t
        self.z.set_exponent(exponent_mse(t, self.z.bits, self.e_p))
        self._set_offset(self.o, o, self.e_p, self.z.exponent)
        z = self.z((acc.value * self.m() + self.o()) + self._residual1())
        top = float(torch.cat([p.abs(), n.abs()]).max())
        e_s = exponent_for_max(top, self.p.q.bits) if top else 1 - self.p.q.bits
        if res2 is not None:
            # small slopes must not put the residual above 2**24 of their LSBs
            room = 0.5 * EXACT_LIMIT / (res2.bound + float(o2.abs().max()) * 2.0**-res2.e + 1)
            e_s = max(e_s, res2.e - self.z.exponent - math.floor(math.log2(room)))
            e_s = min(e_s, res2.e - self.z.exponent)
        self.p.set(p, e_s)
        self.n.set(n, e_s)
        self.floor_e = self.z.exponent + e_s
        u = (torch.where(z >= 0, self.p(), self.n()) * z).double() + o2
        return u if res2 is None else u + res2.value.double()

    def finish(self, e_y: int, edge: Tensor | None = None) -> Fixed:
        """Fixes the output scale (at least `floor_e`) and runs the deployed form on the calibration data.

        edge: (C,) float64 where a threshold on the output falls, if one follows.
        """
        e_y = max(e_y, self.floor_e)
        self.y.set_exponent(e_y)
        if edge is not None and e_y > self.floor_e:
            self.y.bias = edge_bias(edge, e_y)
        const, value = (self.o2, self._o2) if self.act else (self.o, self._o)
        if self.y.bias is not None:
            value = value + self.y.bias
        self._set_offset(const, value, self.floor_e, e_y)
        res = [None if r is None else r.value for r in (self._res1, self._res2)]
        out = Fixed(self(self._acc.value, *res), e_y, *self.y.limits, self.y.bias)
        del self._acc, self._res1, self._res2, self._o, self._o2
        return out

    def calibrate(self, *args, edge: Tensor | None = None, flips: Flips | None = None, **kwargs) -> Fixed:
        """`prepare`, then the output scale with the least squared error, then `finish`.

        flips: counts the decisions that quantization changes behind the output; then the scale with the least noise,
        those included (`numerics.exponent_for_decisions`).
        """
        t = self.prepare(*args, **kwargs)
        if flips is None:
            return self.finish(exponent_mse(t, self.y.bits, self.floor_e), edge)
        return self.finish(exponent_for_decisions(t, self.y.bits, self.floor_e, flips), edge)

    def _ratio_exponent(self, acc: Fixed, m: Tensor, res1: Fixed) -> int:
        """Exponent of r = 1/ratio: exact for a power of two; else fine, but leaving m its full range down to 6 bits."""
        if self.ratio & (self.ratio - 1) == 0:
            return 1 - self.ratio.bit_length()
        fine, coarse = (exponent_for_max(1 / self.ratio, b) for b in (self.widths.ratio, 6))
        needed = exponent_for_max(float(m.abs().max()), self.m.q.bits) + acc.e - res1.e
        return min(max(fine, needed), coarse)

    def _residual1(self) -> Tensor | float:
        if self._res1 is None:
            return 0.0
        return self._res1.value * self.r() if self.ratio > 1 else self._res1.value

    @staticmethod
    def _set_offset(const: FixedConst, value: Tensor, e: int, e_next: int) -> None:
        const.set(value + (2.0 ** (e_next - 1) if e_next > e else 0.0), e)

    def _multiplier_exponent(self, acc: Fixed, m: Tensor, o: Tensor, lsb_res: int | None, e_m: int | None) -> int:
        """Finest exponent of m that its width, the residual's grid and the 2**24 limit allow."""
        if e_m is None:
            top = float(m.abs().max())
            e_m = exponent_for_max(top, self.m.q.bits) if top else 1 - self.m.q.bits - acc.e
        if lsb_res is not None:
            e_m = min(e_m, lsb_res - acc.e)
        lo, hi = -(1 << (self.m.q.bits - 1)), (1 << (self.m.q.bits - 1)) - 1
        while True:
            ints = torch.floor(m * 2.0**-e_m + 0.5).clamp(lo, hi).abs()
            e_p = e_m + acc.e
            bound = ints * acc.bound + o.abs() * 2.0**-e_p
            if lsb_res is not None:
                bound = bound + self._res1.bound * (2.0 ** (self._res1.e - e_p)) / self.ratio
            # a quarter of the range is left for the half LSB and for fine-tuning; o itself has 24 bits
            offset = float(o.abs().max()) * 2.0**-e_p
            if float(bound.max()) < 0.75 * EXACT_LIMIT and offset < 0.45 * EXACT_LIMIT:
                return e_m
            if lsb_res is not None and e_p + 1 > lsb_res:
                require_exact(type(self).__name__, "multiplier * accumulator + offset + residual", float(bound.max()))
                return e_m
            e_m += 1

    # checking

    def worst_case(self) -> dict[str, float]:
        """Worst-case magnitudes in LSBs, term by term, from the actual constants."""
        acc_e, acc, r1_e, r1, r2_e, r2 = (int(v) for v in self.inputs)
        e_p = self.m.exponent + acc_e
        term = self.m.integers().double().abs() * acc
        out = {"m * acc": float(term.max())}
        term = term + self.o.integers().double().abs()
        out["m * acc + o"] = float(term.max())
        if self.has_res1:
            e1, k = (r1_e, 1) if self.ratio == 1 else (r1_e + self.r.exponent, int(self.r.integers()[0]))
            self._grid("rm", e1 - e_p)
            term = term + r1 * k * 2.0 ** (e1 - e_p)
            out["m * acc + o + res1"] = float(term.max())
        first = self.z if self.act else self.y
        self._grid("sh1", first.exponent - e_p)
        if self.act:
            e_s = self.z.exponent + self.p.exponent
            slope = torch.maximum(self.p.integers().abs(), self.n.integers().abs()).double()
            term = slope * -self.z.limits[0] + self.o2.integers().double().abs()
            out["slope * z + o2"] = float(term.max())
            if self.has_res2:
                self._grid("k2", r2_e - e_s)
                out["slope * z + o2 + res2"] = float(term.max()) + r2 * 2.0 ** (r2_e - e_s)
            self._grid("sh2", self.y.exponent - e_s)
        return out

    @staticmethod
    def _grid(what: str, shift: int) -> None:
        if shift < 0:
            raise ValueError(f"shift {what} of an epilogue is {shift}, but it must not be negative: the state does not "
                             "come from freezing this configuration; freeze again")
