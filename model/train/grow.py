"""A deeper network that begins with what a shallower one has learned.

Blocks are added at the end of their stages with outputs of zero: batch norm behind MSGDC with gain 0, layer scales of
attention and MLP 0. A block then passes its input on unchanged, so the deeper network computes exactly what the
shallower one does, and training goes on from there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.layers.block_a import BlockA
from bhvit.model.layers.float_parts import LayerScale
from bhvit.model.network import BHViT

KINDS = ("float", "full")


def grow(source: Path, cfg, deeper, out: Path, seed: int = 0) -> dict:
    """Write parameters of the configuration `deeper` that compute what those in `source`, of `cfg`, compute.

    cfg, deeper: ModelConfigs that differ in nothing but depths (and name and bits), none smaller in `deeper`; source:
    parameters of the float phase or a full-precision twin; seed: of the latent weights of the new blocks. Returns
    {"file", "blocks": number of blocks added, per stage}. Raises UserError where `source` is neither, or where more
    differs.
    """
    kind = weights.info(source)["kind"]
    if kind not in KINDS:
        raise UserError("Only parameters of a float phase or a twin can go on training in a deeper network.", source,
                        f"it holds {kind} weights", "give *_float.safetensors or *_full.safetensors")
    _check(cfg, deeper)
    state = weights.load(source, cfg, kind)
    torch.manual_seed(seed)
    net = BHViT(deeper)
    new = net.state_dict()
    names = _names(cfg, deeper)
    for name, value in state.items():
        new[names(name)] = value
    for stage in range(4):
        for block in net.vit.encoder.blocks(stage)[cfg.depths[stage]:]:
            _silence(block)
            place = next(name for name, module in net.named_modules() if module is block)
            for name, parameter in block.named_parameters():
                new[f"{place}.{name}"] = parameter.detach()
    path = weights.save(out, new, deeper, {"grown_from": cfg.name, "depths_before": list(cfg.depths)}, kind=kind)
    return {"file": str(path), "blocks": [b - a for a, b in zip(cfg.depths, deeper.depths)]}


def _check(cfg, deeper) -> None:
    """Depths grow, and nothing else differs."""
    before, after = (c.model_dump(mode="json", exclude={"name", "bits", "depths"}) for c in (cfg, deeper))
    differing = [key for key in before if before[key] != after[key]]
    if differing:
        raise UserError("The networks differ in more than their depths.", f"{cfg.name}, {deeper.name}",
                        f"for example {differing[0]}: {before[differing[0]]} and {after[differing[0]]}",
                        "only blocks can be added to a trained network")
    if any(a > b for a, b in zip(cfg.depths, deeper.depths)):
        raise UserError("A trained network cannot lose blocks.", f"{cfg.name}, {deeper.name}",
                        f"depths {list(cfg.depths)} and {list(deeper.depths)}", "train the smaller one by itself")


def _names(cfg, deeper):
    """How the deeper network calls a parameter of the shallower one: blocks behind a stage that grew move on."""
    places = {}
    for kind, prefix in (("convolution", "layerA"), ("attention", "layerB")):
        old = new = 0
        for stage, mixer in enumerate(cfg.mixers):
            if mixer == kind:
                for block in range(cfg.depths[stage]):
                    places[f"vit.encoder.{prefix}.{old + block}."] = f"vit.encoder.{prefix}.{new + block}."
                old, new = old + cfg.depths[stage], new + deeper.depths[stage]

    def renamed(name: str) -> str:
        head = ".".join(name.split(".")[:4]) + "."
        return name.replace(head, places[head], 1) if head in places else name
    return renamed


@torch.no_grad()
def _silence(block: nn.Module) -> None:
    """Make a block the identity."""
    for module in block.modules():
        if isinstance(module, LayerScale):
            module.alpha.zero_()
            module.move.zero_()
    if isinstance(block, BlockA):
        block.GC.norm.weight.zero_()
        block.GC.norm.bias.zero_()
