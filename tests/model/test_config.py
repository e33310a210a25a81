"""Model files: everything that cannot work is refused with a reason and a remedy."""

from pathlib import Path

import pytest

from bhvit.model.config import ConfigError, load_config, parse_config

ROOT = Path(__file__).parents[2]
GOOD = {"name": "x", "image_size": 48, "image_channels": 1, "classes": 10, "stem_patch": 2, "widths": [16, 32, 64, 96],
        "depths": [1, 1, 2, 1], "heads": [2, 3], "mlp_ratios": [4, 4, 2, 2], "window": 3, "pool_padding": 1}


@pytest.mark.parametrize("name", ["bhvit_micro", "bhvit_tiny", "bhvit_small"])
def test_shipped_files(name):
    config = load_config(ROOT / "configs" / "model" / f"{name}.yaml")
    assert config.name == name
    config.deployable()


def test_sizes():
    config = parse_config(GOOD)
    assert config.maps == (24, 12, 6, 3)


def test_digest_ignores_name_only():
    digest = parse_config(GOOD).digest()
    assert parse_config({**GOOD, "name": "y"}).digest() == digest
    assert parse_config({**GOOD, "classes": 11}).digest() != digest
    assert len(digest) == 64


@pytest.mark.parametrize("change, words", [
    ({"image_sise": 4}, ["image_sise", "image_size"]),
    ({"bits": {"residul": 8}}, ["bits.residul", "residual"]),
    ({"bits": {"residual": 40}}, ["bits.residual", "40"]),
    ({"window": 4}, ["window", "divide", "6 x 6"]),
    ({"window": 2, "pool_padding": 1, "image_size": 64}, ["pool_padding", "at most 0"]),
    ({"image_size": 50}, ["image_size", "48", "64"]),
    ({"widths": [16, 32, 64, 97]}, ["widths[3]", "multiple of 4"]),
    ({"widths": [20, 32, 64, 96], "groups": 8}, ["widths[0]", "groups"]),
    ({"heads": [2, 5]}, ["heads[1]", "96"]),
    ({"depths": [1, 1, 0, 1]}, ["depths[2]", "at least one"]),
    ({"mean": [0.1, 0.2]}, ["mean", "1 image channels"]),
    ({"std": [0.0]}, ["std", "positive"]),
    ({"token_norm": "instance"}, ["token_norm", "layer"]),
    
    ({"widths": [16, 32, 64]}, ["widths"]),
])
def test_refused(change, words):
    with pytest.raises(ConfigError) as info:
        parse_config({**GOOD, **change}, "file.yaml")
    for word in ["file.yaml", *words]:
        assert word in str(info.value)


def test_gsb_parses_but_is_not_deployable():
    config = parse_config({**GOOD, "attention": "gsb"})
    with pytest.raises(ConfigError, match="use attention: qd"):
        config.deployable()


def test_missing_file_and_bad_yaml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        load_config(tmp_path / "list.yaml")
