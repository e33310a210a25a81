"""Matrix products: binary_linear, binary_conv and int_linear of the hardware."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed
from bhvit.model.numerics import EXACT_LIMIT, Widths, bits_for, exponent_for_max
from bhvit.model.quantizers import BinaryWeight, FixedConst, FixedQuant


class BinaryLinear(nn.Module):
    """y = epilogue(b @ W^T): b (..., K) and W (out, K) are +-1; paper equations 8 and 13."""

    def __init__(self, in_features: int, out_features: int, bits: Widths, out_bits: int, **epilogue) -> None:
        super().__init__()
        self.weight = BinaryWeight((out_features, in_features))
        self.epilogue = Epilogue(out_features, bits, out_bits, act=True, **epilogue)

    def forward(self, b: Tensor, res1: Tensor | None = None, res2: Tensor | None = None) -> Tensor:
        return self.epilogue(torch.matmul(b, self.weight().t()), res1, res2)

    def accumulate(self, b: Tensor, latent: Tensor) -> Fixed:
        """Takes the centred latent weight (out, K); returns the accumulator on calibration data."""
        self.weight.set(latent)
        k = b.shape[-1]
        return Fixed(torch.matmul(b, self.weight().t()), 0, -k, k)


class BinaryConv(nn.Module):
    """y = epilogue(conv(b, W)): b (B, C, H, W) +-1, zero padding, 3x3, dilated, grouped; result (B, H, W, C)."""

    def __init__(self, channels: int, groups: int, dilation: int, bits: Widths) -> None:
        super().__init__()
        self.groups, self.dilation = groups, dilation
        self.weight = BinaryWeight((channels, channels // groups, 3, 3))
        self.epilogue = Epilogue(channels, bits, bits.branch, act=True)

    def conv(self, b: Tensor) -> Tensor:
        """Exact accumulator (B, H, W, C)."""
        d = self.dilation
        return F.conv2d(b, self.weight(), padding=d, dilation=d, groups=self.groups).permute(0, 2, 3, 1)

    def forward(self, b: Tensor) -> Tensor:
        return self.epilogue(self.conv(b))

    def accumulate(self, b: Tensor, latent: Tensor) -> Fixed:
        """Takes the centred latent weight; returns the accumulator (B, H, W, C) on calibration data."""
        self.weight.set(latent)
        k = self.weight.weight[0].numel()
        return Fixed(self.conv(b), 0, -k, k)


class IntLinear(nn.Module):
    """y = Quant((x @ W^T) * m + o): x (..., K) integers, W (out, K) s8; stem and full-precision down-sampling.

    The folded scale of a row lies in W; m only holds a small power of two per row, so that the product stays exact.
    """

    def __init__(self, in_features: int, out_features: int, bits: Widths, out_bits: int) -> None:
        super().__init__()
        self.weight = FixedConst((out_features, in_features), bits.weight)
        self.epilogue = Epilogue(out_features, bits, out_bits, act=False)
        self.register_buffer("input_bound", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.epilogue(torch.matmul(x, self.weight().t()))

    def calibrate(self, x: Fixed, w: Tensor, o: Tensor) -> Fixed:
        """Args: x: input; w: (out, K) float64 with every scale folded in; o: (out,) float64."""
        top = w.abs().amax(1).clamp(min=float(w.abs().max()) * 2.0**-12 + 1e-30)
        k = torch.floor(torch.log2(top))
        for depth in range(6, -1, -1):
            scale = torch.exp2((k - k.max()).clamp(min=-depth))
            rows = w / scale[:, None]
            e_w = exponent_for_max(float(rows.abs().max()), self.weight.q.bits)
            self.weight.set(rows, e_w)
            bound = self.bound(x.bound)
            total = bound * scale * 2.0**depth + o.abs() * 2.0 ** -(e_w + x.e - depth)
            if float(total.max()) < 0.75 * EXACT_LIMIT or depth == 0:
                break
        acc = torch.matmul(x.value, self.weight().t())
        largest = int(bound.max())
        out = self.epilogue.calibrate(Fixed(acc, e_w + x.e, -largest, largest), scale, o, e_m=-depth)
        self.input_bound.fill_(x.bound)
        return out

    def bound(self, x_bound: int) -> Tensor:
        """(out,) float64: largest accumulator per row in LSBs."""
        return self.weight.integers().double().abs().sum(1) * x_bound

    def worst_case(self) -> dict[str, float]:
        """Row by row, with the actual weights."""
        e = self.epilogue
        rows = self.bound(int(self.input_bound))
        e.inputs[1] = int(rows.max())
        term = rows * e.m.integers().double().abs() + e.o.integers().double().abs()
        return {"accumulator": float(rows.max()), "m * acc + o": float(term.max())}


class Classifier(nn.Module):
    """logits = Quant(x @ W^T + o), exact: the quantizer only states width and exponent. x (B, K) -> (B, classes)."""

    def __init__(self, in_features: int, classes: int, bits: Widths) -> None:
        super().__init__()
        self.weight = FixedConst((classes, in_features), bits.weight)
        self.o = FixedConst((classes,), 24, grow=True)
        self.logits = FixedQuant(24)
        self.register_buffer("input_bound", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(torch.matmul(x, self.weight().t()) + self.o())

    def calibrate(self, x: Fixed, w: Tensor, o: Tensor) -> Fixed:
        """Args: x: features; w: (classes, K), o: (classes,) float64."""
        self.input_bound.fill_(x.bound)
        top = float(w.abs().max())
        self.weight.set(w, exponent_for_max(top, self.weight.q.bits) if top else 0)
        e = self.weight.exponent + x.e
        self.o.set(o, e)
        worst = int(self.worst_case()["logit"])
        self.logits.set_exponent(e, min(24, bits_for(-2 * worst, 2 * worst)))
        return Fixed(self(x.value), e, *self.logits.limits)

    def worst_case(self) -> dict[str, float]:
        """Largest logit in LSBs; it must also fit the logit format."""
        rows = self.weight.integers().double().abs().sum(1) * int(self.input_bound)
        return {"logit": float((rows + self.o.integers().double().abs()).max())}
