"""The same network without binarization: a teacher, the upper bound, and the first of two training stages.

Parameters, names and shapes stay; only what quantizes is bypassed: binary weights become the latent weights, signs
and the attention quantizer the identity. `restore` takes it back.
"""

from __future__ import annotations

import re
import types

import torch
from torch import Tensor, nn
from torch.nn import functional

from bhvit.model.quantizers import BinaryWeight, centred_binary, sign

BINARY = re.compile(r"encoder\..*(cov\d|dense|query|key|value|proj)\.weight$")

QUANTIZERS = ("sign", "att_prob_quantizer", "gsb")  # modules of activations and attention probabilities


def binary_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    """Latent weights of the binary layers of either phase, by name; without layers kept at full precision."""
    found = {}
    for name, module in net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, BinaryWeight) or (BINARY.search(f"{name}.weight") and hasattr(module, "weight_quant")):
            found[f"{name}.weight"] = weight
    return found


@torch.no_grad()
def signs(net: nn.Module) -> dict[str, Tensor]:
    """The signs that the network computes with, as bool tensors (true: +1), by the names of `binary_weights`."""
    found = {}
    for name, weight in binary_weights(net).items():
        layer = net.get_submodule(name.removesuffix(".weight"))
        plain = isinstance(layer, BinaryWeight) or not getattr(layer, "centred", True)
        found[name] = (sign(weight) if plain else centred_binary(weight)[0]) > 0
    return found


def relax(net: nn.Module, weights: bool = True, activations: bool = True) -> nn.Module:
    """Bypass the binarization of weights, activations (with the attention matrix), or both, in place."""
    if getattr(net, "frozen", False):
        raise RuntimeError("a frozen network is integers: only the float phase can be relaxed")
    latent = binary_weights(net)
    for name, module in net.named_modules():
        if weights and f"{name}.weight" in latent:
            module.forward = types.MethodType(_conv if isinstance(module, nn.Conv2d) else _linear, module)
        if activations and name.rpartition(".")[2] in QUANTIZERS:
            module.forward = types.MethodType(_identity, module)
    return net


def restore(net: nn.Module) -> nn.Module:
    """Undo `relax`."""
    for module in net.modules():
        module.__dict__.pop("forward", None)
    return net


def _linear(self: nn.Module, x: Tensor) -> Tensor:
    return functional.linear(x, self.weight, self.bias)


def _conv(self: nn.Module, x: Tensor) -> Tensor:
    return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _identity(self: nn.Module, x: Tensor, *_) -> Tensor:
    return x
