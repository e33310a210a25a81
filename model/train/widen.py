"""A wider network that begins with what a narrower one has learned (Net2Net: Chen, Goodfellow, Shlens, ICLR 2016).

Every channel of a wider layer is a copy of channel (c mod C) of the narrow one; a layer that reads k copies sums k
times as much, which the batch norm behind it (or the classifier's weights) divides out. Channels that are tiled like
this keep their heads and every residual whose length grows with them, so a network with wider stages and more heads
of the same size computes what the narrow one does. Three changes are approximate, and training mends them:

* a larger MLP ratio: hidden copies keep their residual (channel j mod C), but the residual of the MLP's output is the
  mean over 2 r neighbours instead of r, which are those of two other channels;
* the channel shifts move quarters of the channels: copies that land in a quarter of another direction begin without;
* LayerNorm in the place of batch norm over tokens: its gains and offsets are those that agree on average.

Copies would stay copies for ever, since their gradients are the same; noise on the latent binary weights parts them.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

EPS = 1e-5  # of every batch norm
NORM_BEHIND = {  # layer with several inputs -> batch norm that divides the copies of them out
    "query": "normq", "key": "normk", "value": "normv", "dense": "norm", "proj": "norm"}
TOKEN_NORM = re.compile(r"token_FA\.norm\.")
CHANNEL_SHIFT = re.compile(r"layerscale_ch[35]\.alpha$")


@torch.no_grad()
def widen(state: dict[str, Tensor], new: dict[str, Tensor], layer_norm: bool, binary: set[str],
          noise: float = 0.0) -> dict[str, Tensor]:
    """Parameters with the shapes of `new` that begin as copies of `state`.

    state: of the narrow network; new: of the wide one, whose axes are multiples; layer_norm: `state` has batch norm
    over tokens and `new` LayerNorm; binary: names of latent binary weights; noise: standard deviation, in units of a
    row's mean magnitude, added to those of layers that grew. Names that `new` has and `state` lacks are left out.
    """
    if layer_norm:
        state = _layer_norms(state)
    out = {}
    for name, value in state.items():
        times = [b // a for a, b in zip(value.shape, new[name].shape)]
        wide = value.repeat(*times) if any(t > 1 for t in times) else value.clone()
        if CHANNEL_SHIFT.search(name) and times[0] > 1:
            wide = wide * _same_direction(len(value), len(wide))
        if name in binary and max(times) > 1 and noise:
            size = wide.reshape(len(wide), -1).abs().mean(1).reshape(-1, *[1] * (wide.dim() - 1))
            wide = wide + noise * size * torch.randn(wide.shape, dtype=wide.dtype)
        if name == "classifier.weight":
            wide = wide / times[1]
        out[name] = wide
    for name in out:
        place, layer = name.removesuffix(".weight").rpartition(".")[::2]
        copies = out[name].shape[1] // state[name].shape[1] if out[name].dim() > 1 else 1
        if layer in NORM_BEHIND and name.endswith(".weight") and copies > 1:
            norm = f"{place}.{NORM_BEHIND[layer]}.running_"
            if norm + "mean" not in out:  # a convolution alone
                out[name] = out[name] / copies
                continue
            out[norm + "mean"] = out[norm + "mean"] * copies
            out[norm + "var"] = (out[norm + "var"] + EPS) * copies**2 - EPS
    return out


def _same_direction(narrow: int, wide: int) -> Tensor:
    """1 where channel c of `wide` shifts in the direction of channel (c mod narrow) of `narrow`, else 0."""
    c = torch.arange(wide)
    return (c // (wide // 4) == (c % narrow) // (narrow // 4)).float()


def _layer_norms(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Batch norms over tokens as LayerNorms: x / std over the channels stands for (x - mean) / std over the images."""
    out = {name: value for name, value in state.items() if not TOKEN_NORM.search(name)}
    for name in state:
        if name.endswith("token_FA.norm.weight"):
            place = name.removesuffix("weight")
            gain, bias, mean, var = (state[place + k].double() for k in ("weight", "bias", "running_mean",
                                                                         "running_var"))
            scale = gain / torch.sqrt(var + EPS)
            spread = torch.sqrt((var + mean.square()).mean() - mean.mean().square())  # of a token over its channels
            out[name] = (scale * spread).to(state[name].dtype)
            out[place + "bias"] = (bias + scale * (mean.mean() - mean)).to(state[name].dtype)
    return out
