"""Teachers: stored logits, networks of this project, DeiT, any torch module."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import load_config
from bhvit.model.data import Dataset
from bhvit.model.train import TrainConfig
from bhvit.model.train.batches import Batches
from bhvit.model.train.full_precision import relax, restore
from bhvit.model.train.teacher import load_teacher, write_logits
from bhvit.model.train.vit import DEIT, VisionTransformer

sys.path.insert(0, str(Path(__file__).parent))
from model_nets import CONFIGS, lively_images, random_float

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nano():
    config = load_config(CONFIGS / "nano.yaml")
    return config, *random_float(config)


def test_stored_logits_are_mixed_with_the_images(tmp_path):
    logits = np.random.RandomState(0).randn(64, 10).astype(np.float32)
    np.savez(tmp_path / "t.npz", logits=logits)
    teacher = load_teacher(f"logits:{tmp_path / 't.npz'}", 10, 3, 64, CPU)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pixels = np.random.RandomState(0).randint(0, 256, (64, 16, 16, 3)).astype(np.uint8)
    images = Dataset(pixels, np.arange(64) % 10, "made up")
    batches = Batches(images, TrainConfig(batch_size=16, mixup=1.0), True, 10, CPU)
    batch = next(iter(batches.epoch("float", 3, 10)))
    share = batch.share.numpy()[:, None]
    expected = share * probabilities[batch.index] + (1 - share) * probabilities[batch.partner]
    np.testing.assert_allclose(teacher(batch).numpy(), expected, rtol=1e-5)
    with pytest.raises(UserError, match="do not fit"):
        load_teacher(f"logits:{tmp_path / 't.npz'}", 10, 3, 63, CPU)


def test_own_networks_teach(nano, tmp_path):
    config, net, _ = nano
    model = CONFIGS / "nano.yaml"
    pictures = lively_images(config, 4)
    for kind in ("float", "full"):
        weights.save(tmp_path / f"{kind}.safetensors", net.state_dict(), config, kind=kind)
        teacher = load_teacher(f"net:{model}:{tmp_path / kind}.safetensors", config.classes, config.image_channels, 1,
                               CPU)
        if kind == "full":
            relax(net)
        assert torch.equal(teacher.logits(pictures), net(pictures).detach())
        restore(net)
    small = torch.nn.functional.interpolate(pictures.permute(0, 3, 1, 2), scale_factor=0.5).permute(0, 2, 3, 1)
    assert teacher.logits(small).shape == (4, config.classes)
    with pytest.raises(UserError, match="does not fit"):
        load_teacher(f"net:{model}:{tmp_path / 'full.safetensors'}", config.classes + 1, config.image_channels, 1, CPU)
    with pytest.raises(UserError, match="is a teacher: its weights are not binary"):
        weights.load(tmp_path / "full.safetensors", config)
    with pytest.raises(UserError, match="no hardware"):
        weights.load(tmp_path / "full.safetensors", config, "float")


def test_teacher_logits_are_stored_in_the_order_of_the_images(nano, tmp_path):
    config, net, _ = nano
    pictures = lively_images(config, 7).numpy().astype(np.uint8)
    np.savez(tmp_path / "data.npz", train_images=pictures, train_labels=np.arange(7) % 5, val_images=pictures[:2],
             val_labels=np.arange(2))
    weights.save(tmp_path / "w.safetensors", net.state_dict(), config, kind="float")
    told = write_logits(f"net:{CONFIGS / 'nano.yaml'}:{tmp_path / 'w.safetensors'}", config,
                        f"npz:{tmp_path / 'data.npz'}", tmp_path / "t.npz", quiet=True)
    assert told["images"] == 7
    with np.load(tmp_path / "t.npz") as file:
        np.testing.assert_allclose(file["logits"], net(torch.from_numpy(pictures).float()).detach(), rtol=1e-5)


def test_deit_reads_weights_under_timms_names(tmp_path):
    width, heads = DEIT["deit_tiny_patch16_224"]
    net = VisionTransformer(width, heads, 2, 10)
    names = set(net.state_dict())
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias", "blocks.0.mlp.fc2.weight",
            "norm.weight", "head.bias"} <= names and len(names) == 2 + 2 + 2 * 12 + 4
    torch.save(net.state_dict(), tmp_path / "deit.pth")
    teacher = load_teacher(f"timm:deit_tiny_patch16_224:{tmp_path / 'deit.pth'}", 10, 3, 1, CPU)
    pictures = torch.randint(0, 256, (1, 32, 32, 3)).float()
    assert teacher.logits(pictures).shape == (1, 10) and math.isfinite(float(teacher.logits(pictures).sum()))
    with pytest.raises(UserError, match="get it on a machine with timm"):
        load_teacher(f"timm:deit_small_patch16_224:{tmp_path / 'none.pth'}", 10, 3, 1, CPU)
    with pytest.raises(UserError, match="known are deit_tiny"):
        load_teacher(f"timm:resnet50:{tmp_path / 'deit.pth'}", 10, 3, 1, CPU)
    with pytest.raises(UserError, match="forms are"):
        load_teacher("deit", 10, 3, 1, CPU)


def test_any_torch_module_teaches(tmp_path):
    (tmp_path / "beside.py").write_text("TEN = 10")
    (tmp_path / "mine.py").write_text("""
from __future__ import annotations
from dataclasses import dataclass
import torch
from beside import TEN
from torch import nn

@dataclass
class Size:
    classes: int

class Net(nn.Module):
    def __init__(self, classes, axis=-1):
        super().__init__()
        self.head, self.axis = nn.Linear(3, classes), axis
    def forward(self, images):
        assert images.shape[1:] == (8, 8, 3), images.shape
        return self.head(images.mean((1, 2)) / 255).squeeze(self.axis)

def ten(): return Net(Size(TEN).classes), 8
def one(): return Net(1), 8
def bare(): return Net(10)
def broken(): raise RuntimeError("no weights here")
""")
    here = f"python:{tmp_path / 'mine.py'}"
    teacher = load_teacher(f"{here}:ten", 10, 3, 1, CPU)
    pictures = torch.randint(0, 256, (2, 16, 16, 3)).float()  # scaled to the teacher's side
    got = teacher.logits(pictures)
    assert got.shape == (2, 10) and got.std() > 0 and not teacher.net.training
    assert not any(p.requires_grad for p in teacher.net.parameters())
    for function, classes, phrase in (("ten", 5, "does not fit the network"), ("one", 1, "tensor of shape (2,)"),
                                      ("bare", 10, "TypeError"), ("broken", 10, "no weights here"),
                                      ("none", 10, "AttributeError")):
        with pytest.raises(UserError) as caught:
            load_teacher(f"{here}:{function}", classes, 3, 1, CPU)
        assert phrase in str(caught.value)
    with pytest.raises(UserError, match="does not exist"):
        load_teacher(f"python:{tmp_path / 'nowhere.py'}:ten", 10, 3, 1, CPU)
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UserError, match="no Python file"):
        load_teacher(f"python:{tmp_path / 'mine.txt'}:ten", 10, 3, 1, CPU)
