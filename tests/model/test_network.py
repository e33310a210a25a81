"""Freezing: what it keeps, what it refuses, and what the frozen network can do."""

import pytest
import torch
from model_nets import CONFIGS, lively_images, random_float

from bhvit.model.config import ConfigError, load_config, parse_config
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.shapes import TAPS, shifted
from bhvit.model.layers.shift import BRANCHES, branch_taps
from bhvit.model.network import BHViT
from bhvit.model.numerics import check_ranges
from bhvit.model.trace import exponents, quantizers, run_integers, state_digest

WIDE = {"residual": 12, "activation": 10, "z": 14, "branch": 12, "multiplier": 14, "slope": 12, "layerscale_slope": 12,
        "stencil": 12, "blend": 12, "ratio": 12, "shift": 14, "exp_table": 12, "layer_norm": 14, "gelu": 12,
        "position": 14}


def blocks(net: BHViT):
    """(name, module) of stem, blocks and down-samplings, float or deployed, in order."""
    hw = net.hw
    for s in range(4):
        if s == 0:
            yield "stem", net.vit.embeddings if hw is None else hw.stem
        group = net.vit.encoder.blocks(s) if hw is None else hw.stages[s]
        yield from ((f"stage {s} block {i}", b) for i, b in enumerate(group))
        if s < 3:
            yield f"down {s}", getattr(net.vit.encoder, f"patch_embed{s + 1}") if hw is None else hw.down[s]


@pytest.mark.parametrize("name", ["nano", "variant"])
def test_each_block_is_close_to_its_float_twin(name):
    """With wide formats and the deployed input, every block alone follows the float block."""
    data = load_config(CONFIGS / f"{name}.yaml").model_dump()
    config = parse_config({**data, "bits": WIDE})
    twin, images = random_float(config)
    net = BHViT(config)
    net.load_state_dict(twin.state_dict())
    net.freeze(images)
    with torch.no_grad():
        x = net.hw.stem(images)
        normalised = (images / 255 - twin.mean) / twin.std
        pairs = list(zip(blocks(twin), blocks(net)))
        for (label, f), (_, d) in pairs:
            want = f(normalised) if label == "stem" else f(x)
            x = d(images) if label == "stem" else d(x)
            # rounding flips a few signs in each block, whose effect is large but rare: look at the median, too
            spread = (want - want.mean()).square().mean().sqrt()
            typical = (want - x).abs().median() / spread
            error = (want - x).square().mean().sqrt() / spread
            assert typical < 0.04 and error < 0.15, (label, float(typical), float(error))


def test_multipliers_do_not_saturate(frozen):
    """Nor does a ratio that is no power of two cost the multiplier its range (nano has 3)."""
    _, net, _ = frozen
    for name, m in net.hw.named_modules():
        if isinstance(m, Epilogue):
            lo, hi = m.m.q.limits
            ints = m.m.integers()
            assert ((ints == lo) | (ints == hi)).sum() <= 1, (name, ints)


def test_logits_follow_the_float_network(frozen):
    twin, net, images = frozen
    with torch.no_grad():
        want, got = twin(images), net(images)
    assert torch.corrcoef(torch.stack([want.flatten(), got.flatten()]))[0, 1] > 0.8


def test_every_tensor_is_on_its_grid_and_in_range(frozen):
    _, net, images = frozen
    seen = {}
    hooks = [m.register_forward_hook(lambda _m, _i, out, n=n: seen.setdefault(n, out))
             for n, m in quantizers(net.hw).items()]
    with torch.no_grad():
        net(images)
    for h in hooks:
        h.remove()
    grid = exponents(net.hw)
    assert set(seen) == set(grid) and len(grid) > 60
    constant = []
    for name, x in seen.items():
        ints = x.double() * 2.0 ** -grid[name]
        assert torch.equal(ints, ints.round()), name
        if x.unique().numel() == 1:
            constant.append(name)
    assert len(constant) <= len(grid) // 20, constant


def test_all_attention_levels_occur(frozen):
    _, net, images = frozen
    counts = torch.zeros(4)
    for stage in (2, 3):
        attention = net.hw.stages[stage][0].attention
        exact = attention.levels

        def spy(q, k, exact=exact):
            level = exact(q, k)
            for v in range(4):
                counts[v] += (level == v).sum()
            return level

        attention.levels = spy
    with torch.no_grad():
        net(images)
    for stage in (2, 3):
        del net.hw.stages[stage][0].attention.levels
    assert (counts > 0).all(), counts


def test_state_rebuilds_the_network(frozen):
    _, net, images = frozen
    state = net.deployed_state()
    again = BHViT.from_deployed(net.config, {k: v.clone() for k, v in state.items()})
    with torch.no_grad():
        assert torch.equal(again(images), net(images))
    assert state_digest(again) == state_digest(net)
    assert all(not v.is_floating_point() for v in state.values())


def test_wrong_state_is_refused(frozen):
    _, net, _ = frozen
    state = net.deployed_state()
    key = next(k for k in state if k.endswith(".sign"))
    with pytest.raises(ConfigError, match=key):
        BHViT.from_deployed(net.config, {k: v for k, v in state.items() if k != key})
    with pytest.raises(ConfigError, match="unknown entries"):
        BHViT.from_deployed(net.config, {**state, "more": torch.zeros(1)})
    with pytest.raises(ConfigError, match="shape"):
        BHViT.from_deployed(net.config, {**state, key: state[key][:1]})


def test_integers_do_not_depend_on_the_batch(frozen):
    _, net, images = frozen
    a, ta = run_integers(net, images, batch=16, trace=True)
    b, tb = run_integers(net, images, batch=5, trace=True)
    assert (a == b).all() and all((ta[k] == tb[k]).all() for k in ta)
    assert len({tuple(r) for r in a.tolist()}) > len(a) // 2


def test_ranges_of_every_layer(frozen):
    _, net, _ = frozen
    worst = check_ranges(net)
    assert len(worst) > 40 and max(worst.values()) < 2**24


def test_frozen_network_trains(frozen):
    _, net, images = frozen
    net = BHViT.from_deployed(net.config, net.deployed_state())
    net.train()
    net(images).square().mean().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert all(".attention." in n for n in idle), idle
    with torch.no_grad():
        exact = net.eval()(images)
        assert torch.equal(net.train()(images), exact)  # straight-through gradients leave no rounding dust


def test_refusals():
    config = load_config(CONFIGS / "nano.yaml")
    net, images = random_float(config)
    with pytest.raises(RuntimeError, match="not frozen"):
        net.deployed_state()
    with pytest.raises(ValueError, match="shape"):
        net(images[:, :5])
    with pytest.raises(ValueError, match="calibration images"):
        net.freeze(images[:0])
    net.freeze(images)
    with pytest.raises(RuntimeError, match="frozen already"):
        net.freeze(images)
    gsb = BHViT(config.model_copy(update={"attention": "gsb"}))
    gsb.eval()
    gsb(images)
    with pytest.raises(ConfigError, match="gsb"):
        gsb.freeze(images)


def test_constant_images_freeze():
    """Degenerate calibration data gives scales all the same."""
    config = load_config(CONFIGS / "nano.yaml")
    net, _ = random_float(config)
    images = torch.zeros(2, 24, 24, 1)
    with torch.no_grad():
        assert torch.isfinite(net.freeze(images)(lively_images(config, 2))).all()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_stencil_is_the_six_branches(side):
    """The merged nine taps equal the branches, on maps where circular taps alias too."""
    torch.manual_seed(0)
    config = parse_config({"name": "s", "image_size": 24, "image_channels": 1, "classes": 2, "stem_patch": 1,
                           "widths": [8] * 4, "depths": [1] * 4, "heads": [1, 1], "mlp_ratios": [1] * 4, "window": 3,
                           "pool_padding": 1})
    block = BHViT(config).vit.encoder.layerA[0].double()
    scales = {b: getattr(block, f"layerscale_{b}") for b in BRANCHES}
    for s in scales.values():
        torch.nn.init.normal_(s.alpha)
        torch.nn.init.normal_(s.move)
    u = torch.randn(2, side, side, 8, dtype=torch.float64)
    coef = sum(branch_taps(b, 8) * s.alpha for b, s in scales.items())
    got = sum(shifted(u, *t) * c for t, c in zip(TAPS, coef)) + sum(s.move for s in scales.values())
    # the branches once more, from torch.roll and the specification
    q, want = 2, 0
    for r, (h, w, ch) in ((1, ("h3", "w3", "ch3")), (2, ("h5", "w5", "ch5"))):
        offsets = range(-r, r + 1)
        want = want + scales[h](sum(u.roll(d, 1) for d in offsets) / len(offsets))
        want = want + scales[w](sum(u.roll(d, 2) for d in offsets) / len(offsets))
        rolled = [u[..., :q].roll(r, 1), u[..., q:2 * q].roll(-r, 1), u[..., 2 * q:3 * q].roll(r, 2),
                  u[..., 3 * q:].roll(-r, 2)]
        want = want + scales[ch](torch.cat(rolled, -1))
    assert torch.allclose(got, want, atol=1e-12)
    assert torch.allclose(block.shift_branches(u), want, atol=1e-12)
