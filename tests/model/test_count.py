"""The operation and parameter counts of the paper's networks, from the network specification."""

from pathlib import Path

import pytest

from bhvit.model.config import load_config
from bhvit.model.count import count

MODELS = Path(__file__).parents[2] / "configs" / "model"

#          binary MACs    A.V three times  other MACs  elementwise  parameters  binary weights
EXPECTED = {
    ("bhvit_tiny", "binary", "qd"): (2539180032, 2578817024, 10145792, 143525000, 13783096, 12630016),
    ("bhvit_tiny", "fp", "qd"): (2462109696, 2501746688, 87216128, 141944456, 13779960, 11941888),
    ("bhvit_small", "binary", "qd"): (4056907776, 4113170432, 10145792, 223624936, 22646056, 21332992),
    ("bhvit_small", "fp", "qd"): (3979837440, 4036100096, 87216128, 222044392, 22642920, 20644864),
    ("bhvit_tiny", "binary", "gsb"): (2539180032, 2578817024, 10145792, 143525000, 13783040, 12630016),
    ("bhvit_small", "binary", "gsb"): (4056907776, 4113170432, 10145792, 223624936, 22645964, 21332992),
}


@pytest.mark.parametrize("name, downsample, attention", EXPECTED)
def test_published_counts(name, downsample, attention):
    cfg = load_config(MODELS / f"{name}.yaml").model_copy(update={"downsample": downsample, "attention": attention})
    total = count(cfg)["total"]
    figures = ("binary_macs", "binary_macs_av3", "fixed_macs", "elementwise", "parameters", "binary_weights")
    assert tuple(total[figure] for figure in figures) == EXPECTED[name, downsample, attention]
    assert total["float_parameters"] == total["parameters"] - total["binary_weights"]


def test_tiny_layers():
    rows = {row["layer"]: row for row in count(load_config(MODELS / "bhvit_tiny.yaml"))["layers"]}
    row = rows["S3 Q, K, V linear (212 tokens)"]
    assert row["binary_macs"] == 41680896 and row["repeat"] == 6 and row["binary_weights"] == 3 * 256 * 256
    assert rows["S3 A.V, one binary map"]["binary_macs"] == 2876416
    assert rows["S3 attention elementwise"]["elementwise"] == 3594256
    assert rows["S1 MLP elementwise"]["elementwise"] == 17059840
    assert rows["down 3->4 2x2 conv 256->512 (binary)"]["binary_macs"] == 25690112


@pytest.mark.parametrize("size, patch, window, want", [  # other input sizes, 10 classes
    (32, 2, 2, 224497664), (32, 1, 4, 840962048), (64, 4, 2, 224497664)])
def test_other_sizes(size, patch, window, want):
    cfg = load_config(MODELS / "bhvit_tiny.yaml").model_copy(
        update={"image_size": size, "stem_patch": patch, "window": window, "pool_padding": 0, "classes": 10})
    assert count(cfg)["total"]["binary_macs_av3"] == want
    assert count(cfg)["total"]["fixed_macs"] == {32: 201728, 64: 791552}[size]
