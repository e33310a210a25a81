"""The DeiT teachers of timm, read from timm's weight files; timm itself (which needs torchvision) is not needed.

Parameter names are those of timm's `deit_*_patch16_224` (Touvron et al. 2021): pre-norm transformer blocks with
LayerNorm eps 1e-6 and exact GELU, a class token, learned position embeddings.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from bhvit.errors import UserError

DEIT = {"deit_tiny_patch16_224": (192, 3), "deit_small_patch16_224": (384, 6), "deit_base_patch16_224": (768, 12)}
HELP = ("get it on a machine with timm: python -c \"import timm, safetensors.torch as s; s.save_file(timm.create_model("
        "'{0}', pretrained=True).state_dict(), '{0}.safetensors')\"")


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.mlp = _Attention(width, heads), _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Images (B, S, S, 3), values 0..255 -> logits (B, classes)."""

    def __init__(self, width: int, heads: int, depth: int, classes: int, side: int = 224, patch: int = 16) -> None:
        super().__init__()
        from bhvit.model.train.teacher import IMAGENET

        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)
        for name, value in zip(("mean", "std"), IMAGENET):
            self.register_buffer(name, torch.tensor(value), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = ((images / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def load_vit(name: str, path: Path) -> tuple[nn.Module, int, int, int, str]:
    """(network, side, classes, channels, name) of a DeiT. Raises UserError for unknown names and unfit files."""
    if name not in DEIT:
        raise UserError("This teacher is unknown.", f"timm:{name}", f"known are {', '.join(DEIT)}",
                        "any other network comes from a function of yours, python:FILE.py:FUNCTION, or as "
                        "stored logits, logits:FILE.npz (docs/training.md)")
    if not path.is_file():
        raise UserError("The teacher's weight file does not exist.", path, do=HELP.format(name))
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state)
        width, heads = DEIT[name]
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        net = VisionTransformer(width, heads, depth, len(state["head.bias"]))
        net.load_state_dict(state)
    except Exception as error:  # torch and safetensors fail in every way on a file of another kind
        raise UserError("The teacher's weights cannot be used.", path, str(error)[:300], HELP.format(name)) from error
    return net, 224, net.head.out_features, 3, name
