"""Elementwise layers of the fixed-point phase in one pass over memory, for fine-tuning on a CPU.

Inside `fused.active(torch.float32)` epilogues, quantizers, signs and shifts of a deployed network are kernels
(fused_fixed.cpp). Their values are those of the plain modules bit by bit, since everything in fixed point is exact in
float32; gradients are the same but for the order of sums over tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bhvit.model.layers.fused import _call, _rows, _vector, is_active


def usable(*tensors: Tensor | None) -> bool:
    """Whether these tensors are float32 maps on a CPU inside `fused.active(torch.float32)`."""
    return is_active(torch.float32) and all(
        t is None or (t.dtype == torch.float32 and t.device.type == "cpu" and t.dim() > 1) for t in tensors)


def _format(quant) -> list[float]:
    step = 2.0**quant.exponent
    return [1 / step, step, *map(float, quant.limits)]


# --- epilogue ---


def epilogue(layer, acc: Tensor, res1: Tensor | None, res2: Tensor | None) -> Tensor:
    """`layers.epilogue.Epilogue.forward`: acc (..., C), residuals of the same shape or None.

    Raises ValueError where they are not: kernels read as many residuals as there are sums.
    """
    for has, res in ((layer.has_res1, res1), (layer.has_res2, res2)):
        if has and (res is None or res.shape != acc.shape):
            raise ValueError(f"a residual of shape {tuple(acc.shape)} is needed, got "
                             f"{None if res is None else tuple(res.shape)}")
    vectors = [layer.m(), layer.o(), *((layer.p(), layer.n(), layer.o2()) if layer.act else (None,) * 3)]
    r = layer.r() if layer.has_res1 and layer.ratio > 1 else None
    formats = [*(_format(layer.z) if layer.act else [0.0] * 4), *_format(layer.y)]
    residuals = res1 if layer.has_res1 else None, res2 if layer.has_res2 else None
    return _Epilogue.apply(acc, *vectors, r, *residuals, formats)


class _Epilogue(torch.autograd.Function):
    @staticmethod
    def forward(ctx, acc, m, o, p, n, o2, r, res1, res2, formats):
        acc, res1, res2 = (None if t is None else t.contiguous() for t in (acc, res1, res2))
        rows, channels = _rows(acc)
        v = torch.stack([torch.zeros(channels) if t is None else _vector(t) for t in (m, o, p, n, o2)])
        q = torch.tensor([*formats, 1.0 if r is None else float(r)])
        act = None if p is None else q
        out = torch.empty_like(acc)
        _call("bv_fixed", rows, channels, acc, v, res1, res2, act, q, out)
        ctx.save_for_backward(acc, v, res1, res2, q)
        ctx.has = (p is not None, r is not None)
        return out

    @staticmethod
    def backward(ctx, g):
        acc, v, res1, res2, q = ctx.saved_tensors
        has_act, has_r = ctx.has
        rows, channels = _rows(acc)
        g = g.contiguous()
        gacc, g1, g2 = (None if t is None else torch.empty_like(t) for t in (acc, res1, res2))
        sums = torch.zeros(6, channels, dtype=torch.float64)
        _call("bv_fixed_back", rows, channels, g, acc, v, res1, res2, q if has_act else None, q, gacc, g1, g2, sums)
        s = sums.float()
        slopes = (s[2], s[3], s[4]) if has_act else (None,) * 3
        return gacc, s[0], s[1], *slopes, sums[5].sum().float().reshape(1) if has_r else None, g1, g2, None


# --- quantizer alone ---


def quantize(quant, x: Tensor) -> Tensor:
    """`quantizers.FixedQuant.forward`, x of any shape."""
    return _Floor.apply(x, _format(quant))


class _Floor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, form):
        x, q = x.contiguous(), torch.tensor(form)
        out = torch.empty_like(x)
        _call("bv_floor", *_rows(x), x, q, out)
        ctx.save_for_backward(x, q)
        return out

    @staticmethod
    def backward(ctx, g):
        x, q = ctx.saved_tensors
        out = torch.empty_like(x)
        _call("bv_floor_back", *_rows(x), g.contiguous(), x, q, out)
        return out, None


# --- signs ---


def decide(x: Tensor, m: Tensor | None, o: Tensor | None) -> Tensor:
    """sign(x * m + o) with the gradient of `ste.SignRamp`: x (..., C); m, o (C,), None for 1 and 0."""
    return _Decide.apply(x, m, o)


class _Decide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, m, o):
        x = x.contiguous()
        rows, channels = _rows(x)
        v = torch.stack([torch.ones(channels) if m is None else _vector(m),
                         torch.zeros(channels) if o is None else _vector(o)])
        out = torch.empty_like(x)
        _call("bv_decide", rows, channels, x, v, out)
        ctx.save_for_backward(x, v)
        ctx.has = (m is not None, o is not None)
        return out

    @staticmethod
    def backward(ctx, g):
        x, v = ctx.saved_tensors
        rows, channels = _rows(x)
        out, sums = torch.empty_like(x), torch.zeros(2, channels, dtype=torch.float64)
        _call("bv_decide_back", rows, channels, g.contiguous(), x, v, out, sums)
        s = sums.float()
        return out, s[0] if ctx.has[0] else None, s[1] if ctx.has[1] else None
