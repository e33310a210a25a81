"""The committed weights of bhvit_micro: they load, and give the accuracy of the committed report."""

import json
from pathlib import Path

from bhvit.model import data, weights
from bhvit.model.config import load_config
from bhvit.model.evaluate import evaluate
from bhvit.model.network import BHViT

ROOT = Path(__file__).parents[2]


def test_accuracy_of_the_committed_weights():
    report = json.loads((ROOT / "reports" / "bhvit_micro_training.json").read_text())
    cfg = load_config(ROOT / "configs" / "model" / "bhvit_micro.yaml")
    net = BHViT.from_deployed(cfg, weights.load(ROOT / report["weights"], cfg))
    got = evaluate(net, data.load("digits", cfg.image_size, cfg.image_channels), quiet=True)
    assert got["top1"] == report["test_top1"] >= 98.5
    assert got["images"] == report["images"]["test"] == 359 and got["distinct_outputs"] == report["distinct_outputs"]
