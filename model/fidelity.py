"""What fixed point costs, layer by layer: both networks run side by side and every quantizer and decision is compared.

Each layer of the deployed network (stem, block, down-sampling, head) runs three times on every batch:

    forced  every hardware layer reads the float network's tensors, put on the grids of their quantizers, and the float
            network's decisions: what differs behind a layer arises in that layer
    block   only the layer's input is the float network's: what differs arises in this layer
    free    the deployed network on its own: what differs has also grown through all layers before

The float network itself runs once, undisturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bhvit.model.evaluate import as_input
from bhvit.model.fidelity_stats import MODES, DecisionStat, QuantizerStat
from bhvit.model.layers.blend import Blend
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.layer_norm import LayerNorm
from bhvit.model.layers.linear import Classifier
from bhvit.model.layers.lookup import PositionEmbedding
from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.layers.shapes import unwindows
from bhvit.model.layers.shift import Shift
from bhvit.model.layers.threshold import Threshold
from bhvit.model.network import BHViT, Deployed
from bhvit.model.quantizers import FixedQuant, sign
from bhvit.model.trace import quantizers
from bhvit.model.twin import LEVELS, Ideals, Layer, layers, scaled_step
from bhvit.progress import Progress

INSIDE = (".z", ".n")  # quantizers inside a hardware layer: their results are not replaced
Visitor = Callable[[str, nn.Module, Tensor, Tensor], Tensor | None]


@dataclass
class Rounding:
    """How a quantizer stands for a real value v: it holds floor(v + half + bias), which stands for v + bias.

    half: half an LSB. bias: number or (C,), see `fixed.edge_bias`; minus half an LSB for LayerNorm's n, whose FLOOR is
    made good behind it. carried: what its input in the network holds on top of v (half + bias, or 0 where the input is
    on the quantizer's grid already).
    """

    half: float
    bias: Tensor | float
    carried: Tensor | float = 0.0

    @classmethod
    def of(cls, quant: FixedQuant) -> Rounding:
        """Of any quantizer but LayerNorm's n, without what is carried."""
        return cls(2.0 ** (quant.exponent - 1), 0.0 if quant.bias is None else quant.bias.to(torch.float32))


def roundings(hw: nn.Module) -> dict[str, Rounding]:
    """Of every fixed-point quantizer of a deployed layer, by name."""
    found: dict[str, Rounding] = {}

    def put(name: str, quant: FixedQuant, e: int) -> None:
        way = found[name] = Rounding.of(quant)
        way.carried = way.half + way.bias if quant.exponent > e else 0.0

    for name, m in hw.named_modules():
        at = f"{name}." if name else ""
        if isinstance(m, Epilogue):
            if m.act:
                put(f"{at}z", m.z, m.o.exponent)
            put(f"{at}y", m.y, (m.o2 if m.act else m.o).exponent)
        elif isinstance(m, Blend):
            put(f"{at}y", m.y, m.o.exponent)
        elif isinstance(m, Shift):
            put(f"{at}v", m.v, m.o.exponent)
        elif isinstance(m, PositionEmbedding):
            put(f"{at}y", m.y, m.pos.exponent)
        elif isinstance(m, Classifier):
            put(f"{at}logits", m.logits, m.o.exponent)
        elif isinstance(m, LayerNorm):
            half = 2.0 ** (m.n.exponent - 1)
            found[f"{at}n"] = Rounding(half, -half if m.s1 > 0 else 0.0)
    return found


def on_grid(x: Tensor, quant: FixedQuant, rounding: Rounding | None = None) -> Tensor:
    """Real values as the quantizer would hold them (without `rounding`: rounded to nearest), in x's shape."""
    up = 2.0 ** (quant.exponent - 1) if rounding is None else rounding.half + rounding.bias
    ints = torch.floor((x.to(torch.float64) + up) * 2.0**-quant.exponent).clamp(*quant.limits)
    return (ints * 2.0**quant.exponent).to(torch.float32)


def on_map(wrong: Tensor, hw: nn.Module) -> Tensor:
    """Where anything differs, (B, H, W): any channel of a map, of a window token at its place (merge tokens have none),
    any key and head of a row of attention levels."""
    if wrong.dim() == 4:
        return wrong.any(-1)
    w, n = hw.merge.w, hw.merge.n
    tokens = wrong.any(-1) if wrong.dim() == 3 else wrong.any(-1).any(2)  # levels: (B, nW, heads, T, T)
    tokens = tokens.reshape(len(wrong), n * n, -1)[:, :, :w * w, None]
    return unwindows(tokens, w, n)[..., 0]


@contextmanager
def deciding_on_results(hw: nn.Module) -> Iterator[None]:
    """While it is open, thresholds see what the layer in front of them computes, where others read a replacement."""
    def result(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        own = getattr(inputs[0], "replaced", None)
        return None if own is None else (own,)

    hooks = [m.register_forward_pre_hook(result) for m in hw.modules() if isinstance(m, Threshold)]
    try:
        yield
    finally:
        for h in hooks:
            h.remove()


@contextmanager
def visiting(hw: nn.Module, visit: Visitor) -> Iterator[None]:
    """While it is open, `visit(name, module, input, output)` is called at every quantizer, sign and attention of a
    deployed layer, in order of execution; what it returns (if not None) replaces the output.

    The input of a LayerNorm's n is the real normalised token; attention has its levels as input and output.
    """
    hooks, attentions, real = [], [], {}

    def hook(name: str):
        def call(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            return visit(name, module, real.pop(name, inputs[0]), out)
        return call

    def normalised(name: str):
        def call(module: LayerNorm, inputs: tuple[Tensor, ...]) -> None:
            real[name] = (module._normalised(inputs[0]) * 2.0**-module.k).to(torch.float32)
        return call

    def levels(name: str, module: QDAttention):
        exact = module.levels

        def call(q: Tensor, k: Tensor) -> Tensor:
            out = exact(q, k)
            new = visit(name, module, out, out)
            return out if new is None else new
        return call

    try:
        for name, module in quantizers(hw).items():
            hooks.append(module.register_forward_hook(hook(name)))
        for name, module in hw.named_modules():
            if isinstance(module, LayerNorm):
                hooks.append(module.register_forward_pre_hook(normalised(f"{name}.n")))
            elif isinstance(module, QDAttention):
                module.levels = levels(f"{name}.levels", module)
                attentions.append(module)
        yield
    finally:
        for h in hooks:
            h.remove()
        for module in attentions:
            del module.levels


class Fidelity:
    """Statistics of a whole network over images, by the names of the deployed network's quantizers.

    quantizers: QuantizerStat, decisions: DecisionStat, both in order of execution; first: layer name -> {decision:
    map positions at which it is the first of the layer to differ in any channel, with only the layer's input forced};
    positions: layer name -> map positions seen.
    """

    def __init__(self, net: BHViT, hw: Deployed) -> None:
        """Args: net: in the float phase and eval mode; hw: the deployed network made from the same parameters."""
        self.layers = layers(net, hw)
        self.quantizers: dict[str, QuantizerStat] = {}
        self.decisions: dict[str, DecisionStat] = {}
        self.first: dict[str, dict[str, int]] = {}
        self.positions: dict[str, int] = {}
        self.images = 0
        self._roundings = {x.name: roundings(x.hw) for x in self.layers}

    def run(self, images, batch: int, quiet: bool | None = None) -> Fidelity:
        """Adds uint8 images (N, S, S, C), `batch` at a time. Returns self."""
        with torch.no_grad(), Progress("layer by layer", len(images) * len(self.layers), "layers", quiet=quiet) as bar:
            for start in range(0, len(images), batch):
                pixels = as_input(images[start:start + batch])
                x = forced = free = pixels
                for layer in self.layers:
                    x, forced, free = self._layer(layer, x, forced, free)
                    bar.advance(len(pixels), info=layer.name)
                self.images += len(pixels)
        return self

    def _layer(self, layer: Layer, x: Tensor, forced: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One layer on one batch. Args: its input in the float network, in the forced one (the same on the grid) and in
        the free-running one; returns the three outputs."""
        out, ideals = layer.run(x)
        quant = layer.residual
        entry = {"forced": forced, "block": x if quant is None else on_grid(x, quant, Rounding.of(quant)), "free": free}
        differ: dict[str, Tensor] = {}
        results = []
        for mode in MODES:
            with (visiting(layer.hw, self._visitor(layer, ideals, mode, differ)),
                  deciding_on_results(layer.hw) if mode == "forced" else nullcontext()):
                results.append(layer.hw(entry[mode]))
        first, known = self.first.setdefault(layer.name, {}), torch.zeros(())
        for name, places in differ.items():
            first[name] = first.get(name, 0) + int((places & ~known.bool()).sum())
            known = known.bool() | places
        self.positions[layer.name] = self.positions.get(layer.name, 0) + known.numel()
        return out, results[0], results[2]

    def _visitor(self, layer: Layer, ideals: Ideals, mode: str, differ: dict[str, Tensor]) -> Visitor:
        ways = self._roundings[layer.name]

        def visit(local: str, module: nn.Module, x: Tensor, y: Tensor) -> Tensor | None:
            name, ideal = f"{layer.name}.{local}", ideals[local]
            if isinstance(module, FixedQuant):
                way = ways[local]
                stat = self.quantizers.setdefault(name, QuantizerStat(module))
                if mode == "free":
                    stat.own(x - way.carried, y, y - way.bias)
                elif mode == "forced":
                    stat.against_float(ideal, y - way.bias)
                    if not local.endswith(INSIDE):
                        new = on_grid(ideal, module, way)
                        new.replaced = y  # see deciding_on_results
                        return new
                return None
            if name not in self.decisions:
                self.decisions[name] = DecisionStat(
                    layer.name, local == LEVELS, None if local == LEVELS else self._step(layer.hw, local))
            want = ideal if local == LEVELS else sign(ideal)
            wrong = self.decisions[name].add(mode, want, y, ideal)
            if mode == "block":
                differ[name] = on_map(wrong, layer.hw)
            return want if mode == "forced" else None

        return visit

    @staticmethod
    def _step(hw: nn.Module, local: str) -> Tensor | float:
        threshold = hw.get_submodule(local.rpartition(".")[0])
        assert isinstance(threshold, Threshold)
        return scaled_step(threshold)
