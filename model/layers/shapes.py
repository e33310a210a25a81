"""Pure data movement and exact sums, in forms that export to plain ONNX with static shapes (batch stays -1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patchify(x: Tensor, p: int) -> Tensor:
    """(B, H, W, C) -> (B, H/p, W/p, p*p*C), elements in (row, column, channel) order."""
    _, h, w, c = x.shape
    h, w, c = int(h), int(w), int(c)
    x = x.reshape(-1, h // p, p, w // p, p, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, h // p, w // p, p * p * c)


def patch_weight(w: Tensor) -> Tensor:
    """Convolution weight (out, in, p, p) of stride p -> (out, p*p*in), matching `patchify`."""
    return w.permute(0, 2, 3, 1).reshape(w.shape[0], -1)


def patch_sum(x: Tensor, terms: int) -> Tensor:
    """Exact sum over the patch positions of a patchified map: (B, H, W, terms*C) -> (B, H, W, C)."""
    h, w, c = (int(v) for v in x.shape[1:])
    return x.reshape(-1, h, w, terms, c // terms).sum(3)


def tile(x: Tensor, r: int) -> Tensor:
    """Channels repeated: out[..., j] = x[..., j mod C], r*C channels."""
    return x if r == 1 else torch.cat([x] * r, -1)


def channel_sum(x: Tensor, r: int) -> Tensor:
    """Exact sum of r adjacent channels: (..., r*C) -> (..., C)."""
    if r == 1:
        return x
    rest = [int(v) for v in x.shape[1:-1]]
    return x.reshape(-1, *rest, int(x.shape[-1]) // r, r).sum(-1)


def windows(x: Tensor, w: int) -> Tensor:
    """(B, H, W, C) -> (B, nW, w*w, C); windows and the tokens in a window are row-major (spec 4.2)."""
    h, wd, c = (int(v) for v in x.shape[1:])
    x = x.reshape(-1, h // w, w, wd // w, w, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, (h // w) * (wd // w), w * w, c)


def unwindows(x: Tensor, w: int, n: int) -> Tensor:
    """(B, n*n, w*w, C) -> (B, n*w, n*w, C); inverse of `windows`."""
    c = int(x.shape[-1])
    return x.reshape(-1, n, n, w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * w, n * w, c)


def repeat_windows(m: Tensor, n_windows: int) -> Tensor:
    """Merge tokens (B, nW, C) -> (B, nW, nW, C): every window of an image gets all of them."""
    c = int(m.shape[-1])
    return torch.cat([m.reshape(-1, 1, n_windows, c)] * n_windows, 1)


def upsample(x: Tensor, w: int) -> Tensor:
    """Nearest-neighbour (B, n, n, C) -> (B, n*w, n*w, C)."""
    n, c = int(x.shape[1]), int(x.shape[-1])
    x = x.reshape(-1, n, 1, n, 1, c)
    if w > 1:
        x = torch.cat([x] * w, 2)
        x = torch.cat([x] * w, 4)
    return x.reshape(-1, n * w, n * w, c)


def window_max(x: Tensor, w: int, padding: int) -> Tensor:
    """Max pool, kernel = stride = w, padded with -inf: (B, H, W, C) -> (B, n, n, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), w, w, padding).permute(0, 2, 3, 1)


def window_sum(x: Tensor, w: int, padding: int) -> Tensor:
    """Exact sum over w x w cells, stride w, zero padded (a depthwise convolution with ones): (B, n, n, C)."""
    c = int(x.shape[-1])
    ones = torch.ones(c, 1, w, w, dtype=x.dtype, device=x.device)
    return F.conv2d(x.permute(0, 3, 1, 2), ones, stride=w, padding=padding, groups=c).permute(0, 2, 3, 1)


def window_mean(x: Tensor, w: int, padding: int) -> Tensor:
    """`window_sum` / w**2, rounded: the float phase's pooling, padding included in the count."""
    return F.avg_pool2d(x.permute(0, 3, 1, 2), w, w, padding).permute(0, 2, 3, 1)


def shifted(x: Tensor, rows: int, cols: int) -> Tensor:
    """Circular neighbour map: out[y, x] = in[(y + rows) mod H, (x + cols) mod W], x (B, H, W, C)."""
    for axis, d in ((1, rows), (2, cols)):
        size = int(x.shape[axis])
        d %= size
        if d:
            x = torch.cat([x.narrow(axis, d, size - d), x.narrow(axis, 0, d)], axis)
    return x


TAPS = ((0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2))
"""(row, column) offsets of the shift stencil in the order of docs/contract.md:
center, up1, down1, up2, down2, left1, right1, left2, right2."""
