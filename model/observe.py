"""What the float network computes, tensor by tensor, described in the words of the golden recipe.

Hooks describe every tensor as soon as it exists (statistics, checksums of signs and attention levels) and keep nothing
else, so a whole network is observed in little more memory than one forward pass. Names and layouts are those of the
released code: convolutions and blocks (B, C, H, W), everything else tokens (B, N, C) or, in the attention, windows
(B*nW, T, C).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from torch import Tensor, nn

from bhvit.model.layers.block_a import BlockA, GroupedConv
from bhvit.model.layers.block_b import BlockB, SelfAttention, SelfOutput, TokensForAttention
from bhvit.model.layers.downsample import Downsample
from bhvit.model.layers.float_parts import GSB, QD, ChannelNorm, LayerScale, RPReLU
from bhvit.model.layers.mlp import Intermediate, Output
from bhvit.model.layers.shapes import channel_sum, window_max, window_mean
from bhvit.model.layers.stem import Stem
from bhvit.model.network import BHViT

FIRST = 16  # leading values of a statistics record
ATTENTION = ".attention.attention"
QKV = ("query", "q", "key", "k", "value", "v")  # in the order in which the attention takes signs

Record = dict[str, Any]
#: Called with (section, name, function that makes the record).
Sink = Callable[[str, str, Callable[[], Record]], None]


@lru_cache
def _ramp(bits: int) -> Tensor:
    """Weights of the order-sensitive checksum: ((k * 2654435761) mod 2**32) / 2**32 - 1/2 for k < 2**bits."""
    k = torch.arange(1 << bits, dtype=torch.int64)
    return ((k * 2654435761) & 0xFFFFFFFF).double() / 2.0**32 - 0.5


def statistics(x: Tensor) -> Record:
    """shape, mean, std (population), dot (weighted sum that sees the order) and the first values, C order, float64."""
    flat = x.detach().double().contiguous().reshape(-1)
    variance, mean = torch.var_mean(flat, correction=0)
    return {"shape": list(x.shape), "mean": float(mean), "std": float(variance.sqrt()),
            "dot": float(flat @ _ramp(flat.numel().bit_length())[:flat.numel()]), "first": flat[:FIRST].tolist()}


def signs(x: Tensor) -> Record:
    """shape, how many values are positive and zero, crc32 of the packed bits (x > 0), smallest magnitude."""
    x = x.detach().contiguous()
    positive, smallest = x > 0, float(x.abs().min())
    return {"shape": list(x.shape), "pos": int(positive.sum()), "zero": int((x == 0).sum()) if smallest == 0 else 0,
            "min_abs": smallest, "crc_pos": zlib.crc32(np.packbits(positive.reshape(-1).numpy()).tobytes())}


def levels(p: Tensor, a: Tensor, quantizer: QD) -> Record:
    """QD: histogram and crc32 of the levels 0..3 that `a` holds, and the least distance of 3p/alpha + zp to a step."""
    alpha, zero = quantizer.alpha[:, None, None], quantizer.zero_point[:, None, None]
    level = (a / alpha).round().to(torch.uint8).contiguous()
    v = 3 * p / alpha + zero
    margin = min(float((v - step).abs().min()) for step in (0.5, 1.5, 2.5))
    return {"shape": _merged(a), "hist": torch.bincount(level.reshape(-1), minlength=4).tolist(), "margin": margin,
            "crc_levels": zlib.crc32(level.numpy().tobytes())}


def codes(p: Tensor, a: Tensor) -> Record:
    """GSB: histogram and crc32 of code = 1 + T0 + 4 T1 + 16 T2 (spec 8.2) of probabilities p with scale a, and the
    least distance of p/a to a decision."""
    q = p / a
    top = q.amax(-1, keepdim=True)
    b0, t2, t1 = q.round().clamp(0, 1), (q > 0.9 * top).to(q.dtype), (q > 0.7 * top).to(q.dtype)
    code = (1 + (b0 - t1) + 4 * (t1 - t2) + 16 * t2).to(torch.uint8).contiguous()
    values, counts = torch.unique(code, return_counts=True)
    margin = min(float((q - edge).abs().min()) for edge in (0.5, 0.7 * top, 0.9 * top))
    return {"shape": _merged(p), "codes": {str(int(v)): int(n) for v, n in zip(values, counts)}, "margin": margin,
            "crc_codes": zlib.crc32(code.numpy().tobytes())}


def binary_weight(w: Tensor) -> Record:
    """Signs of a latent binary weight, centred in float64 over each output row, and its first four scales."""
    rows = w.detach().double().reshape(w.shape[0], -1)
    told = signs((rows - rows.mean(1, keepdim=True)).reshape(w.shape))
    return {**told, "scale_first": rows.abs().mean(1)[:4].tolist()}


def _merged(x: Tensor) -> list[int]:
    """Shape of (B, nW, heads, T, T) with images and windows in one axis."""
    return [x.shape[0] * x.shape[1], *x.shape[2:]]


def _nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _tokens(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _windows(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[2:])


class Observer:
    """Hooks on a float-phase network; `with Observer(net, sink): net.forward_normalised(x)`.

    sink: gets section ("modules", "sign_inputs", "attention"), name, and a function that makes the record; it calls
    the function only where it wants the record.
    """

    def __init__(self, net: BHViT, sink: Sink) -> None:
        self.net, self.sink = net, sink

    def __enter__(self) -> Observer:
        self.hooks = []
        for name, module in self.net.named_modules():
            for kind, watch in ((nn.Conv2d, self._conv), (Stem, self._stem), (BlockA | BlockB, self._map),
                                (Downsample, self._map), (GroupedConv, self._map), (SelfAttention, self._map),
                                (ChannelNorm | nn.LayerNorm | qnn.QuantLinear | LayerScale | Intermediate,
                                 self._plain), (RPReLU, self._rprelu), (Output | SelfOutput, self._output),
                                (TokensForAttention, self._concat), (QD, self._qd), (GSB, self._gsb)):
                if isinstance(module, kind):
                    self._watch(module, name, watch)
            if isinstance(module, nn.Linear) and name == "classifier":
                self._watch(module, name, self._conv)
            if name.endswith(".sign"):
                self._watch(module, name.removesuffix(".sign"), self._sign(self.net.get_submodule(name[:-5])))
        return self

    def __exit__(self, *_) -> None:
        for h in self.hooks:
            h.remove()

    def _watch(self, module: nn.Module, name: str, watch: Callable) -> None:
        self.hooks.append(module.register_forward_hook(lambda m, i, out: watch(name, m, i, out)))

    def _say(self, name: str, x: Tensor) -> None:
        self.sink("modules", name, lambda: statistics(x))

    def _conv(self, name: str, _m, _i, out: Tensor) -> None:
        self._say(name, out)

    def _map(self, name: str, module: nn.Module, _i, out: Tensor) -> None:
        self._say(name, _nchw(out))

    def _flat(self, name: str, x: Tensor) -> Tensor:
        """Tokens, or windows for what runs inside the attention."""
        return _windows(x) if f"{ATTENTION}." in name else _tokens(x)

    def _plain(self, name: str, module: nn.Module, inputs, out: Tensor) -> None:
        self._say(name, self._flat(name, out))
        parent, _, last = name.rpartition(".")
        if name == "vit.layernorm":
            self._say("vit.last_hidden_state", _tokens(out))
        elif last.startswith("layerscale_"):
            self._say(f"{parent}.shift_{last.removeprefix('layerscale_')}", _nchw(inputs[0]))
        elif last == "norm0":
            self.sink("modules", f"{parent}.pool",
                      lambda: statistics(nn.functional.avg_pool2d(_nchw(out), 2)))

    def _stem(self, name: str, stem: Stem, _i, out: Tensor) -> None:
        act = out - stem.position_embeddings.permute(0, 2, 3, 1)
        self._say(f"{name}.patch_embeddings.act", _tokens(act))
        self._say(f"{name}.patch_embeddings", _tokens(act))
        self._say(name, _nchw(out))

    def _rprelu(self, name: str, module: RPReLU, _i, out: Tensor) -> None:
        x = self._flat(name, out)
        self.sink("modules", f"{name}.prelu", lambda: statistics((x - module.move2).transpose(1, 2)))
        self._say(name, x)
        if name.endswith(".output.rprelu"):
            self._say(f"{name.removesuffix('.rprelu')}.dropout", x)

    def _output(self, name: str, module: Output | SelfOutput, inputs, out: Tensor) -> None:
        if isinstance(module, Output):
            r = module.ratio
            self.sink("modules", f"{name}.pooling", lambda: statistics(_tokens(channel_sum(inputs[0], r) / r)))
            self._say(f"{name}.drop_path", _tokens(out))
        else:
            self._say(name.removesuffix(".output"), _tokens(out))
        self._say(name, _tokens(out))

    def _concat(self, name: str, module: TokensForAttention, inputs, out: Tensor) -> None:
        u, w, pad = inputs[0], module.w, module.padding
        self.sink("modules", f"{name}.merge_avg", lambda: statistics(_nchw(window_mean(u, w, pad))))
        self.sink("modules", f"{name}.merge_max", lambda: statistics(_nchw(window_max(u, w, pad))))
        self._say(name, _windows(out))

    def _qd(self, name: str, module: QD, inputs, out: Tensor) -> None:
        self.sink("attention", name, lambda: levels(inputs[0], out, module))
        self._say(name, _windows(out))
        self._say(f"{name.rpartition('.')[0]}.dropout", _windows(out))

    def _gsb(self, name: str, module: GSB, inputs, out: Tensor) -> None:
        parent = name.rpartition(".")[0]
        self.sink("attention", f"{parent}:gsb", lambda: codes(inputs[0], inputs[1]))
        self._say(f"{parent}.dropout", _windows(out))

    def _sign(self, parent: nn.Module) -> Callable:
        """A watcher for the inputs of `parent`'s sign: the binary layers that take its result."""
        calls = 0

        def watch(name: str, _m, inputs, _out) -> None:
            nonlocal calls
            x = inputs[0]
            if isinstance(parent, SelfAttention):
                which = QKV[calls % len(QKV)]
                calls += 1
                names, x = [f"{name}.{which}:in" if len(which) > 1 else f"{name}:{which}"], _windows(x)
            elif isinstance(parent, GroupedConv):
                names, x = [f"{name}.cov{k}:in" for k in range(1, parent.branches + 1)], _nchw(x)
                self._say(f"{name}.move", x)
            elif isinstance(parent, Downsample):
                names, x = [f"{name}.proj:in"], _nchw(x)
            else:
                names, x = [f"{name}.dense:in"], _tokens(x)
            made: list[Record] = []  # one tensor under three names is described once

            def record() -> Record:
                if not made:
                    made.append(signs(x))
                return dict(made[0])

            for n in names:
                self.sink("sign_inputs", n, record)
        return watch


def describe_weights(net: BHViT, sink: Sink) -> None:
    """The binary weights of the float phase, section "binary_weights"."""
    for name, module in net.named_modules():
        if isinstance(module, qnn.QuantLinear | qnn.QuantConv2d):
            w = module.weight
            sink("binary_weights", f"{name}.weight", lambda w=w: binary_weight(w))
