"""Elementwise layers of the float phase in few passes over memory, for training on a CPU.

PyTorch runs norm, residual, RPReLU, sign and shift one after another over maps that do not fit a cache; there most of
the time of a step goes, not into products. Inside `active()` they are fused kernels (fused.cpp, compiled with g++ on
first use; those of fixed point: fused_fixed.py) on maps of one type, with the same gradients; elsewhere each function
here is the plain modules. The type is bf16 where the processor multiplies it (products are then bf16 too), else
float32: without such instructions a product in bf16 takes up to seventy times as long.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from bhvit.errors import UserError
from bhvit.model.layers.shapes import TAPS, channel_sum, tile
from bhvit.tools import compiler

SOURCES = tuple(Path(__file__).with_name(name) for name in ("fused.cpp", "fused_fixed.cpp", "fused.hpp"))
# not -ffast-math, which would have the library switch denormal numbers off for the whole process when it is loaded
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fassociative-math",
         "-fno-signed-zeros", "-fopenmp", "-shared", "-fPIC",
         *(("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()))
_on: torch.dtype | None = None  # type of the maps inside `active`


@contextmanager
def active(dtype: torch.dtype | None = None) -> Iterator[None]:
    """Use the fused kernels inside, on maps of bf16 or float32 (default: `map_type`), and products of the same type.

    Raises UserError where they cannot be compiled.
    """
    global _on
    dtype = dtype or map_type()
    library(dtype)
    before, _on = _on, dtype
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            yield
    finally:
        _on = before


def is_active(dtype: torch.dtype | None = None) -> bool:
    """Whether the calls below are fused now (on maps of this type)."""
    return _on is not None and dtype in (None, _on)


@cache
def map_type() -> torch.dtype:
    """bf16 where the processor multiplies it faster than float32, else float32.

    Intel's AVX512-BF16 without AMX does not: 85 GFLOP/s beside 148 in float32 on a core of an Emerald Rapids server,
    where training took 1.83 and 1.44 s a step (BHViT-tiny's widths at 32x32, 64 images). By name, not measured: a run
    that is continued must not change its numbers.
    """
    flags = set(_processor().split())
    fast = {"amx_bf16", "bf16"} | ({"avx512_bf16"} if "GenuineIntel" not in flags else set())
    return torch.bfloat16 if fast & flags else torch.float32


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled kernels; kept in the user's cache folder under a digest of source, flags and processor."""
    flags = FLAGS + (("-DFLOAT_MAPS",) if dtype == torch.float32 else ())
    key = repr(([source.read_bytes() for source in SOURCES], flags, _processor())).encode()
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bhvit"
    path = root / f"fused_{hashlib.sha256(key).hexdigest()[:16]}.so"
    if not path.is_file():
        try:
            _compile(path, flags)
        except OSError as error:
            raise UserError("The fused training kernels cannot be kept.", str(root), error.strerror,
                            "let XDG_CACHE_HOME name a folder that can be written, or --set fused=false") from error
    return ctypes.CDLL(str(path))


def _compile(path: Path, flags: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as tmp:
        made = Path(tmp) / path.name
        sources = [str(source) for source in SOURCES if source.suffix == ".cpp"]
        command = [str(compiler()), *flags, *sources, "-o", str(made)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise UserError("The fused training kernels do not compile.", str(SOURCES[0].parent),
                            run.stderr.strip()[-500:], "train without them: --set fused=false")
        made.replace(path)  # another process may have been first; the files are equal


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    kept = {line for line in lines if line.startswith(("vendor_id", "flags", "Features"))}
    return " ".join(sorted(kept)) or platform.processor()


def _call(name: str, *arguments: Tensor | int | None) -> None:
    """Call a kernel; its first tensor is a map, whose type chooses the library (backward runs outside `active`)."""
    first = next(a for a in arguments if isinstance(a, Tensor) and a.is_floating_point())
    values = [ctypes.c_void_p(a.data_ptr() if a is not None else None) if a is None or isinstance(a, Tensor)
              else ctypes.c_int64(a) for a in arguments]
    getattr(library(first.dtype), name)(*values, ctypes.c_int(torch.get_num_threads()))


def _map(x: Tensor, like: Tensor | None = None) -> Tensor:
    return x.to(_on if like is None else like.dtype).contiguous()


def _vector(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32).contiguous()


def _rows(x: Tensor) -> tuple[int, int]:
    return x.numel() // x.shape[-1], x.shape[-1]


# --- norm, residual, RPReLU, layer scale ---


def norm_act(y: Tensor, norm: nn.BatchNorm1d | None = None, act: nn.Module | None = None,
             scale: nn.Module | None = None, residual: Tensor | None = None, second: Tensor | None = None) -> Tensor:
    """scale(act(norm(y) + residual)) + second: the epilogue of hardware in the float phase.

    y (..., C); residual (..., C / r), its channels repeated r times; second (..., C). Every part but y may be left out.
    act: RPReLU; scale: LayerScale, only behind an act. A norm without parameters (float_parts.NoNorm) is none.
    """
    norm = norm if hasattr(norm, "running_var") else None
    if _on is None:
        y = y if norm is None else norm(y)
        if residual is not None:
            y = y + tile(residual, y.shape[-1] // residual.shape[-1])
        y = y if act is None else act(y)
        y = y if scale is None else scale(y)
        return y if second is None else y + second
    gain, shift = (None, torch.zeros(y.shape[-1])) if norm is None else (norm.weight, norm.bias)
    p = n = o = None
    if act is not None:
        shift = shift - act.move1
        p, n, o = torch.ones_like(act.move2), act.prelu.weight, act.move2
        if scale is not None:
            p, n, o = scale.alpha, n * scale.alpha, o * scale.alpha + scale.move
    return _NormAct.apply(y, gain, shift, p, n, o, residual, second, norm)


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, gain, shift, p, n, o, residual, second, norm):
        y = _map(y)
        rows, channels = _rows(y)
        mean = rstd = None
        a, b = torch.ones(channels), _vector(shift)
        if norm is not None:
            mean, rstd = _statistics(norm, y)
            a = _vector(gain) * rstd.float()
            b = b - mean.float() * a
        residual = None if residual is None else _map(residual)
        part = channels if residual is None else residual.shape[-1]
        vectors = [None if v is None else _vector(v) for v in (p, n, o)]
        out = torch.empty_like(y)
        second = None if second is None else _map(second)
        _call("bv_norm_act", rows, channels, part, y, a, b, residual, *vectors, second, out)
        ctx.save_for_backward(y, a, b, residual, *vectors[:2], mean, rstd)
        ctx.has = (gain is not None, p is not None, second is not None)
        ctx.batch = norm is not None and norm.training
        return out

    @staticmethod
    def backward(ctx, g):
        y, a, b, residual, p, n, mean, rstd = ctx.saved_tensors
        has_norm, has_act, has_second = ctx.has
        g = _map(g, y)
        rows, channels = _rows(y)
        part = channels if residual is None else residual.shape[-1]
        gz = torch.empty_like(g) if has_act else g
        repeated = residual is not None and part < channels
        back = torch.empty_like(residual) if repeated else None
        sums = torch.zeros(5, channels, dtype=torch.float64)
        _call("bv_norm_act_back", rows, channels, part, g, y, a, b, residual, p, n, gz if has_act else None, back, sums)
        gy = gz
        gain = None
        total, product = sums[0], sums[1]
        if has_norm:
            gain = rstd * (product - mean * total)  # sum of gz * normalised y
            if ctx.batch:
                k0, k1 = a, (-a * (rstd * gain / rows).float()).contiguous()
                k2 = (-a * (total / rows).float() - k1 * mean.float()).contiguous()
            else:
                k0, k1, k2 = a, torch.zeros(channels), torch.zeros(channels)
            gy = torch.empty_like(g)
            _call("bv_combine", rows, channels, gz, y, k0, k1, k2, gy)
            gain = gain.float()
        slopes = [sums[i].float() if has_act else None for i in (2, 3, 4)]
        return (gy, gain, total.float(), *slopes, back if repeated else gz if residual is not None else None,
                g if has_second else None, None)


def _statistics(norm: nn.BatchNorm1d, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation (C,) float64, of the batch (with an update of the running ones) or the running ones."""
    if not norm.training:
        return norm.running_mean.double(), 1 / (norm.running_var.double() + norm.eps).sqrt()
    rows, channels = _rows(y)
    sums = torch.zeros(2, channels, dtype=torch.float64)
    _call("bv_moments", rows, channels, y, sums)
    mean = sums[0] / rows
    var = (sums[1] / rows - mean * mean).clamp(min=0)
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.float(), norm.momentum)
        norm.running_var.lerp_((var * (rows / max(1, rows - 1))).float(), norm.momentum)
    return mean, 1 / (var + norm.eps).sqrt()


# --- signs ---


def sign_move(sign: nn.Module, x: Tensor, move: Tensor, ratio: int = 0) -> Tensor | tuple[Tensor, Tensor]:
    """sign(x + move), x (..., C), move C values; with `ratio` also the mean of every `ratio` adjacent channels of x.

    sign: the module that does it, which a network without binarization has replaced (`twin.relax`).
    """
    if _on is None or "forward" in sign.__dict__:
        b = sign(x + move.reshape(-1))
        return (b, channel_sum(x, ratio) / ratio) if ratio else b
    if not ratio:
        return _Sign.apply(x, move.reshape(-1), 1)[0]
    return _Sign.apply(x, move.reshape(-1), ratio) if ratio > 1 else (_Sign.apply(x, move.reshape(-1), 1)[0], x)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, move, ratio):
        x, move = _map(x), _vector(move)
        rows, channels = _rows(x)
        out = torch.empty_like(x)
        pooled = x.new_empty(*x.shape[:-1], channels // ratio) if ratio > 1 else None
        _call("bv_sign", rows, channels, ratio, x, move, out, pooled)
        ctx.save_for_backward(x, move)
        ctx.ratio = ratio
        ctx.set_materialize_grads(False)
        return out, pooled

    @staticmethod
    def backward(ctx, g, pooled):
        x, move = ctx.saved_tensors
        rows, channels = _rows(x)
        sums, gx = torch.zeros(channels, dtype=torch.float64), torch.empty_like(x)
        g = torch.zeros_like(x) if g is None else _map(g, x)
        pooled = None if pooled is None else _map(pooled, x)
        _call("bv_sign_back", rows, channels, ctx.ratio, g, pooled, x, move, gx, sums)
        return gx, sums.float(), None


# --- shift branches ---


def cross(u: Tensor, coef: Tensor, offset: Tensor, y: Tensor) -> Tensor:
    """sum over TAPS of coef[tap] * u[tap] + offset + y, circular; only inside `active`.

    u, y (B, H, W, C); coef (9, C); offset (C,).
    """
    return _Cross.apply(u, coef, offset, y)


def _taps(sign: int) -> tuple[Tensor, Tensor]:
    return tuple(sign * torch.tensor([tap[axis] for tap in TAPS], dtype=torch.int64) for axis in (0, 1))


class _Cross(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, coef, offset, y):
        u, coef, y = _map(u), _vector(coef), _map(y)
        out = torch.empty_like(u)
        _call("bv_shift", *u.shape, *_taps(1), u, coef, _vector(offset), y, out)
        ctx.save_for_backward(u, coef)
        return out

    @staticmethod
    def backward(ctx, g):
        u, coef = ctx.saved_tensors
        g, channels = _map(g, u), u.shape[-1]
        gu, sums = torch.empty_like(u), torch.zeros(10, channels, dtype=torch.float64)
        # out[r] takes u[r + tap], so u[r] goes into out[r - tap]
        _call("bv_shift", *u.shape, *_taps(-1), g, coef, torch.zeros(channels), None, gu)
        _call("bv_shift_sums", *u.shape, *_taps(1), u, g, sums)
        return gu, sums[:9].float(), sums[9].float(), g
