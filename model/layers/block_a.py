"""Block A: multi-scale grouped dilated convolution, MSGDC (paper equations 6 and 7, spec section 3), then the MLP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bhvit.model.config import ModelConfig
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed, fold_norm, sign_edge, vec
from bhvit.model.layers.float_parts import ChannelNorm, Move, RPReLU, binary_conv, channel_norm, sign_act
from bhvit.model.layers.fused import norm_act, sign_move
from bhvit.model.layers.linear import BinaryConv
from bhvit.model.layers.mlp import DeployedMlp, MlpMixin, latent, row_scale
from bhvit.model.layers.threshold import Threshold
from bhvit.model.numerics import exponent_mse


class GroupedConv(nn.Module):
    """T = BN(sum over k of RPReLU_k(BConv_k(sgn(U + move)) + bias_k [+ U])): (B, H, W, C) -> same.

    The residual U inside the branches is the paper's equation 7 (`msgdc_residual`); the released code adds none.
    """

    def __init__(self, c: ModelConfig, channels: int) -> None:
        super().__init__()
        centred = c.weight_sign == "centred"
        self.move = Move(channels)
        for k, d in enumerate(c.dilations, 1):
            self.add_module(f"cov{k}", binary_conv(channels, channels, 3, centred, padding=d, dilation=d,
                                                   groups=c.groups))
            self.add_module(f"act{k}", RPReLU(channels))
        self.norm = ChannelNorm(channels)
        self.sign, self.branches, self.residual = sign_act(), len(c.dilations), c.msgdc_residual

    def forward(self, u: Tensor) -> Tensor:
        b = sign_move(self.sign, u, self.move.bias).permute(0, 3, 1, 2)
        out = None
        for k in range(1, self.branches + 1):
            y = getattr(self, f"cov{k}")(b).permute(0, 2, 3, 1)
            out = norm_act(y, act=getattr(self, f"act{k}"), residual=u if self.residual else None, second=out)
        return self.norm(out)


class BlockA(MlpMixin):
    """X (B, H, W, C) -> MLP(X + MSGDC(BN(X)))."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        channels = c.widths[stage]
        super().__init__(c, stage)
        self.layernorm_before = channel_norm(channels, c.pre_norm)
        self.GC = GroupedConv(c, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x + self.GC(self.layernorm_before(x)))


class DeployedBlockA(nn.Module):
    """X (B, H, W, C) s8 -> X s8 in fixed point; one threshold straight on the residual stream."""

    def __init__(self, c: ModelConfig, stage: int) -> None:
        super().__init__()
        channels = c.widths[stage]
        self.threshold = Threshold(channels, c.bits, scaled=True)
        self.convs = nn.ModuleList(BinaryConv(channels, c.groups, d, c.bits) for d in c.dilations)
        self.norm = Epilogue(channels, c.bits, c.bits.residual, act=False, res1=True)
        self.mlp = DeployedMlp(channels, c.mlp_ratios[stage], c.bits)

    def forward(self, x: Tensor) -> Tensor:
        b = self.threshold(x).permute(0, 3, 1, 2)
        total = self.convs[0](b)
        for conv in list(self.convs)[1:]:
            total = total + conv(b)
        return self.mlp(self.norm(total, x))

    @staticmethod
    def edge(f: BlockA) -> Tensor:
        """Where the block's first decision falls in its input, (C,) float64."""
        return sign_edge(f.layernorm_before, f.GC.move.bias)

    def calibrate(self, f: BlockA, x: Fixed, edge: Tensor | None = None) -> Fixed:
        """Args: f: the float block; x: residual stream; edge: of the layer behind, see `Epilogue.finish`."""
        g, beta = fold_norm(f.layernorm_before)
        b = self.threshold.calibrate(x, beta + vec(f.GC.move.bias), g).permute(0, 3, 1, 2)
        reals = []
        for k, conv in enumerate(self.convs, 1):
            cov, act = getattr(f.GC, f"cov{k}"), getattr(f.GC, f"act{k}")
            acc = conv.accumulate(b, latent(cov))
            reals.append(conv.epilogue.prepare(
                acc, row_scale(cov.weight), vec(cov.bias) - vec(act.move1), None,
                torch.ones_like(g), vec(act.prelu.weight), vec(act.move2)))
        e = max(exponent_mse(torch.cat(reals), self.convs[0].epilogue.y.bits),
                *(c.epilogue.floor_e for c in self.convs))
        branches = [c.epilogue.finish(e) for c in self.convs]
        total = branches[0].summed(sum(t.value for t in branches), len(branches))
        inner = sign_edge(f.layernorm_after, f.intermediate.move)
        return self.mlp.calibrate(f, self.norm.calibrate(total, *fold_norm(f.GC.norm), x, edge=inner), edge)
