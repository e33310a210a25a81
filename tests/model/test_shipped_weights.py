"""What stands in model/weights: small, readable by the model files, on the card, as accurate as reported."""

import json
import os
from pathlib import Path

import pytest

from bhvit.model import data, weights
from bhvit.model.config import load_config
from bhvit.model.evaluate import evaluate
from bhvit.model.network import BHViT

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "model" / "weights").glob("*.safetensors"))
ORIGINALS = os.environ.get("BHVIT_CIFAR10_ORIGINALS")  # npz with test_images, test_labels: pixels that were never JPEG


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file(path):
    told = weights.info(path)
    cfg = load_config(ROOT / "configs" / "model" / f"{told['config_name']}.yaml")
    assert path.stat().st_size <= 4_000_000 and weights.load(path, cfg, told["kind"])
    assert path.stem in (ROOT / "model" / "weights" / "README.md").read_text(), "no card"
    assert told["metrics"].get("val_top1", told["metrics"].get("top1", 0)) > 50


@pytest.mark.parametrize("name", [p.stem for p in FILES if (ROOT / "reports" / f"{p.stem}_training.json").is_file()])
def test_report_is_of_this_file(name):
    report = json.loads((ROOT / "reports" / f"{name}_training.json").read_text())
    told = weights.info(ROOT / "model" / "weights" / f"{name}.safetensors")
    figures = told["metrics"]
    assert report["config_hash"] == told["config_hash"]
    assert report["test_top1"] == figures.get("test_top1", figures.get("top1"))
    assert report.get("weights_bytes", told["bytes"]) == told["bytes"]


@pytest.mark.skipif(ORIGINALS is None, reason="BHVIT_CIFAR10_ORIGINALS names no file of original CIFAR-10 pixels")
@pytest.mark.parametrize("name", [p.stem for p in FILES if p.stem.endswith(("cifar10", "cifar10_s"))])
def test_hits_on_original_pixels(name):
    report = json.loads((ROOT / "reports" / f"{name}_training.json").read_text())["original_pixels"]
    cfg = load_config(ROOT / "configs" / "model" / f"{name}.yaml")
    net = BHViT.from_deployed(cfg, weights.load(ROOT / "model" / "weights" / f"{name}.safetensors", cfg))
    got = evaluate(net, data.load(f"npz:{ORIGINALS}@test", cfg.image_size, cfg.image_channels), quiet=True)
    assert (round(got["images"] * got["top1"] / 100), got["images"]) == (report["hits"], report["images"])
