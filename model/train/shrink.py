"""Smaller files of trainable parameters: what a repository keeps so that training can go on from it.

`float16` rounds latent weights; their signs stay but for a few near zero. `sign` replaces every row of a latent binary
weight by its signs times its mean magnitude: the network computes the same function, and only forgets how far each
weight was from changing sign.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.network import BHViT
from bhvit.model.quantizers import centred_binary, sign
from bhvit.model.train.full_precision import binary_weights


def shrink(source: Path, cfg, out: Path, latents: str) -> dict:
    """Write the parameters of `source` (float phase, twin or convolutional teacher of `cfg`) to `out`.

    latents: "float16" for float16 in the binary layers (in a teacher: in every matrix and kernel), "sign" for one bit
    per binary weight and a scale per row. Returns {"file", "bytes", "bytes_before", "changed": share of the binary
    weights whose sign is another now}. Raises UserError for deployed weights, and for `sign` where weights are not
    binary.
    """
    about = weights.info(source)
    kind = about["kind"]
    if kind == "deployed":
        raise UserError("Deployed weights are as small as they can be.", source, do="give *_float.safetensors")
    if latents == "sign" and kind != "float":
        raise UserError("These weights have more than signs.", source, f"they are of kind '{kind}', not binary",
                        "--latents float16")
    state = weights.load(source, cfg, kind)
    binary = set(binary_weights(BHViT(cfg))) if kind != "convnet" else set()
    centred = cfg.weight_sign == "centred"
    changed = total = 0
    for name, value in state.items():
        if (kind == "float" and name not in binary) or not value.is_floating_point() or value.dim() < 2:
            continue
        new = value.half().float() if latents == "float16" else _signs(value, centred)
        if name in binary and kind == "float":
            changed += int((_signs(new, centred).sign() != _signs(value, centred).sign()).sum())
            total += value.numel()
        state[name] = new
    path = weights.save(out, state, cfg, about["metrics"], kind=kind)
    return {"file": str(path), "bytes": path.stat().st_size, "bytes_before": about["bytes"],
            "changed": changed / total if total else None}


def _signs(w: Tensor, centred: bool) -> Tensor:
    """Signs times the mean magnitude of their row, in the type of w (out, ...)."""
    scale = centred_binary(w)[1]
    return (centred_binary(w)[0] if centred else sign(w)) * scale
