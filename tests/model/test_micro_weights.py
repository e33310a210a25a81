"""The committed weights of bhvit_micro and bhvit_nano: they load, and give the accuracy of the committed reports."""

import json
from pathlib import Path

import pytest

from bhvit.model import data, weights
from bhvit.model.config import load_config
from bhvit.model.evaluate import evaluate
from bhvit.model.network import BHViT

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name, least", [("bhvit_micro", 98.5), ("bhvit_nano", 95.0)])
def test_accuracy_of_the_committed_weights(name, least):
    report = json.loads((ROOT / "reports" / f"{name}_training.json").read_text())
    cfg = load_config(ROOT / "configs" / "model" / f"{name}.yaml")
    net = BHViT.from_deployed(cfg, weights.load(ROOT / report["weights"], cfg))
    got = evaluate(net, data.load("digits", cfg.image_size, cfg.image_channels), quiet=True)
    assert got["top1"] == report["test_top1"] >= least
    assert got["images"] == report["images"]["test"] == 359 and got["distinct_outputs"] == report["distinct_outputs"]
