"""A larger network that begins with what a smaller one has learned.

Blocks are added at the end of their stages with outputs of zero: batch norm behind MSGDC with gain 0, layer scales of
attention and MLP 0. A block then passes its input on unchanged, so the deeper network computes exactly what the
shallower one does, and training goes on from there. Wider layers: see `widen`.
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
from bhvit.model.train.full_precision import binary_weights
from bhvit.model.train.widen import widen

KINDS = ("float", "full")
GROWING = ("depths", "widths", "mlp_ratios", "heads")


def grow(source: Path, cfg, larger, out: Path, noise: float = 0.3, seed: int = 0) -> dict:
    """Write parameters of the configuration `larger` that begin with what those in `source`, of `cfg`, compute.

    cfg, larger: ModelConfigs; `larger` may have more blocks, and wider stages, more heads and larger MLPs, each a
    multiple (stages that mix with convolutions keep their width), and LayerNorm over tokens instead of batch norm;
    nothing else differs. source: parameters of the float phase or a full-precision twin; noise: parts the copies of a
    wider network, in units of a row's mean magnitude; seed: of the noise and of the latent weights of new blocks.
    Returns {"file", "blocks": number of blocks added, per stage, "exact": whether the function is the same}. Raises
    UserError where `source` is neither, or where more differs.
    """
    kind = weights.info(source)["kind"]
    if kind not in KINDS:
        raise UserError("Only parameters of a float phase or a twin can go on training in a larger network.", source,
                        f"it holds {kind} weights", "give *_float.safetensors or *_full.safetensors")
    _check(cfg, larger)
    state = weights.load(source, cfg, kind)
    torch.manual_seed(seed)
    net = BHViT(larger)
    new = net.state_dict()
    names = _names(cfg, larger)
    layer_norm = cfg.token_norm != larger.token_norm
    new.update(widen({names(name): value for name, value in state.items()}, new, layer_norm,
                     set(binary_weights(net)), noise))
    for stage in range(4):
        for block in net.vit.encoder.blocks(stage)[cfg.depths[stage]:]:
            _silence(block)
            place = next(name for name, module in net.named_modules() if module is block)
            for name, parameter in block.named_parameters():
                new[f"{place}.{name}"] = parameter.detach()
    path = weights.save(out, new, larger, {"grown_from": cfg.name, "depths_before": list(cfg.depths),
                                           "widths_before": list(cfg.widths)}, kind=kind)
    exact = not layer_norm and all(getattr(cfg, key) == getattr(larger, key) for key in ("widths", "mlp_ratios"))
    return {"file": str(path), "blocks": [b - a for a, b in zip(cfg.depths, larger.depths)], "exact": exact}


def _check(cfg, larger) -> None:
    """What may grow has grown by whole factors, and nothing else differs."""
    before, after = (c.model_dump(mode="json", exclude={"name", "bits", *GROWING}) for c in (cfg, larger))
    if (cfg.token_norm, larger.token_norm) == ("batch", "layer"):
        before["token_norm"] = "layer"
    differing = [key for key in before if before[key] != after[key]]
    if differing:
        raise UserError("The networks differ in more than their size.", f"{cfg.name}, {larger.name}",
                        f"for example {differing[0]}: {before[differing[0]]} and {after[differing[0]]}",
                        f"a trained network can grow in {', '.join(GROWING)}, no more")
    both = f"{cfg.name}, {larger.name}"
    if any(a > b for a, b in zip(cfg.depths, larger.depths)):
        raise UserError("A trained network cannot lose blocks.", both,
                        f"depths {list(cfg.depths)} and {list(larger.depths)}", "train the smaller one by itself")
    for key in ("widths", "mlp_ratios"):
        small, large = list(getattr(cfg, key)), list(getattr(larger, key))
        if any(b % a for a, b in zip(small, large)):
            raise UserError("A trained network grows by whole factors.", both, f"{key} {small} and {large}",
                            f"give {key} that are multiples")
    for stage in range(1, 4):
        before, wide = cfg.widths[stage - 1:stage + 1]
        if cfg.downsample == "binary" and larger.widths[stage] != wide and wide % before:
            raise UserError("A stage that grows needs whole copies of the channels in front of it.", both,
                            f"stage {stage + 1} has {wide} channels behind {before}, so the residual of its "
                            "down-sampling is cut", "widen stages that have a multiple of the stage before")
    for stage, mixer in enumerate(cfg.mixers):
        factor = larger.widths[stage] // cfg.widths[stage]
        if mixer == "convolution" and factor != 1:
            raise UserError("A stage with grouped convolutions keeps its width.", both, f"stage {stage + 1}: "
                            f"{cfg.widths[stage]} and {larger.widths[stage]} channels", "widen stages with attention")
        if mixer == "attention" and larger.stage_heads(stage) != factor * cfg.stage_heads(stage):
            raise UserError("Heads keep their size when a network grows.", both, f"stage {stage + 1}: "
                            f"{cfg.widths[stage] // cfg.stage_heads(stage)} and "
                            f"{larger.widths[stage] // larger.stage_heads(stage)} channels each",
                            f"give the stage {factor * cfg.stage_heads(stage)} heads")


def _names(cfg, larger):
    """How the larger network calls a parameter of the smaller one: blocks behind a stage that grew move on."""
    places = {}
    for kind, prefix in (("convolution", "layerA"), ("attention", "layerB")):
        old = new = 0
        for stage, mixer in enumerate(cfg.mixers):
            if mixer == kind:
                for block in range(cfg.depths[stage]):
                    places[f"vit.encoder.{prefix}.{old + block}."] = f"vit.encoder.{prefix}.{new + block}."
                old, new = old + cfg.depths[stage], new + larger.depths[stage]

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
