"""Sums over images at one quantizer and at one decision, and the figures that follow from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bhvit.model.quantizers import FixedQuant

MODES = ("forced", "block", "free")
SATURATED = 1.0  # percent of saturated values from which a quantizer is explained
LISTED = 4  # channels that an explanation names


def _sum(x: Tensor) -> float:
    return float(x.sum(dtype=torch.float64))


class QuantizerStat:
    """One fixed-point quantizer.

    `own` compares with the quantizer's own input (rounding and clipping of this place alone), `against_float` with the
    float network's tensor when the layer's inputs are forced (constants and inner quantizers of the layer as well).
    """

    def __init__(self, quant: FixedQuant) -> None:
        self.quant = quant
        self.values = self.high = self.low = 0
        self.smallest, self.largest = math.inf, -math.inf
        self.total = self.square = self.clipping = self.rounding = 0.0
        self.other = {-1: 0.0, 0: 0.0, 1: 0.0}  # squared error with an exponent so much larger
        self.channels: Tensor | None = None
        self.float_values, self.float_total, self.float_square, self.float_error = 0, 0.0, 0.0, 0.0

    def own(self, v: Tensor, y: Tensor, value: Tensor) -> None:
        """Args: v: real value before quantization, y: output, value: what the output stands for; same shape, channels
        last."""
        e, (lo, hi) = self.quant.exponent, self.quant.limits
        ints = y * 2.0**-e
        low, high = ints <= lo, ints >= hi
        self.values += y.numel()
        self.low, self.high = self.low + int(low.sum()), self.high + int(high.sum())
        self.smallest, self.largest = min(self.smallest, float(ints.min())), max(self.largest, float(ints.max()))
        hits = (low | high).reshape(-1, y.shape[-1]).sum(0)
        self.channels = hits if self.channels is None else self.channels + hits
        self.total, self.square = self.total + _sum(v), self.square + _sum(v.double().square())
        error = (value - v).square()
        # a value beyond the range by more than half an LSB is clipped; nearer to it, it is only rounded
        beyond = (v > (hi + 0.5) * 2.0**e) | (v < (lo - 0.5) * 2.0**e)
        self.clipping += _sum(error[beyond])
        self.rounding += _sum(error[~beyond])
        self.other[0] += _sum(error)
        for more in (-1, 1):
            s = 2.0 ** (e + more)
            self.other[more] += _sum((torch.floor(v / s + 0.5).clamp(lo, hi) * s - v).square())

    def against_float(self, ideal: Tensor, value: Tensor) -> None:
        """Args: ideal: the float network's tensor; value: what the output stands for, with the layer's inputs forced;
        same shape."""
        self.float_values += ideal.numel()
        self.float_total += _sum(ideal)
        self.float_square += _sum(ideal.double().square())
        self.float_error += _sum((value - ideal).square())

    def result(self) -> dict:
        """The row of the report; errors are in the unit of the tensor, `relative_error` and `float_error` in parts of
        the standard deviation, null where that is 0."""
        n, (lo, hi) = self.values, self.quant.limits
        mse, spread = self.other[0] / n, _spread(self.total, self.square, n)
        relative = math.sqrt(mse) / spread if spread else None
        f_spread = _spread(self.float_total, self.float_square, self.float_values)
        used = max(self.largest / hi, self.smallest / lo if lo else 0.0)
        row = {"bits": self.quant.bits, "exponent": self.quant.exponent, "values": n,
               "saturation": 100 * (self.low + self.high) / n, "saturated_low": self.low, "saturated_high": self.high,
               "smallest": int(self.smallest), "largest": int(self.largest), "range_used": 100 * used,
               "rms_error": math.sqrt(mse), "clipping_error": math.sqrt(self.clipping / n),
               "rounding_error": math.sqrt(self.rounding / n), "relative_error": relative,
               "sqnr_db": -20 * math.log10(relative) if relative else None,
               "float_error": math.sqrt(self.float_error / self.float_values) / f_spread if f_spread else None,
               "rms_error_exponent_plus_1": math.sqrt(self.other[1] / n),
               "rms_error_exponent_minus_1": math.sqrt(self.other[-1] / n), "explanation": None}
        if row["saturation"] > SATURATED:
            row["explanation"] = self._explain(row)
        return row

    def _explain(self, row: dict) -> str:
        """Why a quantizer saturates, from the sums."""
        channels = self.channels.tolist()
        order = sorted(range(len(channels)), key=lambda c: -channels[c])
        hit, worst = sum(channels), [c for c in order[:LISTED] if channels[c]]
        share = 100 * sum(channels[c] for c in worst) / hit
        per = self.values / len(channels)
        named = ", ".join(f"{c} ({100 * channels[c] / per:.1f} %)" for c in worst)
        now, more, less = (row[k] for k in ("rms_error", "rms_error_exponent_plus_1", "rms_error_exponent_minus_1"))
        text = (f"{row['saturation']:.2f} % of the values are at an end of the range ({row['saturated_low']} low, "
                f"{row['saturated_high']} high), {share:.0f} % of them in channels {named} of {len(channels)}; "
                f"rms clipping error {row['clipping_error']:.3g}, rounding error {row['rounding_error']:.3g}. ")
        e = row["exponent"]
        if now <= min(more, less):
            return text + (f"Exponent {e} has the least squared error: one larger would raise the total error from "
                           f"{now:.3g} to {more:.3g}, one smaller to {less:.3g}.")
        better, value = (e + 1, more) if more <= less else (e - 1, less)
        return text + (f"Exponent {e} does not have the least squared error on these images: {better} would lower the "
                       f"total error from {now:.3g} to {value:.3g}.")


def _spread(total: float, square: float, n: int) -> float:
    """Standard deviation from sums."""
    return math.sqrt(max(square / n - (total / n) ** 2, 0.0)) if n else 0.0


class DecisionStat:
    """One place where decisions fall: signs of a threshold, or the levels of an attention."""

    def __init__(self, layer: str, levels: bool, step: Tensor | float | None) -> None:
        """Args: layer: name; step: one LSB of the tensor in front of the threshold in units of the sign's argument."""
        self.layer, self.levels, self.step = layer, levels, step
        self.count, self.wrong = dict.fromkeys(MODES, 0), dict.fromkeys(MODES, 0)
        self.near = self.wrong_near = 0
        self.confusion = torch.zeros(4, 4, dtype=torch.int64)
        self.channels: Tensor | None = None

    def add(self, mode: str, want: Tensor, got: Tensor, argument: Tensor) -> Tensor:
        """Counts one batch. Args: want, got: decisions of the float and of the deployed network, argument: what the
        float network took the sign of; same shape. Returns where they differ."""
        wrong = want != got
        self.count[mode] += wrong.numel()
        self.wrong[mode] += int(wrong.sum())
        if mode == "forced":
            if self.levels:
                self.confusion += torch.bincount((want * 4 + got).long().reshape(-1), minlength=16).reshape(4, 4)
            else:
                near = argument.abs() <= 0.5 * self.step
                self.near, self.wrong_near = self.near + int(near.sum()), self.wrong_near + int((near & wrong).sum())
                per = wrong.reshape(-1, wrong.shape[-1]).sum(0)
                self.channels = per if self.channels is None else self.channels + per
        return wrong

    def result(self) -> dict:
        """The row of the report: agreement in percent per mode, counts; of signs also how many float arguments lie
        within half an LSB of the tensor in front (no threshold on that grid can tell all of those apart)."""
        row = {"kind": "levels" if self.levels else "signs", "count": self.count["forced"],
               "wrong": self.wrong["forced"]}
        row |= {mode: 100 * (1 - self.wrong[mode] / self.count[mode]) for mode in MODES}
        if self.levels:
            return row | {"confusion": self.confusion.tolist()}
        order = torch.argsort(self.channels, descending=True, stable=True)[:LISTED].tolist()
        worst = {str(c): int(self.channels[c]) for c in order if self.channels[c]}
        return row | {"within_half_lsb": 100 * self.near / self.count["forced"], "wrong_within_half_lsb":
                      self.wrong_near, "worst_channels": worst}
