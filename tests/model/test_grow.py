"""Deeper networks that begin as shallower ones: the same function, gradients everywhere, refusals."""

import sys
from pathlib import Path

import pytest
import torch

from bhvit.cli.main import main
from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig
from bhvit.model.network import BHViT
from bhvit.model.train.full_precision import relax
from bhvit.model.train.grow import grow

sys.path.insert(0, str(Path(__file__).parent))
from model_nets import random_float

SMALL = dict(name="small", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(16, 16, 32, 32),
             depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0)


@pytest.mark.parametrize("kind", ["float", "full"])
@pytest.mark.parametrize("depths, changes", [
    ((2, 1, 1, 1), {}), ((1, 3, 1, 1), {}), ((2, 2, 3, 2), {}), ((1, 2, 2, 1), {"token_norm": "batch"}),
    ((2, 2, 2, 2), {"mixer": "attention"}), ((2, 1, 2, 1), {"mixer": "convolution"}),
    ((1, 1, 2, 2), {"attention": "gsb", "shift": "pure", "merge_tokens": "off"})])
def test_the_same_function(tmp_path, depths, changes, kind):
    small, large = (ModelConfig(**SMALL | changes | given) for given in ({}, {"name": "large", "depths": depths}))
    net, images = random_float(small)
    weights.save(tmp_path / "s.safetensors", net.state_dict(), small, kind=kind)
    told = grow(tmp_path / "s.safetensors", small, large, tmp_path / "l.safetensors")
    assert told["blocks"] == [b - 1 for b in depths] and told["exact"]
    deep = BHViT(large)
    deep.load_state_dict(weights.load(tmp_path / "l.safetensors", large, kind))
    deep.eval()
    if kind == "full":
        relax(net), relax(deep)
    with torch.no_grad():
        assert torch.equal(deep(images), net(images))
    # a new block takes part from the first step: its last scales have a gradient, and then the rest of it
    deep.train()
    optimizer = torch.optim.SGD(deep.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        deep(images).square().sum().backward()
        optimizer.step()
    for stage in range(4):
        for block in deep.vit.encoder.blocks(stage)[1:]:
            still = [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()]
            assert not [n for n in still if "dense.weight" in n or "cov" in n], still
    with torch.no_grad():
        assert not torch.equal(deep.eval()(images), net(images))


def test_refusals(tmp_path):
    small = ModelConfig(**SMALL)
    net, images = random_float(small)
    weights.save(tmp_path / "s.safetensors", net.state_dict(), small, kind="float")
    for changes, phrase in (({"depths": (1, 1, 0, 1)}, "lose blocks"), ({"depths": (2, 1, 1, 1), "window": 2},
                                                                       "more than their size")):
        try:
            large = ModelConfig(**SMALL | changes)
        except ValueError:  # no such network at all
            large = small.model_copy(update=changes)
        with pytest.raises(UserError, match=phrase):
            grow(tmp_path / "s.safetensors", small, large, tmp_path / "l.safetensors")
    net.freeze(images.to(torch.uint8))
    weights.save(tmp_path / "d.safetensors", net.deployed_state(), small)
    with pytest.raises(UserError, match="Only parameters of a float phase"):
        grow(tmp_path / "d.safetensors", small, small, tmp_path / "l.safetensors")


def test_command(tmp_path, capsys):
    lines = {"small": "depths: [1, 1, 1, 1]", "large": "depths: [1, 2, 1, 1]"}
    for name, line in lines.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\nimage_size: 16\nimage_channels: 1\nclasses: 10\nstem_patch: 2\nwidths: [16, 16, 32, 32]\n"
            f"{line}\nheads: [2, 2]\nwindow: 1\npool_padding: 0\n")
    small = ModelConfig(**SMALL)
    weights.save(tmp_path / "s.safetensors", random_float(small)[0].state_dict(), small, kind="float")
    with pytest.raises(SystemExit) as left:
        main(["grow-weights", str(tmp_path / "small.yaml"), "--weights", str(tmp_path / "s.safetensors"), "--to",
              str(tmp_path / "large.yaml"), "-o", str(tmp_path / "l.safetensors")])
    assert left.value.code == 0 and "blocks added: 1" in capsys.readouterr().out
    assert weights.info(tmp_path / "l.safetensors")["config_name"] == "large"
