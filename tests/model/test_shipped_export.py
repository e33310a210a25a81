"""Rung 2 for the shipped digits networks: stock qonnx, without this package, on 64 test images."""

from pathlib import Path

import numpy as np
import pytest
import stock

from bhvit.model import data, weights
from bhvit.model.config import load_config
from bhvit.model.export import export
from bhvit.model.network import BHViT
from bhvit.model.trace import run_integers

ROOT = Path(__file__).parents[2]
IMAGES = BATCH = 64  # a batch takes qonnx as long as an image: its time is that of the nodes


@pytest.mark.full  # stock qonnx on a network of `make test`: test_export.py
@pytest.mark.parametrize("name", ["bhvit_nano", "bhvit_micro"])
def test_stock_qonnx_equals_pytorch_on_test_images(tmp_path, name):
    cfg = load_config(ROOT / "configs" / "model" / f"{name}.yaml")
    net = BHViT.from_deployed(cfg, weights.load(ROOT / "model" / "weights" / f"{name}.safetensors", cfg))
    images = data.load("digits@test", cfg.image_size, cfg.image_channels).images[:IMAGES]
    assert len(images) == IMAGES
    facts = export(net, tmp_path / "net.onnx", batch=BATCH, check_images=1, golden_images=1, images=images)
    got = stock.logits(tmp_path / "net.onnx", images, tmp_path)
    want, _ = run_integers(net, images)
    assert np.array_equal(got, want.reshape(IMAGES, -1) * 2.0 ** facts["logit_exponent"])
    assert len(np.unique(got, axis=0)) == IMAGES
