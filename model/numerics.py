"""Fixed point: bit widths, power-of-two scales and the proof that every intermediate is exact in float32.

A tensor value is `integer * 2**exponent`; a quantizer computes `clip(floor(x / 2**exponent), min, max) * 2**exponent`.
`docs/numerics.md` explains the rules, `docs/contract.md` is their binding form.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict, Field

from bhvit.errors import CheckFailed

EXACT_LIMIT = 1 << 24
"""Integers of smaller magnitude are exact in float32, whatever the order of additions."""


class RangeError(CheckFailed, ValueError):
    """A worst-case intermediate reaches 2**24, so float32 execution would no longer be exact."""


class Widths(BaseModel):
    """Bit widths of every kind of tensor and constant (signed two's complement unless said otherwise).

    The defaults are those of docs/contract.md, section 3. Values outside the allowed ranges are refused; whether a
    combination stays below 2**24 is proved from the actual constants by `check_ranges`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    residual: int = Field(8, ge=4, le=12, description="residual stream X and Y")
    activation: int = Field(8, ge=4, le=10, description="BN outputs U, tokens h, F_q/F_k/F_v, R, hidden h")
    z: int = Field(10, ge=6, le=14, description="accumulator before PReLU")
    branch: int = Field(10, ge=6, le=12, description="the three MSGDC branches, one common scale")
    multiplier: int = Field(12, ge=6, le=14, description="affine multiplier m")
    slope: int = Field(8, ge=4, le=12, description="PReLU slopes p, n")
    layerscale_slope: int = Field(10, ge=4, le=12, description="slopes merged with a LayerScale")
    stencil: int = Field(10, ge=6, le=12, description="nine taps of the shift stencil")
    blend: int = Field(10, ge=6, le=12, description="merge-token and merge-back blends")
    ratio: int = Field(10, ge=6, le=12, description="1/n of a pooled residual where n is no power of two")
    shift: int = Field(12, ge=8, le=14, description="output V of the shift stencil")
    exp_table: int = Field(10, ge=6, le=12, description="attention exponentials, unsigned")
    threshold: int = Field(8, ge=4, le=10, description="mantissa of attention thresholds, sign not counted")
    layer_norm: int = Field(12, ge=8, le=14, description="normalised token before scale and bias")
    layer_norm_k: int = Field(23, ge=16, le=23, description="fraction bits of the reciprocal square root")
    weight: int = Field(8, ge=4, le=8, description="stem, full-precision down-sampling and classifier weights")
    gelu: int = Field(10, ge=6, le=12, description="GELU table output")
    position: int = Field(10, ge=6, le=14, description="position embedding")


def int_range(bits: int, signed: bool = True) -> tuple[int, int]:
    """Smallest and largest integer of a two's complement (or unsigned) number of `bits` bits."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def exponent_for_max(max_abs: float, bits: int, signed: bool = True) -> int:
    """Smallest exponent e with `round(max_abs / 2**e)` representable in `bits` bits.

    Args: max_abs: largest magnitude (>= 0, finite). Returns 0 for max_abs = 0.
    """
    if not math.isfinite(max_abs):
        raise ValueError(f"a scale was asked for a tensor whose largest magnitude is {max_abs}: "
                         "the network produced inf or nan on the calibration images; check weights and images")
    if max_abs == 0:
        return 0
    top = int_range(bits, signed)[1]
    e = math.floor(math.log2(max_abs / top))
    while math.floor(max_abs / 2.0**e + 0.5) > top:
        e += 1
    return e


def exponent_mse(x: torch.Tensor, bits: int, e_min: int | None = None, span: int = 4) -> int:
    """Exponent with the least mean squared error for round-to-nearest quantization of `x` to `bits` signed bits.

    Args: x: observed values, any shape; e_min: lower limit of the exponent; span: how many exponents below the one that
    fits the maximum are tried (each halves the range). At most 2**18 elements, evenly spaced, are looked at; the
    spacing has no divisor in common with the last axis, or whole channels would never be seen.
    """
    flat = x.detach().reshape(-1)
    largest = float(flat.abs().max())
    top = exponent_for_max(largest, bits) if largest else 1 - bits
    step, channels = max(1, flat.numel() >> 18), x.shape[-1] if x.dim() else 1
    while math.gcd(step, channels) > 1:
        step += 1
    flat = flat[::step].to(torch.float64)
    lo, hi = int_range(bits)
    best_e, best = top, math.inf
    for e in range(top, top - span - 1, -1):
        s = 2.0**e
        err = float(((flat / s + 0.5).floor().clamp(lo, hi) * s - flat).square().mean())
        if err < best:
            best_e, best = e, err
    return best_e if e_min is None else max(best_e, e_min)


def exponent_for_decisions(x: torch.Tensor, bits: int, e_min: int, flips: Callable[[torch.Tensor, torch.Tensor], float],
                           span: int = 4) -> int:
    """Like `exponent_mse`, for a tensor whose values decide signs: the exponent with the least noise behind it.

    A sum of +-1 of which a share p is wrong has a noise of 4p times its variance; that is added to the squared error
    relative to the variance of x. A tensor with a long tail is clipped rather than rounded coarsely near a threshold.

    Args: x: observed values; e_min: lower limit; flips(q, x): share of the decisions that differ between the quantized
    values q and x (both float64, x's shape); span: see `exponent_mse`.
    """
    x = x.detach().to(torch.float64)
    largest, spread = float(x.abs().max()), max(float(x.var(correction=0)), 1e-300)
    top = exponent_for_max(largest, bits) if largest else 1 - bits
    lo, hi = int_range(bits)
    best_e, best = max(top, e_min), math.inf
    for e in range(max(top, e_min), max(top - span, e_min) - 1, -1):
        q = (x * 2.0**-e + 0.5).floor().clamp(lo, hi) * 2.0**e
        noise = float((q - x).square().mean()) / spread + 4 * flips(q, x)
        if noise < best:
            best_e, best = e, noise
    return best_e


def bits_for(lo: int, hi: int) -> int:
    """Fewest two's complement bits (>= 2) that hold every integer of [lo, hi]."""
    return max(2, *((v if v >= 0 else -v - 1).bit_length() + 1 for v in (int(lo), int(hi))))


def require_exact(layer: str, what: str, bound: float) -> None:
    """Raises RangeError when `bound` (a worst-case magnitude in LSBs) reaches 2**24."""
    if not bound < EXACT_LIMIT:
        raise RangeError(
            f"layer {layer}: {what} can reach {bound:.0f} (2^{math.log2(bound):.2f}) LSBs, but every intermediate must "
            "stay below 2^24 so that float32 and the hardware agree exactly; reduce the multiplier, slope or stencil "
            "width of this layer in the model file's `bits`, or fewer channels")


def check_ranges(model: torch.nn.Module) -> dict[str, float]:
    """Worst-case interval analysis of a frozen network, from its actual constants.

    Every deployed layer bounds each of its sums and products, term by term in the order of execution, with its inputs
    at the extremes of their formats.

    Args: model: a frozen `BHViT` (or any module tree of deployed layers).
    Returns: {layer name: largest worst-case magnitude in LSBs}.
    Raises: RangeError naming the layer and the value, at the first that reaches 2**24.
    """
    worst: dict[str, float] = {}
    with torch.no_grad():
        for name, module in model.named_modules():
            bounds = getattr(module, "worst_case", None)
            if bounds is None:
                continue
            top = 0.0
            for what, value in bounds().items():
                require_exact(name, what, float(value))
                top = max(top, float(value))
            worst[name] = top
    return worst
