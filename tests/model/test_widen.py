"""Wider networks that begin as narrower ones: where the function is the same, where about the same, the copies."""

import sys
from pathlib import Path

import pytest
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig
from bhvit.model.layers.mlp import MlpMixin
from bhvit.model.network import BHViT
from bhvit.model.train.full_precision import binary_weights, relax
from bhvit.model.train.grow import grow
from bhvit.model.train.widen import _layer_norms, _same_direction

sys.path.insert(0, str(Path(__file__).parent))
from model_nets import random_float

SMALL = dict(name="small", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(16, 16, 32, 32),
             depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0, mlp_ratios=(2, 2, 2, 2))
WIDE = dict(name="wide", widths=(16, 16, 64, 128), heads=(4, 8), depths=(1, 2, 1, 1))


def grown(folder, small, wide, kind="float", noise=0.0):
    """(narrow network, wide one begun from it, images, what grow says), in eval mode, float64."""
    net, images = random_float(small)
    weights.save(folder / "s.safetensors", net.state_dict(), small, kind=kind)
    told = grow(folder / "s.safetensors", small, wide, folder / "w.safetensors", noise)
    large = BHViT(wide)
    large.load_state_dict(weights.load(folder / "w.safetensors", wide, kind))
    if kind == "full":
        relax(net), relax(large)
    return net.double().eval(), large.double().eval(), images.double(), told


@pytest.mark.parametrize("kind", ["float", "full"])
@pytest.mark.parametrize("changes", [
    {}, {"token_norm": "batch"}, {"downsample": "fp"}, {"downsample": "conv"},
    {"attention": "gsb", "merge_tokens": "off"}, {"mixer": "attention", "heads": (2, 2, 2, 2)}])
def test_wider_stages_compute_the_same(tmp_path, changes, kind):
    heads = {"heads": (2, 2, 4, 8)} if len(changes.get("heads", ())) == 4 else {}
    small, wide = ModelConfig(**SMALL | changes | {"shift": "off"}), ModelConfig(
        **SMALL | changes | {"shift": "off"} | WIDE | heads)
    net, large, images, told = grown(tmp_path, small, wide, kind)
    assert told["blocks"] == [0, 1, 0, 0] and not told["exact"]  # rounding, and shifts where there are some
    with torch.no_grad():
        want, got = net(images), large(images)
    assert want.std() > 0.05 and torch.allclose(got, want, rtol=1e-5, atol=1e-5)


def test_larger_mlps_differ_by_the_residual_of_their_output_alone(tmp_path):
    small, wide = ModelConfig(**SMALL), ModelConfig(**SMALL | {"mlp_ratios": (4, 4, 4, 6)})
    net, large, _, told = grown(tmp_path, small, wide)
    assert not told["exact"]
    with torch.no_grad():
        for narrow, broad in zip(net.modules(), list(large.modules())):
            if not isinstance(narrow, MlpMixin):
                continue
            u = torch.randn(3, 2, 2, len(narrow.layernorm_after.weight), dtype=torch.float64)
            h, k = narrow.intermediate(u), broad.intermediate(u)
            copies = k.shape[-1] // h.shape[-1]
            assert torch.allclose(k, h.repeat(1, 1, 1, copies))
            seen = []
            for module, x in ((narrow.output, h), (broad.output, k)):
                seen.append(module.norm(module.dense(module.sign(x + module.move))))
            assert copies > 1 and seen[0].std() > 0.1 and torch.allclose(*seen, rtol=1e-5, atol=1e-6)


def test_channel_shifts_keep_their_direction():
    assert _same_direction(8, 16).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert _same_direction(8, 8).tolist() == [1] * 8


def test_layer_norm_for_batch_norm():
    torch.manual_seed(0)
    mean, var = torch.randn(64) * 0.3, torch.rand(64) + 0.5
    x = mean + torch.randn(4000, 64) * var.sqrt()
    gain, bias = torch.rand(64) + 0.5, torch.randn(64)
    place = "a.token_FA.norm."
    state = {place + "weight": gain, place + "bias": bias, place + "running_mean": mean, place + "running_var": var,
             place + "num_batches_tracked": torch.tensor(1), "other": bias}
    found = _layer_norms(state)
    assert set(found) == {place + "weight", place + "bias", "other"}
    want = (x - mean) / torch.sqrt(var + 1e-5) * gain + bias
    got = torch.nn.functional.layer_norm(x, (64,), found[place + "weight"], found[place + "bias"])
    apart = ((got - want).square().mean(0) / want.var(0)).sqrt()
    assert float(apart.max()) < 0.3 and float((got - want).mean(0).abs().max()) < 0.05


def test_noise_parts_the_copies(tmp_path):
    """Without noise copies of a channel have the same gradient (but for channel shifts), so they would stay copies."""
    small, wide = (ModelConfig(**SMALL | {"shift": "off"} | more) for more in ({}, WIDE))

    def halves(noise):
        _, net, images, _ = grown(tmp_path, small, wide, noise=noise)
        net.train()(images).square().sum().backward()
        found = []
        for name in binary_weights(net):
            gradient = net.get_parameter(name).grad
            # rows of wide layers behind wide layers: copies in both axes
            if "layerB.1" in name and gradient.shape[0] > 64:
                half = len(gradient) // 2
                found.append(torch.allclose(gradient[:half], gradient[half:], atol=1e-12))
        return found
    parted, same = halves(0.3), halves(0.0)
    assert len(same) > 3 and any(same) and not any(parted)
    assert sum(same) > len(same) // 2


@pytest.mark.parametrize("changes, phrase", [
    ({"widths": (32, 32, 32, 32)}, "keeps its width"), ({"widths": (16, 16, 48, 64), "heads": (3, 4)}, "whole factors"),
    ({"widths": (16, 16, 64, 64), "heads": (2, 4)}, "Heads keep their size"),
    ({"mlp_ratios": (2, 3, 2, 2)}, "whole factors"),
    ({"token_norm": "layer", "shift": "pure"}, "more than their size")])
def test_refusals(tmp_path, changes, phrase):
    small = ModelConfig(**SMALL | {"token_norm": "batch"})
    wide = ModelConfig(**SMALL | {"token_norm": "batch"} | changes)
    weights.save(tmp_path / "s.safetensors", random_float(small)[0].state_dict(), small, kind="float")
    with pytest.raises(UserError, match=phrase):
        grow(tmp_path / "s.safetensors", small, wide, tmp_path / "w.safetensors")


def test_heads_may_be_given_for_two_or_four_stages(tmp_path):
    small, wide = ModelConfig(**SMALL), ModelConfig(**SMALL | {"heads": (1, 1, 2, 2), "depths": (1, 1, 2, 1)})
    net, large, images, told = grown(tmp_path, small, wide)
    with torch.no_grad():
        assert told["exact"] and torch.equal(net(images), large(images))


def test_a_residual_that_is_cut_does_not_grow(tmp_path):
    small = ModelConfig(**SMALL | {"widths": (16, 16, 24, 24), "heads": (1, 1)})
    wide = ModelConfig(**SMALL | {"widths": (16, 16, 48, 48), "heads": (2, 2)})
    weights.save(tmp_path / "s.safetensors", random_float(small)[0].state_dict(), small, kind="float")
    with pytest.raises(UserError, match="whole copies"):
        grow(tmp_path / "s.safetensors", small, wide, tmp_path / "w.safetensors")
