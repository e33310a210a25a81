"""The six shift branches of an MLP, merged into one circular nine-tap cross (paper equation 13, spec section 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bhvit.model.layers import fused, fused_fixed
from bhvit.model.layers.fixed import Fixed, vec
from bhvit.model.layers.shapes import TAPS, shifted
from bhvit.model.numerics import EXACT_LIMIT, Widths, exponent_for_max, exponent_mse
from bhvit.model.quantizers import FixedConst, FixedQuant

BRANCHES = ("h3", "w3", "ch3", "h5", "w5", "ch5")


def branch_taps(branch: str, channels: int, kind: str = "box") -> Tensor:
    """Coefficients (9, C) of one branch before its LayerScale, taps in the order of `TAPS`.

    kind: "box": h and w are circular means (released code); "pure": they move the map by one or two (paper, figure 5).
    """
    out = torch.zeros(9, channels, dtype=torch.float64)
    index = {t: i for i, t in enumerate(TAPS)}
    reach = 1 if branch.endswith("3") else 2
    if branch.startswith("ch"):
        q = channels // 4
        for k, tap in enumerate(((-reach, 0), (reach, 0), (0, -reach), (0, reach))):
            out[index[tap], k * q:(k + 1) * q] = 1.0
    elif kind == "pure":
        out[index[(-reach, 0) if branch[0] == "h" else (0, -reach)]] = 1.0
    else:
        for d in range(-reach, reach + 1):
            out[index[(d, 0) if branch[0] == "h" else (0, d)]] = 1.0 / (2 * reach + 1)
    return out


class Shift(nn.Module):
    """V = Quant(sum over taps of coef[tap] * u[tap] + Y + o): u, Y (B, H, W, C), circular, also on maps below 5."""

    def __init__(self, channels: int, bits: Widths) -> None:
        super().__init__()
        self.coef = nn.ModuleList(FixedConst((channels,), bits.stencil) for _ in TAPS)
        self.o = FixedConst((channels,), 24, grow=True)
        self.v = FixedQuant(bits.shift)
        self.register_buffer("inputs", torch.zeros(4, dtype=torch.int64))

    def _sum(self, u: Tensor) -> Tensor:
        acc = u * self.coef[0]()
        for tap, coef in list(zip(TAPS, self.coef))[1:]:
            acc = acc + shifted(u, *tap) * coef()
        return acc

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        if fused_fixed.usable(u, y):
            return self.v(fused.cross(u, torch.stack([c() for c in self.coef]), self.o(), y))
        return self.v(self._sum(u) + y + self.o())

    def calibrate(self, u: Fixed, y: Fixed, scales: dict[str, nn.Module], kind: str = "box") -> Fixed:
        """Args: u: BN output; y: residual stream; scales: LayerScale of each branch; kind: see `branch_taps`."""
        self.inputs.copy_(torch.tensor([u.e, u.bound, y.e, y.bound]))
        channels = u.value.shape[-1]
        coef = sum((branch_taps(b, channels, kind) * vec(s.alpha) for b, s in scales.items()),
                   torch.zeros(len(TAPS), channels, dtype=torch.float64))
        offset = sum((vec(s.move) for s in scales.values()), torch.zeros(channels, dtype=torch.float64))
        top = float(coef.abs().max())
        e_c = exponent_for_max(top, self.coef[0].q.bits) if top else 1 - self.coef[0].q.bits
        # small coefficients must not put Y above 2**24 of their LSBs
        room = 0.5 * EXACT_LIMIT / (y.bound + float(offset.abs().max()) * 2.0**-y.e + 1)
        e_c = max(e_c, y.e - u.e - math.floor(math.log2(room)))
        e_c = min(e_c, y.e - u.e)
        for const, row in zip(self.coef, coef):
            const.set(row, e_c)
        if u.bias is not None:
            offset = offset - u.bias * sum(c().double() for c in self.coef)
        if y.bias is not None:
            offset = offset - y.bias
        e_p = u.e + e_c
        total = self._sum(u.value).double() + y.value.double() + offset
        e_v = exponent_mse(total, self.v.bits, e_p)
        self.o.set(offset + (2.0 ** (e_v - 1) if e_v > e_p else 0.0), e_p)
        self.v.set_exponent(e_v)
        return Fixed(self(u.value, y.value), e_v, *self.v.limits)

    def worst_case(self) -> dict[str, float]:
        """Taps, then residual, then offset."""
        u_e, u, y_e, y = (int(v) for v in self.inputs)
        e_p = u_e + self.coef[0].exponent
        taps = sum(c.integers().double().abs() for c in self.coef) * u
        both = taps + y * 2.0 ** (y_e - e_p)
        return {"taps": float(taps.max()), "taps + Y": float(both.max()),
                "taps + Y + o": float((both + self.o.integers().double().abs()).max())}
