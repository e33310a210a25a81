"""The network: float phase as the released code computes it, deployed phase as hardware computes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.model.config import ConfigError, ModelConfig
from bhvit.model.layers.block_a import BlockA, DeployedBlockA
from bhvit.model.layers.block_b import BlockB, DeployedBlockB
from bhvit.model.layers.downsample import DeployedDownsample, Downsample
from bhvit.model.layers.float_parts import ChannelNorm
from bhvit.model.layers.head import DeployedHead
from bhvit.model.layers.stem import DeployedStem, Stem
from bhvit.model.numerics import check_ranges
from bhvit.model.quantizers import BinaryWeight, FixedConst, FixedQuant


class Encoder(nn.Module):
    """Blocks and down-samplings under the released names: layerA (convolution: stages 1, 2), layerB (attention: 3, 4),
    each over all stages that have such blocks, and patch_embed1..3."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.layerA, self.layerB = nn.ModuleList(), nn.ModuleList()
        self.ranges = []  # of each stage in its list
        for s, mixer in enumerate(c.mixers):
            layers, block = (self.layerA, BlockA) if mixer == "convolution" else (self.layerB, BlockB)
            self.ranges.append((mixer, len(layers), len(layers) + c.depths[s]))
            layers.extend(block(c, s) for _ in range(c.depths[s]))
        for s in range(3):
            self.add_module(f"patch_embed{s + 1}", Downsample(c, s))

    def blocks(self, stage: int) -> list[nn.Module]:
        """Blocks of one stage (0..3)."""
        mixer, start, stop = self.ranges[stage]
        return list((self.layerA if mixer == "convolution" else self.layerB)[start:stop])

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(4):
            for block in self.blocks(stage):
                x = block(x)
            if stage < 3:
                x = getattr(self, f"patch_embed{stage + 1}")(x)
        return x


class Deployed(nn.Module):
    """The deployed network (docs/contract.md, section 2): pixels (B, S, S, Cin) -> logits (B, classes)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.stem = DeployedStem(c)
        self.stages = nn.ModuleList(
            nn.ModuleList((DeployedBlockA if mixer == "convolution" else DeployedBlockB)(c, s)
                          for _ in range(c.depths[s])) for s, mixer in enumerate(c.mixers))
        self.down = nn.ModuleList(DeployedDownsample(c, s) for s in range(3))
        self.head = DeployedHead(c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for s, blocks in enumerate(self.stages):
            for block in blocks:
                x = block(x)
            if s < 3:
                x = self.down[s](x)
        return self.head(x)

    def calibrate(self, net: BHViT, images: Tensor) -> Tensor:
        """Fixes every constant and scale, layer by layer; returns the logits of the calibration images."""
        encoder, layers = net.vit.encoder, []
        for s, blocks in enumerate(self.stages):
            layers += list(zip(blocks, encoder.blocks(s)))
            if s < 3:
                layers.append((self.down[s], getattr(encoder, f"patch_embed{s + 1}")))
        edges = [layer.edge(f) for layer, f in layers] + [None]
        x = self.stem.calibrate(net.vit.embeddings, images, net.mean.double(), net.std.double(), edges[0])
        for (layer, f), edge in zip(layers, edges[1:]):
            x = layer.calibrate(f, x, edge)
        return self.head.calibrate(net.vit.layernorm, net.classifier, x).value


class BHViT(nn.Module):
    """One network, two phases.

    Float phase (`frozen` is False): parameters `vit.*`, `classifier.*` with the released names.
    Deployed phase (after `freeze` or `from_deployed`): parameters `hw.*`; in eval mode the forward pass is, bit for
    bit, what the hardware computes (CPU, float32). Both stay trainable.

    Input of both: (B, S, S, Cin) float tensor holding uint8 values 0..255. Output: logits (B, classes).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.image_channels
        for key in ("mean", "std"):
            value = torch.tensor(getattr(config, key)).expand(channels).clone()
            self.register_buffer(key, value, persistent=False)
        self.vit = nn.Module()
        self.vit.embeddings = Stem(config)
        self.vit.encoder = Encoder(config)
        self.vit.layernorm = ChannelNorm(config.widths[3])
        self.classifier = nn.Linear(config.widths[3], config.classes)
        self.hw: Deployed | None = None

    @property
    def frozen(self) -> bool:
        """True in the deployed phase."""
        return self.hw is not None

    def forward(self, images: Tensor) -> Tensor:
        side, ch = self.config.image_size, self.config.image_channels
        if tuple(images.shape[1:]) != (side, side, ch):
            raise ValueError(f"{self.config.name} takes images of shape (B, {side}, {side}, {ch}) with values 0..255, "
                             f"got {tuple(images.shape)}; resize them or choose another model file")
        if self.hw is not None:
            return self.hw(images)
        return self.forward_normalised((images / 255 - self.mean) / self.std)

    def forward_normalised(self, x: Tensor) -> Tensor:
        """Float phase on images that are already normalised, (B, S, S, Cin) -> logits."""
        if self.frozen:
            raise RuntimeError("a frozen network takes uint8 pixels: its normalisation is part of the stem's integer "
                               "weights; call the network itself")
        x = self.vit.layernorm(self.vit.encoder(self.vit.embeddings(x)))
        return self.classifier(x.mean((1, 2)))

    def freeze(self, images: Tensor) -> BHViT:
        """Turns the float network into the deployed one, in place.

        Args: images: calibration images (B, S, S, Cin), uint8 or uint8-valued; a few dozen to a few hundred.
        Returns: self, in eval mode. Raises: ConfigError (not deployable), RangeError (2**24), RuntimeError (frozen).
        """
        if self.frozen:
            raise RuntimeError("the network is frozen already; build a new BHViT(config) and load float "
                               "weights into it")
        self.config.deployable()
        side, ch = self.config.image_size, self.config.image_channels
        if tuple(images.shape[1:]) != (side, side, ch) or len(images) == 0:
            raise ValueError(f"calibration images must have shape (N, {side}, {side}, {ch}) with N >= 1, got "
                             f"{tuple(images.shape)}; pass uint8 images as the data loader gives them")
        self.eval()
        hw = Deployed(self.config).eval()
        with torch.no_grad():
            hw.calibrate(self, images.to(torch.float32))
        check_ranges(hw)
        self.hw = hw
        del self.vit, self.classifier
        return self

    def deployed_state(self) -> dict[str, Tensor]:
        """Everything that defines the frozen network, as integers.

        `<constant>.value` int32 and `.format` = (bits, exponent, signed), `<quantizer>.format`, `<weight>.sign` int8
        +-1, further integer facts int64. Raises RuntimeError in the float phase.
        """
        if self.hw is None:
            raise RuntimeError("the network is not frozen: call freeze(calibration images) first")
        out: dict[str, Tensor] = {}
        for name, kind, module in _stateful(self.hw):
            if kind == "const":
                out[f"{name}.value"] = module.integers().contiguous()
                out[f"{name}.format"] = _format(module.q)
            elif kind == "quant":
                out[f"{name}.format"] = _format(module)
            elif kind == "weight":
                out[f"{name}.sign"] = module.signs().contiguous()
            else:
                out[name] = module.clone()
        return out

    def load_deployed_state(self, state: dict[str, Tensor]) -> BHViT:
        """Becomes the frozen network that `deployed_state` described; float parameters are dropped.

        Raises: ConfigError when names or shapes do not belong to this configuration.
        """
        self.config.deployable()
        hw = Deployed(self.config)
        left = dict(state)

        def take(key: str, shape: tuple[int, ...]) -> Tensor:
            value = left.pop(key, None)
            if value is None or tuple(value.shape) != tuple(shape):
                got = "it is missing" if value is None else f"its shape is {tuple(value.shape)}"
                raise ConfigError("The deployed weights do not fit.", f"model {self.config.name}: {key}",
                                  f"it should have shape {tuple(shape)}, but {got}",
                                  "use weights made from this model file")
            return value

        for name, kind, module in _stateful(hw):
            if kind in ("const", "quant"):
                bits, exponent, signed = (int(v) for v in take(f"{name}.format", (3,)))
                quant = module.q if kind == "const" else module
                quant.signed = bool(signed)
                quant.set_exponent(exponent, bits)
            if kind == "const":
                module.set_integers(take(f"{name}.value", module.latent.shape))
            elif kind == "weight":
                module.set(take(f"{name}.sign", module.weight.shape).to(torch.float32))
            elif kind == "buffer":
                module.copy_(take(name, module.shape))
        if left:
            raise ConfigError("The deployed weights hold unknown entries.", f"model {self.config.name}",
                              f"for example {sorted(left)[0]}", "use weights made from this model file")
        check_ranges(hw)
        self.hw = hw.eval()
        if hasattr(self, "vit"):
            del self.vit, self.classifier
        return self.eval()

    @classmethod
    def from_deployed(cls, config: ModelConfig, state: dict[str, Tensor]) -> BHViT:
        """A frozen network from `deployed_state`."""
        return cls(config).load_deployed_state(state)

    @property
    def logit_exponent(self) -> int:
        """Exponent e of the deployed logits, integer * 2**e."""
        if self.hw is None:
            raise RuntimeError("the network is not frozen: float logits have no exponent")
        return self.hw.head.classifier.logits.exponent


def _format(q: FixedQuant) -> Tensor:
    if q.exponent is None:
        raise RuntimeError("a quantizer has no scale; freeze the network again")
    return torch.tensor([q.bits, q.exponent, int(q.signed)], dtype=torch.int32)


def _stateful(hw: nn.Module):
    """Yields (name, kind, object) for constants, quantizers, binary weights and persistent buffers."""
    inside = set()
    for name, module in hw.named_modules():
        if isinstance(module, FixedConst):
            inside.add(f"{name}.q")
            yield name, "const", module
        elif isinstance(module, FixedQuant) and name not in inside:
            yield name, "quant", module
        elif isinstance(module, BinaryWeight):
            yield name, "weight", module
    persistent = {k for k in hw.state_dict() if not k.endswith("_extra_state")}
    for name, buffer in hw.named_buffers():
        if name in persistent:
            yield name, "buffer", buffer
