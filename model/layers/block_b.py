"""Block B: window attention with merge tokens, MSMHA (paper equations 6, 8 to 12, spec section 4), then the MLP."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers.blend import Blend
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed, fold_norm, sign_edge, vec
from bhvit.model.layers.float_parts import (
    GSB,
    QD,
    ChannelNorm,
    LayerScale,
    RPReLU,
    binary_linear,
    channel_norm,
    sign_act,
)
from bhvit.model.layers.fused import norm_act, sign_move
from bhvit.model.layers.layer_norm import LayerNorm
from bhvit.model.layers.linear import BinaryLinear
from bhvit.model.layers.mlp import DeployedMlp, MlpMixin, binary_terms, calibrate_binary
from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.layers.shapes import repeat_windows, unwindows, upsample, window_max, window_mean, window_sum, windows
from bhvit.model.layers.threshold import Threshold
from bhvit.model.numerics import exponent_mse

QKV = ("query", "key", "value")


class TokensForAttention(nn.Module):
    """U (B, H, W, C) -> tokens (B, nW, T, C): windows, then the image's merge tokens, then a norm over C."""

    def __init__(self, c: ModelConfig, channels: int) -> None:
        super().__init__()
        self.w, self.padding, self.merge = c.window, c.pool_padding, c.merge_tokens
        if self.merge == "blend":
            self.a1 = nn.Parameter(torch.full((1, 1, channels), 0.5))
        elif self.merge == "average":  # the paper's pooling: no share of the maximum
            self.register_buffer("a1", torch.zeros(1, 1, channels), persistent=False)
        self.norm = nn.LayerNorm(channels) if c.token_norm == "layer" else ChannelNorm(channels)

    def forward(self, u: Tensor) -> Tensor:
        if self.merge == "off":
            return self.norm(windows(u, self.w))
        merge = window_mean(u, self.w, self.padding)
        if self.merge == "blend":
            merge = self.a1 * window_max(u, self.w, self.padding) + (1 - self.a1) * merge
        merge = merge.reshape(u.shape[0], -1, u.shape[-1])
        return self.norm(torch.cat([windows(u, self.w), repeat_windows(merge, merge.shape[1])], 2))


class SelfAttention(nn.Module):
    """U (B, H, W, C) -> R (B, H, W, C): steps 2 to 9 of spec section 4.1."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        channels, self.heads, centred = c.widths[stage], c.stage_heads(stage), c.weight_sign == "centred"
        self.w, self.n = c.window, c.maps[stage] // c.window
        self.token_FA = TokensForAttention(c, channels)
        if c.merge_tokens != "off" and c.merge_output == "blend":
            self.parm = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))
        for name in QKV:
            z = name[0]
            self.register_parameter(f"move{z}", nn.Parameter(torch.zeros(channels)))
            self.register_parameter(f"move{z}2", nn.Parameter(torch.zeros(channels)))
            self.add_module(name, binary_linear(channels, channels, centred))
            self.add_module(f"norm{z}", ChannelNorm(channels))
            self.add_module(f"rprelu{z}", RPReLU(channels))
        if c.attention != "gsb":
            self.att_prob_quantizer = QD(self.heads, 1 if c.attention == "binary" else 2, c.attention != "qd_fixed")
        else:
            self.gsb = GSB()
            for name, init in (("", 0.005), ("2", 1.0), ("3", 1.0)):
                self.register_parameter(f"att_prob_clip{name}", nn.Parameter(torch.tensor(init)))
        self.norm_context = channel_norm(channels, c.context_norm)
        self.rprelu_context = RPReLU(channels)
        self.sign = sign_act()

    def forward(self, u: Tensor) -> Tensor:
        h = self.token_FA(u)
        full, heads = [], []
        for name in QKV:
            z = name[0]
            y = getattr(self, name)(sign_move(self.sign, h, getattr(self, f"move{z}")))
            full.append(norm_act(y, getattr(self, f"norm{z}"), getattr(self, f"rprelu{z}"), residual=h))
            bits = sign_move(self.sign, full[-1], getattr(self, f"move{z}2"))
            heads.append(bits.reshape(*bits.shape[:3], self.heads, -1).transpose(2, 3))
        q, k, v = heads
        p = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1]), -1)
        if hasattr(self, "gsb"):
            a = self.gsb(p, self.att_prob_clip, self.att_prob_clip2, self.att_prob_clip3)
        else:
            a = self.att_prob_quantizer(p)
        g = torch.matmul(a, v).transpose(2, 3).reshape(h.shape)
        out = norm_act(g, self.norm_context, self.rprelu_context, residual=full[0] + full[1] + full[2])
        local = unwindows(out[:, :, :self.w**2], self.w, self.n)
        if out.shape[2] == self.w**2:
            return local
        merge = out[:, :, self.w**2:].mean(1).reshape(-1, self.n, self.n, out.shape[-1])
        if not hasattr(self, "parm"):
            return local + upsample(merge, self.w)
        parm = self.parm.reshape(-1)
        return parm * local + (1 - parm) * upsample(merge, self.w)

    def merge_weights(self) -> tuple[Tensor, Tensor]:
        """What local tokens and the mean of the merge tokens count in the output, (C,) float64 each."""
        if not hasattr(self, "parm"):
            one = torch.ones(len(self.moveq), dtype=torch.float64)
            return one, one
        parm = vec(self.parm)
        return parm, 1 - parm


class SelfOutput(nn.Module):
    """S = LS(RPReLU(BN(BLin(R + move)) + R)): (B, H, W, C) -> same."""

    def __init__(self, channels: int, centred: bool = True) -> None:
        super().__init__()
        self.move = nn.Parameter(torch.zeros(channels))
        self.dense = binary_linear(channels, channels, centred)
        self.norm = ChannelNorm(channels)
        self.rprelu = RPReLU(channels)
        self.layerscale = LayerScale(channels, 0.1)
        self.sign = sign_act()

    def forward(self, r: Tensor) -> Tensor:
        y = self.dense(sign_move(self.sign, r, self.move))
        return norm_act(y, self.norm, self.rprelu, self.layerscale, residual=r)


class BlockB(MlpMixin):
    """X (B, H, W, C) -> MLP(X + attention(BN(X)))."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        channels = c.widths[stage]
        super().__init__(c, stage)
        self.layernorm_before = channel_norm(channels, c.pre_norm)
        self.attention = nn.Module()
        self.attention.attention = SelfAttention(c, stage)
        self.attention.output = SelfOutput(channels, c.weight_sign == "centred")

    def forward(self, x: Tensor) -> Tensor:
        r = self.attention.attention(self.layernorm_before(x))
        return self.mlp(x + self.attention.output(r))


class WindowConcat(nn.Module):
    """U (B, H, W, C) s8 -> tokens (B, nW*T, C) s8: window tokens, then blended merge tokens, per window."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        self.w, self.padding = c.window, c.pool_padding
        self.channels, self.n = c.widths[stage], c.maps[stage] // c.window
        self.blend = Blend(self.channels, c.bits)

    def _tokens(self, u: Tensor, merge: Tensor) -> Tensor:
        n, c = self.n**2, self.channels
        merge = repeat_windows(merge.reshape(-1, n, c), n)
        return torch.cat([windows(u, self.w), merge], 2).reshape(-1, n * (self.w**2 + n), c)

    def forward(self, u: Tensor) -> Tensor:
        return self._tokens(u, self.blend(window_max(u, self.w, self.padding), window_sum(u, self.w, self.padding)))

    def calibrate(self, u: Fixed, a1: Tensor) -> Fixed:
        """Args: u: map; a1: (C,) float64 weight of the maximum."""
        top = u.moved(window_max(u.value, self.w, self.padding))
        total = u.summed(window_sum(u.value, self.w, self.padding), self.w**2)
        merge = self.blend.calibrate(top, total, a1, (1 - a1) / self.w**2, u.e)
        return Fixed(self._tokens(u.value, merge.value), u.e, min(u.lo, merge.lo), max(u.hi, merge.hi))


class WindowMerge(nn.Module):
    """V (B, nW*T, C) s8 -> R (B, H, W, C) s8: local tokens blended with upsampled merge tokens (equation 12)."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        self.w, self.channels, self.n = c.window, c.widths[stage], c.maps[stage] // c.window
        self.blend = Blend(self.channels, c.bits)

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor]:
        n, w, c = self.n, self.w, self.channels
        v = v.reshape(-1, n * n, w * w + n * n, c)
        local = unwindows(v.narrow(2, 0, w * w), w, n)
        merge = v.narrow(2, w * w, n * n).sum(1).reshape(-1, n, n, c)
        return local, upsample(merge, w)

    def forward(self, v: Tensor) -> Tensor:
        return self.blend(*self._parts(v))

    def changed(self, got: Tensor, want: Tensor, shares: tuple[Tensor, Tensor], move: Tensor) -> float:
        """Share of the decisions sign(R + move) that differ between two tensors V of real values."""
        terms = self.n**2
        sides = []
        for v in (got, want):
            local, merge = self._parts(v)
            sides.append(local * shares[0] + merge * (shares[1] / terms) + move)
        return changed(*sides)

    def calibrate(self, v: Fixed, shares: tuple[Tensor, Tensor], edge: Tensor) -> Fixed:
        """Args: v: tokens; shares: see `SelfAttention.merge_weights`; edge: (C,) where the threshold falls."""
        local, merge = self._parts(v.value)
        terms = self.n**2
        return self.blend.calibrate(v.moved(local), v.summed(merge, terms), shares[0], shares[1] / terms,
                                    edge=edge)


def changed(got: Tensor, want: Tensor) -> float:
    """Share of the elements whose signs differ."""
    return float(((got >= 0) != (want >= 0)).double().mean())


def _flips(a: SelfAttention, got: Tensor, want: Tensor) -> float:
    """Share of the decisions behind normalised tokens (..., C) that differ, over q, k and v."""
    moves = [getattr(a, f"move{z[0]}") for z in QKV]
    return sum(changed(got + move, want + move) for move in moves) / len(moves)


class DeployedBlockB(nn.Module):
    """X (B, H, W, C) s8 -> X s8 in fixed point."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        ch, b = c.widths[stage], c.bits
        n = (c.maps[stage] // c.window) ** 2
        self.heads = c.stage_heads(stage)
        self.norm = Epilogue(ch, b, b.activation, act=False)
        self.concat = WindowConcat(c, stage)
        self.token_norm = (LayerNorm(ch, b) if c.token_norm == "layer"
                           else Epilogue(ch, b, b.activation, act=False))
        for name in QKV:
            self.add_module(f"threshold_{name}", Threshold(ch, b))
            self.add_module(name, BinaryLinear(ch, ch, b, b.activation, res1=True))
            self.add_module(f"binarize_{name}", Threshold(ch, b))
        self.attention = QDAttention(ch, self.heads, n, c.window**2 + n, b)
        self.context = Epilogue(ch, b, b.activation, act=True, res1=True)
        self.merge = WindowMerge(c, stage)
        self.threshold_out = Threshold(ch, b)
        self.out = BinaryLinear(ch, ch, b, b.residual, res1=True, res2=True, slope_bits=b.layerscale_slope)
        self.mlp = DeployedMlp(ch, c.mlp_ratios[stage], b)

    def forward(self, x: Tensor) -> Tensor:
        h = self.token_norm(self.concat(self.norm(x)))
        full = [getattr(self, z)(getattr(self, f"threshold_{z}")(h), h) for z in QKV]
        bits = [getattr(self, f"binarize_{z}")(f) for z, f in zip(QKV, full)]
        v = self.context(self.attention(*bits), full[0] + full[1] + full[2])
        r = self.merge(v)
        return self.mlp(self.out(self.threshold_out(r), r, x))

    @staticmethod
    def edge(f: BlockB) -> None:
        """No decision falls in the block's input itself."""

    def calibrate(self, f: BlockB, x: Fixed, edge: Tensor | None = None) -> Fixed:
        """Args: f: the float block; x: residual stream; edge: of the layer behind, see `Epilogue.finish`."""
        a, o = f.attention.attention, f.attention.output
        u = self.norm.calibrate(x, *fold_norm(f.layernorm_before),
                                flips=lambda *u: _flips(a, *(a.token_FA.norm(x.float()) for x in u)))
        h = self.concat.calibrate(u, vec(a.token_FA.a1))
        norm = a.token_FA.norm
        terms = (norm,) if isinstance(norm, nn.LayerNorm) else fold_norm(norm)
        h = self.token_norm.calibrate(h, *terms, flips=lambda *h: _flips(a, *h))
        reals, layers = [], [getattr(self, z) for z in QKV]
        for z, layer in zip(QKV, layers):
            b = getattr(self, f"threshold_{z}").calibrate(h, vec(getattr(a, f"move{z[0]}")))
            t = binary_terms(layer, b, getattr(a, z), getattr(a, f"norm{z[0]}"), getattr(a, f"rprelu{z[0]}"))
            reals.append(layer.epilogue.prepare(*t[:3], h, *t[3:]))
        e = max(exponent_mse(torch.cat(reals), layers[0].epilogue.y.bits), *(v.epilogue.floor_e for v in layers))
        moves = [vec(getattr(a, f"move{z[0]}2")) for z in QKV]
        full = [layer.epilogue.finish(e, -move) for layer, move in zip(layers, moves)]
        bits = [getattr(self, f"binarize_{z}").calibrate(t, move) for z, t, move in zip(QKV, full, moves)]
        quant = a.att_prob_quantizer
        g = self.attention.calibrate(*bits, quant)
        gain, beta = fold_norm(a.norm_context)
        step = quant.hardware_step().repeat_interleave(len(gain) // self.heads)
        act, shares = a.rprelu_context, a.merge_weights()
        v = self.context.calibrate(g, gain * step, beta - vec(act.move1),
                                   full[0].summed(sum(t.value for t in full), 3,
                                                  sum(0 if t.bias is None else t.bias for t in full)),
                                   torch.ones_like(gain), vec(act.prelu.weight), vec(act.move2),
                                   flips=lambda got, want: self.merge.changed(got, want, shares, vec(o.move)))
        r = self.merge.calibrate(v, shares, -vec(o.move))
        b = self.threshold_out.calibrate(r, vec(o.move))
        inner = sign_edge(f.layernorm_after, f.intermediate.move)
        return self.mlp.calibrate(f, calibrate_binary(self.out, b, o, r, x, inner), edge)
