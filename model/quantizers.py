"""Brevitas quantizers of the network.

Two kinds. Binary: weights (row-centred sign with mean-absolute scale) and activations (sign with the released code's
piecewise gradient). Fixed point: FLOOR with a power-of-two scale, for activations and for learned constants. All are
Brevitas tensor quantizers behind Brevitas proxies, so `brevitas.export` writes them as QONNX BipolarQuant and Quant.
Everywhere `sign(0) = +1`.
"""

from __future__ import annotations

import brevitas.nn as qnn
import torch
from brevitas.inject import ExtendedInjector
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from torch import Tensor, nn

from bhvit.model.layers import fused_fixed
from bhvit.model.numerics import bits_for, int_range
from bhvit.model.ste import FloorClamp, SignClip, SignRamp, exactly, floor_ste, sign

__all__ = ["BinaryWeight", "CentredBinary", "CentredBinaryWeight", "FixedConst", "FixedQuant", "FloorAct",
           "FloorPowerOfTwo", "PlainBinary", "PlainBinaryWeight", "RSign", "RSignAct", "UncentredBinary",
           "UncentredBinaryWeight", "centred_binary", "exactly", "floor_ste", "sign", "sign_act"]


class _Constants(nn.Module):
    """Scalars that Brevitas expects next to a quantized tensor; not part of the state."""

    def __init__(self, scale: float, bit_width: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(float(scale)), persistent=False)
        self.register_buffer("zero", torch.tensor(0.0), persistent=False)
        self.register_buffer("bits", torch.tensor(float(bit_width)), persistent=False)


class RSign(_Constants):
    """Brevitas tensor quantizer: x (any shape) -> +-1. The caller adds the learned move (spec: sgn(x + move))."""

    def __init__(self) -> None:
        super().__init__(1.0, 1)

    def forward(self, x: Tensor):
        y = fused_fixed.decide(x, None, None) if fused_fixed.usable(x) else SignRamp.apply(x)
        return y, self.scale, self.zero, self.bits


class CentredBinary(_Constants):
    """Brevitas tensor quantizer of binary weights, paper equations 1 and 4 as the released code computes them.

    w (out, ...) -> s * sign(w - mean over the row), s = mean |w| of the un-centred row. The centre is taken in float64.
    The gradient of the sign is that of clip(centred, -1, 1), not multiplied by s, and flows through the centring.
    """

    def __init__(self) -> None:
        super().__init__(1.0, 1)

    def forward(self, w: Tensor):
        binary, scale = centred_binary(w)
        exact = binary * scale
        rows = w.reshape(w.shape[0], -1)
        surrogate = (rows - rows.mean(1, keepdim=True)).clamp(-1, 1).reshape(w.shape)
        return exactly(exact, surrogate), scale, self.zero, self.bits


class UncentredBinary(_Constants):
    """Brevitas tensor quantizer of binary weights, paper equations 1 and 4 as printed: w (out, ...) -> s * sign(w).

    The gradient is multiplied by s and zero where |w| > 1; s = mean |w| of the row takes none.
    """

    def __init__(self) -> None:
        super().__init__(1.0, 1)

    def forward(self, w: Tensor):
        scale = centred_binary(w)[1]
        return exactly(sign(w.detach()) * scale, w.clamp(-1, 1) * scale), scale, self.zero, self.bits


def centred_binary(w: Tensor) -> tuple[Tensor, Tensor]:
    """Signs (+-1, shape of w) and scales (out, 1, ...) of a latent binary weight (out, ...), both in w's type."""
    with torch.no_grad():
        rows = w.reshape(w.shape[0], -1).to(torch.float64)
        binary = sign(rows - rows.mean(1, keepdim=True)).reshape(w.shape).to(w.dtype)
        scale = rows.abs().mean(1).reshape(-1, *([1] * (w.dim() - 1))).to(w.dtype)
    return binary, scale


class PlainBinary(_Constants):
    """Brevitas tensor quantizer of deployed weights: sign, scale 1, gradient clipped at |w| <= 1."""

    def __init__(self) -> None:
        super().__init__(1.0, 1)

    def forward(self, w: Tensor):
        return SignClip.apply(w), self.scale, self.zero, self.bits


class FloorPowerOfTwo(_Constants):
    """Brevitas tensor quantizer: clip(floor(x / 2**exponent), min, max) * 2**exponent, any shape."""

    def __init__(self, exponent: int, bit_width: int, signed: bool) -> None:
        super().__init__(2.0**exponent, bit_width)
        self.lo, self.hi = int_range(bit_width, signed)

    def forward(self, x: Tensor):
        y = FloorClamp.apply(x / self.scale, self.lo, self.hi) * self.scale
        return y, self.scale, self.zero, self.bits


class _Act(ExtendedInjector):
    proxy_class = ActQuantProxyFromInjector
    narrow_range = False
    signed = True
    float_to_int_impl_type = "FLOOR"
    rounding_mode = "FLOOR"


class RSignAct(_Act):
    """Activation quantizer: sign with the released gradient."""

    tensor_quant = RSign


class FloorAct(_Act):
    """Activation or constant quantizer; needs `exponent`, `bit_width`, `signed`."""

    tensor_quant = FloorPowerOfTwo


class _BinaryWeight(ExtendedInjector):
    proxy_class = WeightQuantProxyFromInjector
    narrow_range = True
    signed = True
    rounding_mode = "ROUND"


class CentredBinaryWeight(_BinaryWeight):
    """Weight quantizer of the float phase."""

    tensor_quant = CentredBinary


class UncentredBinaryWeight(_BinaryWeight):
    """Weight quantizer of the float phase with `weight_sign: plain`."""

    tensor_quant = UncentredBinary


class PlainBinaryWeight(_BinaryWeight):
    """Weight quantizer of the deployed phase."""

    tensor_quant = PlainBinary


def sign_act() -> qnn.QuantIdentity:
    """Binary activation: x (any shape) -> +-1."""
    return qnn.QuantIdentity(act_quant=RSignAct, return_quant_tensor=False)


class FixedQuant(nn.Module):
    """A named fixed-point quantizer; its exponent is chosen once (`set_exponent`) or comes with the state.

    x (any shape) -> the same shape, `clip(floor(x / 2**exponent)) * 2**exponent`. `bias`: what calibration has put on
    top of every channel so that a decision behind falls between two values; no part of the state, for reports.
    """

    def __init__(self, bits: int, signed: bool = True) -> None:
        super().__init__()
        self.bits, self.signed, self.exponent = bits, signed, None
        self.quant: ActQuantProxyFromInjector | None = None
        self.bias: Tensor | None = None

    def set_exponent(self, exponent: int, bits: int | None = None) -> None:
        """Fixes the scale 2**exponent (and, where given, the width)."""
        self.exponent, self.bits = int(exponent), int(bits or self.bits)
        # the proxy alone: a QuantIdentity, of which a network has thousands, takes 2.6 times as long to make
        self.quant = ActQuantProxyFromInjector(
            self, FloorAct.let(exponent=self.exponent, bit_width=self.bits, signed=self.signed))
        self.quant.train(self.training)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        return int_range(self.bits, self.signed)

    def forward(self, x: Tensor) -> Tensor:
        if self.quant is None:
            raise RuntimeError("this quantizer has no scale yet: freeze the network on calibration images, or load a "
                               "deployed state, before running its deployed form")
        return fused_fixed.quantize(self, x) if fused_fixed.usable(x) else self.quant(x).value

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.bits, 0 if self.exponent is None else self.exponent, self.exponent is not None])

    def set_extra_state(self, state: Tensor) -> None:
        bits, exponent, known = (int(v) for v in state)
        if known and (bits, exponent) != (self.bits, self.exponent):
            self.set_exponent(exponent, bits)


class FixedConst(nn.Module):
    """A learned constant that hardware stores as integers: `integer * 2**exponent`, itself a Quant in the graph.

    The latent value carries half an LSB, so that FLOOR rounds it to nearest while training.
    """

    def __init__(self, shape: tuple[int, ...], bits: int, signed: bool = True, grow: bool = False) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(shape))
        self.q = FixedQuant(bits, signed)
        self.grow, self.cap = grow, bits

    @property
    def exponent(self) -> int:
        return self.q.exponent

    def set(self, value: Tensor, exponent: int) -> None:
        """Stores round(value / 2**exponent), saturated. With `grow` the width is what the values need."""
        ints = torch.floor(value.detach().to(torch.float64).reshape(self.latent.shape) * 2.0**-exponent + 0.5)
        bits = self.q.bits
        if self.grow:
            bits = min(bits_for(int(ints.min()), int(ints.max())), self.cap)
        self.q.set_exponent(exponent, bits)
        self.set_integers(ints.clamp(*self.q.limits))

    def set_integers(self, ints: Tensor) -> None:
        """Stores integers; the exponent must be known."""
        with torch.no_grad():
            value = (ints.to(torch.float64) + 0.5) * 2.0**self.exponent
            self.latent.copy_(value.to(self.latent.dtype))

    def integers(self) -> Tensor:
        """The stored integers, int32, in the constant's shape."""
        with torch.no_grad():
            lo, hi = self.q.limits
            return torch.floor(self.latent * 2.0**-self.exponent).clamp(lo, hi).to(torch.int32)

    def snap(self) -> None:
        """Moves the latent value onto the grid; the quantized value stays. For export."""
        ints = self.integers()
        with torch.no_grad():
            self.latent.copy_((ints.to(torch.float64) * 2.0**self.exponent).to(self.latent.dtype))

    def forward(self) -> Tensor:
        return self.q(self.latent)


class BinaryWeight(nn.Module):
    """Deployed +-1 weight of shape (out, K...), trainable through its latent value."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.quant = WeightQuantProxyFromInjector(self, PlainBinaryWeight)

    def set(self, latent: Tensor) -> None:
        """Takes a centred latent weight; exact zeros become positive, like sign(0)."""
        with torch.no_grad():
            self.weight.copy_(latent.reshape(self.weight.shape).to(self.weight.dtype))

    def signs(self) -> Tensor:
        """+-1 as int8."""
        return sign(self.weight.detach()).to(torch.int8)

    def snap(self) -> None:
        """Replaces the latent value by its sign. For export."""
        with torch.no_grad():
            self.weight.copy_(sign(self.weight))

    def quant_weight(self):
        """The weight with scale and width, as Brevitas' exporter asks for it."""
        return self.quant(self.weight)

    def forward(self) -> Tensor:
        return self.quant_weight().value
