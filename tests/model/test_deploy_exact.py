"""A float network of grid values deploys without a single different decision; two parts that are near it by bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bhvit.model.config import load_config, parse_config
from bhvit.model.deploy import rows
from bhvit.model.evaluate import as_input
from bhvit.model.fidelity import Fidelity
from bhvit.model.layers.downsample import DeployedDownsample
from bhvit.model.layers.fixed import Fixed
from bhvit.model.layers.layer_norm import LayerNorm
from bhvit.model.layers.shapes import patch_weight, patchify
from bhvit.model.network import BHViT
from bhvit.model.numerics import Widths
from bhvit.model.random_weights import recipe_float_state

#: full-precision down-sampling and batch norm of tokens, so that every value can stay a multiple of 1/4
GRID = {"name": "grid", "image_size": 16, "image_channels": 1, "classes": 3, "stem_patch": 1, "widths": [4] * 4,
        "depths": [1] * 4, "heads": [1, 1], "groups": 1, "mlp_ratios": [1] * 4, "window": 2, "pool_padding": 0,
        "token_norm": "batch", "downsample": "fp", "mean": [0.5], "std": [0.5],
        "bits": {"residual": 12, "activation": 10, "z": 14, "branch": 12, "shift": 14, "gelu": 12, "position": 14}}


def grid_network() -> tuple[BHViT, BHViT, np.ndarray]:
    """(float, deployed, black and white images): every tensor but the logits is a multiple of 1/4 of few bits."""
    rng = np.random.default_rng(1)
    cfg = parse_config(GRID)
    net = BHViT(cfg)

    def quarters(p: torch.Tensor, largest: int) -> None:
        p.copy_(torch.from_numpy(rng.integers(-largest, largest + 1, tuple(p.shape)) / 4.0))

    with torch.no_grad():
        for name, p in net.named_parameters():
            last = name.rpartition(".")[2]
            if name.endswith("proj.weight"):
                p.zero_()  # the stem sees one pixel, a down-sampling one of four: eight levels, or a copy
                if p.shape[-1] == 1:
                    p.copy_(torch.tensor(rng.choice([-8.0, 8.0], tuple(p.shape))))
                else:
                    for c in range(4):
                        p[c, c, c // 2, c % 2] = 1
            elif p.dim() > 1 and last == "weight" and "classifier" not in name:
                p.copy_(torch.tensor(rng.choice([-0.5, 0.5], tuple(p.shape))))  # binary: scale 1/2
                flat = p.reshape(p.shape[0], -1)
                flat[:, 0], flat[:, 1] = 0.5, -0.5  # no row of one sign
            elif "move" in last or name.endswith("move.bias") or last == "position_embeddings":
                quarters(p, 6)
                if "rprelu" not in name and ".act" not in name and last != "position_embeddings":
                    p += 1 / 8  # thresholds lie between two values
            elif name.endswith("prelu.weight") or last in ("a1", "parm"):
                p.fill_(1)
            elif name.endswith("att_prob_quantizer.alpha"):
                p.fill_(0.25)
            elif "layerscale" in name or name.endswith("proj.bias"):
                p.fill_(0)
            elif ".cov" in name:
                p.fill_(0.5)
        for m in net.modules():
            if isinstance(m, nn.BatchNorm1d):
                m.eps, m.bias[:] = 0.0, 0.0
        for block in net.vit.encoder.layerA:
            block.GC.norm.weight.fill_(0.5)
    other = BHViT(cfg)
    other.load_state_dict(net.state_dict())
    for a, b in zip(net.modules(), other.modules()):
        if isinstance(a, nn.BatchNorm1d):
            b.eps = a.eps
    images = (rng.integers(0, 2, (12, 16, 16, 1)) * 255).astype(np.uint8)
    return net.eval(), other.eval().freeze(as_input(images)), images


def test_network_of_grid_values_agrees_everywhere():
    net, deployed, images = grid_network()
    report = rows(Fidelity(net, deployed.hw).run(images, 6, quiet=True))
    for d in report["decisions"]:
        assert (d["forced"], d["block"], d["free"]) == (100, 100, 100), d
    assert report["levels"]["count"] and report["signs"]["count"] > 10_000
    for row in report["layers"]:
        assert not any(row["first_difference"].values())
    assert any(0 < sum(d["confusion"][k]) < d["count"] for d in report["decisions"] if d["kind"] == "levels"
               for k in range(4))


TINY = "configs/model/bhvit_tiny.yaml"


@pytest.fixture(scope="module")
def tiny_state():
    from pathlib import Path

    cfg = load_config(Path(__file__).parents[2] / TINY)
    return cfg, recipe_float_state(cfg, 1)


@pytest.mark.parametrize("block, channels", [(0, 256), (6, 512)])
def test_layer_norm_of_tiny_is_within_its_rounding(tiny_state, block, channels):
    """Integer LayerNorm against float64 on the same tokens: what n, r, m, o and h may lose by rounding, added up."""
    _, state = tiny_state
    key = f"vit.encoder.layerB.{block}.attention.attention.token_FA.norm"
    norm = nn.LayerNorm(channels).double()
    norm.load_state_dict({k: state[f"{key}.{k}"] for k in ("weight", "bias")})
    rng, e = np.random.default_rng(0), -4
    spread = rng.uniform(4, 40, (300, 1))  # in LSBs: dull and lively tokens
    tokens = torch.from_numpy(np.clip(np.rint(rng.normal(rng.normal(0, 10, (300, 1)), spread, (300, channels))),
                                      -128, 127) * 2.0**e)
    hw = LayerNorm(channels, Widths())
    with torch.no_grad():
        got = hw.calibrate(Fixed(tokens.float()[None], e, -128, 127), norm).value[0].double()
        want = norm(tokens)
        m, o, y = hw.affine.m, hw.affine.o, hw.affine.y
        n = (tokens - tokens.mean(1, keepdim=True)) / torch.sqrt(tokens.var(1, correction=0, keepdim=True) + norm.eps)
        # relative error of r: half a unit of r = 2^k / sqrt(V), V the integer variance; eps is rounded to a unit of V
        variance = channels**2 * tokens.var(1, correction=0, keepdim=True) * 4.0**-e + float(hw.inputs[1])
        of_r = 0.5 * torch.sqrt(variance) / 2**hw.k + 0.5 / variance
        of_n = 2.0**hw.n.exponent / 2 + n.abs() * of_r
        bound = (2.0**y.exponent / 2 + norm.weight.abs() * of_n + (m().double() - norm.weight).abs() * (n.abs() + of_n)
                 + 2.0**o.exponent / 2)
        inside = (got * 2.0**-y.exponent < y.limits[1]) & (got * 2.0**-y.exponent > y.limits[0])
        inside &= n.abs() < 2.0**hw.n.exponent * hw.n.limits[1]
    assert inside.double().mean() > 0.98
    error = (got - want).abs()
    assert bool((error <= bound * (1 + 1e-9))[inside].all())
    assert float(bound.max()) < 1.2 * 2.0**y.exponent  # the bound itself is little more than an LSB
    assert float((error[inside].square().mean() / want.var()).sqrt()) < 0.03


def test_full_precision_down_sampling_of_tiny_is_within_its_rounding(tiny_state):
    """8-bit weights against float64 on the same input: rounded weights, offset, output and position embedding."""
    cfg, _ = tiny_state
    cfg = cfg.model_copy(update={"downsample": "fp"})
    f = BHViT(cfg)
    f.load_state_dict(recipe_float_state(cfg, 1))
    f = f.eval().vit.encoder.patch_embed2.double()  # 128 -> 256 channels, sums of 512 products
    rng, e = np.random.default_rng(0), -5
    x = torch.from_numpy(np.clip(np.rint(rng.normal(0, 40, (2, 28, 28, 128))), -128, 127) * 2.0**e)
    hw = DeployedDownsample(cfg, 1).eval()
    with torch.no_grad():
        got = hw.calibrate(f, Fixed(x.float(), e, -128, 127)).value.double()
        want = f(x)
        u, lin, pos = hw.norm.y, hw.linear, hw.position
        # the layer's own input: U on its grid; what the linear layer makes of it, exactly and in 8 bits
        held = hw.norm(x.float()).double()
        g = f.norm.weight / torch.sqrt(f.norm.running_var + f.norm.eps)
        embedding = f.position_embeddings.reshape(1, 14, 14, -1)
        exact = f.norm(f.proj(held.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)) + embedding
        weight = lin.weight().double() * lin.epilogue.m().double()[:, None]
        lost = (weight - patch_weight(f.proj.weight) * g[:, None]).abs()
        bound = (patchify(held, 2).abs() @ lost.T + 2.0**lin.epilogue.y.exponent / 2 + 2.0**lin.epilogue.o.exponent / 2
                 + 2.0**pos.y.exponent / 2 + 2.0**pos.pos.exponent / 2)
        inside = (got.abs() < 2.0**pos.y.exponent * pos.y.limits[1])
        inside &= (exact - embedding).abs() < 2.0**lin.epilogue.y.exponent * lin.epilogue.y.limits[1]
    assert inside.double().mean() > 0.99 and u.bits == lin.weight.q.bits == 8
    assert bool(((got - exact).abs() <= bound * (1 + 1e-9))[inside].all())
    # all together, U's rounding included, against the spread of the output
    assert float(((got - want)[inside].square().mean() / want.var()).sqrt()) < 0.03
