"""The golden recipe: seeds, rules, checksums; and random networks whose outputs differ between images."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from bhvit.model import data
from bhvit.model import random_weights as recipe
from bhvit.model.config import load_config
from bhvit.model.evaluate import predict
from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.network import BHViT

MODELS = Path(__file__).parents[2] / "configs" / "model"


def test_first_values():
    key = "vit.encoder.layerA.0.GC.cov1.weight"
    seed = zlib.crc32(f"{key}:1".encode()) & 0x7FFFFFFF
    want = (0.05 * np.random.RandomState(seed).standard_normal((4, 2, 3, 3))).astype(np.float32)
    assert np.array_equal(recipe.recipe_tensor(key, (4, 2, 3, 3), 1), want)
    assert not np.array_equal(recipe.recipe_tensor(key, (4, 2, 3, 3), 2), want)


@pytest.mark.parametrize("key, shape, low, high", [
    ("vit.embeddings.patch_embeddings.norm.running_var", (500,), 0.5, 1.5),
    ("vit.encoder.layerA.0.layernorm_before.running_var", (500,), 2, 6),
    ("vit.encoder.patch_embed1.norm0.running_var", (500,), 2, 6),
    ("vit.encoder.patch_embed1.norm.running_var", (500,), 0.5, 1.5),
    ("vit.layernorm.running_var", (500,), 2, 6),
    ("x.rprelu.prelu.weight", (500,), 0.1, 0.4),
    ("a.att_prob_quantizer.alpha", (500,), 0.03, 0.15),
    ("a.att_prob_quantizer.zero_point", (500,), -0.3, 0.3),
    ("a.att_prob_clip", (), 0.01, 0.2),
    ("a.att_prob_clip3", (), 0.5, 1.5),
    ("a.token_FA.a1", (1, 1, 500), 0.3, 0.7),
    ("a.norm.weight", (500,), 0.5, 1.5),
])
def test_uniform_rules(key, shape, low, high):
    value = recipe.recipe_tensor(key, shape, 1)
    assert value.shape == shape and value.dtype == np.float32 and low <= value.min() and value.max() <= high
    assert value.size == 1 or value.max() - value.min() > 0.95 * (high - low)


@pytest.mark.parametrize("key, shape, scale", [
    ("x.running_mean", (2000,), 0.1), ("x.layerscale_h3.alpha", (2000,), 0.15), ("x.layerscale_h3.move", (2000,), 0.02),
    ("x.GC.move.bias", (1, 2000, 1, 1), 0.1), ("x.moveq2", (2000,), 0.1), ("x.rprelu.move1", (2000,), 0.1),
    ("vit.embeddings.position_embeddings", (1, 20, 10, 10), 0.02), ("classifier.weight", (20, 100), 0.05),
    ("vit.embeddings.patch_embeddings.proj.weight", (20, 3, 8, 8), 0.15), ("classifier.bias", (2000,), 0.1),
])
def test_normal_rules(key, shape, scale):
    assert abs(recipe.recipe_tensor(key, shape, 1).std() / scale - 1) < 0.08


def test_constants_and_unknown_keys():
    assert recipe.recipe_tensor("n.num_batches_tracked", (), 1).dtype == np.int64
    assert recipe.recipe_tensor("a.att_prob_quantizer.init_state", (1,), 1).tolist() == [1.0]
    with pytest.raises(KeyError, match="no rule"):
        recipe.recipe_tensor("x.gamma", (3,), 1)


def test_golden_images():  # the checksum stored with the golden vectors of seed 1
    assert zlib.crc32(recipe.recipe_images(224, 3, 1).tobytes()) == 4249321333


def test_calibration_images_undo_the_normalization():
    cfg = load_config(MODELS / "bhvit_tiny.yaml")
    pixels = recipe.calibration_images(cfg, 1, 2)
    assert pixels.shape == (2, 224, 224, 3) and pixels.dtype == np.uint8
    back = (pixels / 255 - np.asarray(cfg.mean)) / np.asarray(cfg.std)
    inside = (pixels > 0) & (pixels < 255)
    want = recipe.recipe_images(224, 3, 1).transpose(0, 2, 3, 1)
    assert abs(back - want)[inside].max() < 0.01 and inside.mean() > 0.9


def test_golden_state():  # the checksum stored with the golden vectors of the tiny network, seed 1
    net = BHViT(load_config(MODELS / "bhvit_tiny.yaml"))
    state = recipe.recipe_state({key: value.shape for key, value in net.state_dict().items()}, 1)
    assert len(state) == 1155 and recipe.state_crc(state) == 1352616727


@pytest.fixture(scope="module")
def micro():
    return load_config(MODELS / "bhvit_micro.yaml")


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_random_network_is_diverse(micro, seed, monkeypatch):
    counts, levels = [], QDAttention.levels

    def counting(self, q, k):
        level = levels(self, q, k)
        counts.append(np.bincount(level.numpy().astype(int).ravel(), minlength=4))
        return level

    net = recipe.random_network(micro, seed)
    monkeypatch.setattr(QDAttention, "levels", counting)
    logits = predict(net, data.load(f"random:{seed}", 48, 1, count=50).images, batch_size=50, quiet=True)
    assert len(np.unique(logits, axis=0)) >= 45
    assert len(counts) == 3 and all(count.all() and len(count) == 4 for count in counts)


def test_random_network_is_repeatable(micro):
    one, two = (recipe.random_network(micro, 5).deployed_state() for _ in range(2))
    assert set(one) == set(two) and all((one[key] == two[key]).all() for key in one)
