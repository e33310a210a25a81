"""The epilogue: the one form in which everything between two quantizers is written (docs/contract.md, section 1).

    z = sat_zbits( (m[c]*acc + rm*res1 + o[c]) >> sh1 )
    y = sat_obits( ((z >= 0 ? p[c] : n[c]) * z + o2[c] + (res2 << k2)) >> sh2 )      act = 1
    y = sat_obits( (m[c]*acc + rm*res1 + o[c]) >> sh1 )                              act = 0

:class:`EpilogueLayer` is the base of the layers that end in one: affine, binary_linear, int_linear, binary_conv.
"""

from __future__ import annotations

from math import log2
from typing import Any, ClassVar

import numpy as np

from ..streams import Stream, s, u
from .base import Const, Constants, FoldingError, Layer, Memory, floor_shift, saturate
from .storage import Store


class EpilogueLayer(Layer):
    """Fields, constants, golden model, memory image of the epilogue. Residual streams follow in0: res1, then res2."""

    sources: ClassVar[tuple[str, ...]] = ("bv_clip", "bv_mac", "bv_epilogue")

    act: int = 0
    m_bits: int = 12
    o_bits: int = 24
    sh1: int = 0
    z_bits: int = 10
    slope_bits: int = 8
    o2_bits: int = 24
    sh2: int = 0
    out_bits: int = 8
    res1: int = 0
    res1_bits: int = 8
    rm: int = 1
    res2: int = 0
    res2_bits: int = 8
    k2: int = 0
    rs_max: int = 0
    ks_max: int = 0

    def check(self) -> None:
        super().check()
        if self.res2 and not self.act:
            raise FoldingError(f"{self.stem}: res2=1 needs act=1: an epilogue with one quantizer adds its residual "
                               "as res1.")

    def residual_inputs(self, out: Stream) -> list[Stream]:
        """Streams of the residuals that are present, laid out like ``out``."""
        bits = [b for present, b in ((self.res1, self.res1_bits), (self.res2, self.res2_bits)) if present]
        return [Stream(out.dims, s(b), out.SIMD, out.TP) for b in bits]

    def epilogue_constants(self, channels: int) -> dict[str, Const]:
        """Declaration of the constants of ``channels`` output channels."""
        c = {"m": Const((channels,), s(self.m_bits)), "o": Const((channels,), s(self.o_bits))}
        if self.act:
            c |= {"p": Const((channels,), s(self.slope_bits)), "n": Const((channels,), s(self.slope_bits)),
                  "o2": Const((channels,), s(self.o2_bits))}
        # an engine that blocks share: residual 1 times 2**rs, residual 2 times 2**ks, one of each a set
        if self.rs_max:
            c["rs"] = Const((1,), u(self.rs_max.bit_length()))
        if self.ks_max:
            c["ks"] = Const((1,), u(self.ks_max.bit_length()))
        return c

    def epilogue(self, acc: np.ndarray, constants: Constants, residuals: list[np.ndarray]) -> np.ndarray:
        """Golden model. acc: int64 (F, ..., C); residuals: those present, in the order of the streams."""
        k = self.set_of_frame(acc.shape[0])
        c = {n: constants[n][k] for n in ("m", "o", *(("p", "n", "o2") if self.act else ()))}
        res1, res2 = residuals[0] if self.res1 else None, residuals[-1] if self.res2 else None
        if res1 is not None and self.rs_max:
            res1 = res1 << constants["rs"][k].reshape(-1, *(1,) * (res1.ndim - 1))
        if res2 is not None and self.ks_max:
            res2 = res2 << constants["ks"][k].reshape(-1, *(1,) * (res2.ndim - 1))
        return epilogue(acc, c, act=self.act, sh1=self.sh1, z_bits=self.z_bits, sh2=self.sh2, out_bits=self.out_bits,
                        rm=self.rm, k2=self.k2, res1=res1, res2=res2)

    def epilogue_memory(self, constants: Constants, pe: int) -> Memory:
        """Image of the parameter memory: a word holds m, o (, p, n, o2) of ``pe`` channels; sets follow each other."""
        names = [("m", self.m_bits), ("o", self.o_bits)]
        if self.act:
            names += [("p", self.slope_bits), ("n", self.slope_bits), ("o2", self.o2_bits)]
        fields = [(constants[n].reshape(-1, pe), s(b)) for n, b in names]
        words = len(fields[0][0]) // self.sets
        fields += [(np.repeat(constants[n], words, axis=0), u(most.bit_length()))
                   for n, most in (("rs", self.rs_max), ("ks", self.ks_max)) if most]
        return Memory(tuple(fields))

    def epilogue_store(self, pe: int, words: int, branches: int = 1) -> Store:
        """The parameter memory: ``words`` words a set of ``pe`` channels in each of ``branches`` epilogues."""
        width = pe * (self.m_bits + self.o_bits + (2 * self.slope_bits + self.o2_bits if self.act else 0))
        width += self.rs_max.bit_length() + self.ks_max.bit_length()
        return self.const_store("EPILOGUE", branches * width, words)

    def epilogue_logic(self, lanes: int) -> tuple[float, int]:
        """Estimated LUTs and DSPs of ``lanes`` requantizers: clipping and the residuals' additions beside the DSPs."""
        lut = self.out_bits // 2 + (self.z_bits // 2 if self.act else 0)
        for present, bits, most in ((self.res1, self.res1_bits, self.rs_max), (self.res2, self.res2_bits, self.ks_max)):
            shifter = (most.bit_length() + 1) // 2                       # levels of four-to-one multiplexers
            lut += (bits + most) * (1 + shifter) if present else 0
        multipliers = 1 + self.act + (self.res1 and self.rm.bit_count() > 1)
        return lanes * lut, lanes * multipliers

    def random_epilogue(self, rng: np.random.Generator, channels: int, acc_std: float) -> Constants:
        """Random constants for accumulators of standard deviation ``acc_std``: diverse outputs that clip at times."""
        shape = (self.sets, channels)
        bits = self.z_bits if self.act else self.out_bits
        gain = 2.0 ** (bits - 2 + self.sh1) / max(acc_std, 0.5)
        sign = rng.choice([-1, 1], shape)
        m = np.clip(np.rint(gain * rng.uniform(0.3, 1.6, shape)), 1, s(self.m_bits).max) * sign
        o = rng.normal(0, 2.0 ** (bits - 3 + self.sh1), shape)
        c = {"m": m, "o": saturate(np.rint(o), s(self.o_bits))}
        if self.act:
            slope = 2.0 ** (self.sh2 + self.out_bits - self.z_bits)
            for name, low, high in (("p", 0.3, 2.0), ("n", -1.2, 1.2)):
                c[name] = saturate(np.rint(slope * rng.uniform(low, high, shape)), s(self.slope_bits))
            o2 = rng.normal(0, 2.0 ** (self.out_bits - 3 + self.sh2), shape)
            c["o2"] = saturate(np.rint(o2), s(self.o2_bits))
        for name, most in (("rs", self.rs_max), ("ks", self.ks_max)):
            if most:
                c[name] = rng.integers(0, most + 1, (self.sets, 1))
        return {k: v.astype(np.int64) for k, v in c.items()}

    @classmethod
    def suitable(cls, acc_std: float, **attrs: Any) -> dict[str, Any]:
        """``attrs`` completed with shifts and residual scales that suit accumulators of this standard deviation."""
        a = {f: attrs.get(f, cls.model_fields[f].default) for f in EpilogueLayer.model_fields}
        bits = a["z_bits"] if a["act"] else a["out_bits"]
        found = {"sh1": max(0, round(log2(acc_std)) + a["m_bits"] - bits)}
        sh1 = attrs.get("sh1", found["sh1"])
        if a["act"]:
            found["sh2"] = max(0, a["slope_bits"] - 2 + a["z_bits"] - a["out_bits"])
            if a["res2"]:
                found["k2"] = max(0, attrs.get("sh2", found["sh2"]) + a["out_bits"] - a["res2_bits"] - 1)
        if a["res1"]:
            found["rm"] = max(1, round(0.6 * 2.0 ** (sh1 + bits - a["res1_bits"])))
        return {**found, **attrs}


def epilogue(acc: np.ndarray, c: Constants, *, act: int, sh1: int, z_bits: int, sh2: int, out_bits: int, rm: int = 1,
             k2: int = 0, res1: np.ndarray | None = None, res2: np.ndarray | None = None) -> np.ndarray:
    """The formula. acc, res1, res2: int64 (F, ..., C); constants (F, C), one row per frame."""
    shape = (acc.shape[0], *(1,) * (acc.ndim - 2), acc.shape[-1])
    c = {k: v.reshape(shape) for k, v in c.items()}
    z = c["m"] * acc + c["o"]
    if res1 is not None:
        z = z + rm * res1
    z = saturate(floor_shift(z, sh1), s(z_bits if act else out_bits))
    if not act:
        return z
    y = np.where(z >= 0, c["p"], c["n"]) * z + c["o2"]
    if res2 is not None:
        y = y + (res2 << k2)
    return saturate(floor_shift(y, sh2), s(out_bits))
