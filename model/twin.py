"""Float and deployed network side by side: for every quantizer of the deployed network the real-valued tensor of the
float network that it stands for.

Names are those of the deployed modules (and of the tensors in the exported graph), layouts those of the deployed
tensors: maps (B, H, W, C), window tokens (B, nW*T, C). What belongs to a `.sign` is its argument, whose sign is the
decision (sign(0) = +1); what belongs to `attention.levels` are the levels 0..3 of (B, nW, heads, T, T) probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bhvit.model.layers.block_a import BlockA
from bhvit.model.layers.block_b import QKV, BlockB
from bhvit.model.layers.downsample import Downsample
from bhvit.model.layers.fixed import vec
from bhvit.model.layers.float_parts import RPReLU
from bhvit.model.layers.mlp import MlpMixin
from bhvit.model.network import BHViT, Deployed
from bhvit.model.quantizers import FixedQuant

LEVELS = "attention.levels"
Ideals = dict[str, Tensor]


class Recorder:
    """Context manager: inputs and outputs of every module below `root` during its forward pass, in order of calls."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._hooks: list = []

    def __enter__(self) -> Recorder:
        def keep(module: nn.Module, inputs: tuple, out: Tensor) -> None:
            if inputs:
                self.calls.setdefault(module, []).append((inputs[0], out))

        self._hooks = [m.register_forward_hook(keep) for m in self.root.modules() if m is not self.root]
        return self

    def __exit__(self, *_) -> None:
        for h in self._hooks:
            h.remove()

    def input(self, module: nn.Module, call: int = 0) -> Tensor:
        """First argument of a call."""
        return self.calls[module][call][0]

    def output(self, module: nn.Module, call: int = 0) -> Tensor:
        """Result of a call."""
        return self.calls[module][call][1]

    def before_prelu(self, act: RPReLU) -> Tensor:
        """z = x - move1 of an RPReLU: what the quantizer z holds."""
        return self.input(act) - act.move1


@dataclass
class Layer:
    """One stage of both networks: stem, block, down-sampling or head.

    name: of the deployed module (`stages.0.1`); hw: the deployed module; run: float input -> (float output, ideals by
    the quantizers' names below `name`); residual: the quantizer on whose grid the input lies (None: pixels).
    """

    name: str
    hw: nn.Module
    run: Callable[[Tensor], tuple[Tensor, Ideals]]
    residual: FixedQuant | None


def layers(net: BHViT, hw: Deployed) -> list[Layer]:
    """Both networks cut at the residual stream. Args: net: in the float phase, eval mode; hw: made from it."""
    encoder, found, last = net.vit.encoder, [], hw.stem.position.y

    def stem(pixels: Tensor) -> tuple[Tensor, Ideals]:
        f = net.vit.embeddings
        with Recorder(f) as r:
            out = f((pixels / 255 - net.mean) / net.std)
        return out, {"linear.epilogue.y": r.output(f.patch_embeddings.norm), "position.y": out}

    def head(x: Tensor) -> tuple[Tensor, Ideals]:
        u = net.vit.layernorm(x)
        mean = u.mean((1, 2))
        logits = net.classifier(mean)
        return logits, {"norm.y": u, "mean.y": mean, "classifier.logits": logits}

    found.append(Layer("stem", hw.stem, stem, None))
    for s in range(4):
        for i, (f, d) in enumerate(zip(encoder.blocks(s), hw.stages[s])):
            found.append(Layer(f"stages.{s}.{i}", d, _runner(f), last))
            last = d.mlp.fc2.epilogue.y
        if s < 3:
            found.append(Layer(f"down.{s}", hw.down[s], _runner(getattr(encoder, f"patch_embed{s + 1}")), last))
            last = hw.down[s].position.y
    found.append(Layer("head", hw.head, head, last))
    return found


def _runner(f: nn.Module) -> Callable[[Tensor], tuple[Tensor, Ideals]]:
    ideals = {BlockA: _block_a, BlockB: _block_b, Downsample: _down}[type(f)]

    def run(x: Tensor) -> tuple[Tensor, Ideals]:
        with Recorder(f) as r:
            out = f(x)
        return out, ideals(f, r, out)

    return run


def _block_a(f: BlockA, r: Recorder, out: Tensor) -> Ideals:
    found = {"threshold.sign": r.input(f.GC.sign)}
    for k in range(f.GC.branches):
        act = getattr(f.GC, f"act{k + 1}")
        found[f"convs.{k}.epilogue.z"] = r.before_prelu(act)
        found[f"convs.{k}.epilogue.y"] = r.output(act)
    return found | {"norm.y": r.input(f.layernorm_after)} | _mlp(f, r, out)


def _block_b(f: BlockB, r: Recorder, out: Tensor) -> Ideals:
    a, o = f.attention.attention, f.attention.output
    norm, windows, n = a.token_FA.norm, a.w**2, a.n

    def tokens(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, x.shape[-1])

    h = r.input(norm)
    found = {"norm.y": r.output(f.layernorm_before),
             "concat.blend.y": h[:, 0, windows:].reshape(-1, n, n, h.shape[-1])}
    if isinstance(norm, nn.LayerNorm):
        centre = h - h.mean(-1, keepdim=True)
        found["token_norm.n"] = tokens(centre / torch.sqrt(centre.square().mean(-1, keepdim=True) + norm.eps))
        found["token_norm.affine.y"] = tokens(r.output(norm))
    else:
        found["token_norm.y"] = tokens(r.output(norm))
    for i, z in enumerate(QKV):  # one sign module, called for the inputs and for the bits of q, k, v in turn
        act = getattr(a, f"rprelu{z[0]}")
        found[f"threshold_{z}.sign"] = tokens(r.input(a.sign, 2 * i))
        found[f"{z}.epilogue.z"], found[f"{z}.epilogue.y"] = tokens(r.before_prelu(act)), tokens(r.output(act))
        found[f"binarize_{z}.sign"] = tokens(r.input(a.sign, 2 * i + 1))
    qd = a.att_prob_quantizer
    found[LEVELS] = qd.hardware_levels(r.input(qd))
    found["context.z"] = tokens(r.before_prelu(a.rprelu_context))
    found["context.y"] = tokens(r.output(a.rprelu_context))
    found["merge.blend.y"] = r.output(a)
    found["threshold_out.sign"] = r.input(o.sign)
    found["out.epilogue.z"] = r.before_prelu(o.rprelu)
    found["out.epilogue.y"] = r.input(f.layernorm_after)
    return found | _mlp(f, r, out)


def _mlp(f: MlpMixin, r: Recorder, out: Tensor) -> Ideals:
    u = r.output(f.layernorm_after)
    return {"mlp.norm.y": u, "mlp.shift.v": r.input(f.layernorm_after) + f.shift_branches(u),
            "mlp.threshold1.sign": r.input(f.intermediate.sign),
            "mlp.fc1.epilogue.z": r.before_prelu(f.intermediate.rprelu),
            "mlp.fc1.epilogue.y": r.output(f.intermediate), "mlp.threshold2.sign": r.input(f.output.sign),
            "mlp.fc2.epilogue.z": r.before_prelu(f.output.rprelu), "mlp.fc2.epilogue.y": out}


def _down(f: Downsample, r: Recorder, out: Tensor) -> Ideals:
    found = {"norm.y": r.output(f.norm0), "position.y": out}
    if not f.binary:
        return found | {"linear.epilogue.y": r.output(f.norm)}
    return found | {"threshold.sign": r.input(f.sign),
                    "linear.epilogue.z": r.before_prelu(f.rprelu), "linear.epilogue.y": r.output(f.rprelu)}


def scaled_step(threshold: nn.Module) -> Tensor | float:
    """The step, in units of the sign's argument, that one LSB of a threshold's input makes: number or (C,)."""
    step = 2.0 ** int(threshold.inputs[0])
    return vec(threshold.m()).abs().float() * step if threshold.scaled else step
