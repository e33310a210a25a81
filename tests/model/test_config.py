"""Model files: everything that cannot work is refused with a reason and a remedy."""

import hashlib
import json
from pathlib import Path

import pytest

from bhvit.model.config import LATER, ConfigError, load_config, parse_config
from bhvit.model.weights import info

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
    ({"heads": [2, 3, 4]}, ["heads", "3 values"]),
    ({"heads": [0, 3]}, ["heads[0]", "at least one"]),
    ({"heads": [3, 2, 2, 3], "mixer": "attention"}, ["heads[0]", "widths[0] = 16"]),
    ({"dilations": []}, ["dilations", "one to four"]),
    ({"mixer": "convolution", "widths": [16, 32, 64, 100], "groups": 8}, ["widths[3]: 100", "groups"]),
    ({"merge_tokens": "average"}, ["pool_padding: 1", "merge_tokens: average", "use 0"]),
    ({"shift": "circular"}, ["shift", "'box', 'pure' or 'off'"]),
])
def test_refused(change, words):
    with pytest.raises(ConfigError) as info:
        parse_config({**GOOD, **change}, "file.yaml")
    for word in ["file.yaml", *words]:
        assert word in str(info.value)


@pytest.mark.parametrize("change, words", [
    ({"attention": "gsb"}, "use attention: qd"), ({"msgdc_residual": True}, "no input for a residual"),
    ({"merge_tokens": "off"}, "always appends merge tokens"), ({"dilations": [1, 1, 1]}, "use different dilations")])
def test_variants_that_are_not_deployable(change, words):
    config = parse_config({**GOOD, **change})
    with pytest.raises(ConfigError, match=words):
        config.deployable()


def test_digest_of_files_that_know_nothing_of_variants():
    """The digest in shipped weights was made before there were variants; a variant has another one."""
    config = load_config(ROOT / "configs" / "model" / "bhvit_micro.yaml")
    old = {k: v for k, v in config.model_dump(mode="json").items() if k not in ("name", *LATER)}
    text = json.dumps(old, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == config.digest()
    assert info(ROOT / "model" / "weights" / "bhvit_micro.safetensors")["config_hash"] == config.digest()[:16]
    spelled_out = parse_config({**config.model_dump(mode="json"), "mixer": "hybrid", "shift": "box"})
    assert spelled_out.digest() == config.digest()
    changes = ({"mixer": "convolution"}, {"merge_tokens": "off"}, {"shift": "pure"}, {"weight_sign": "plain"},
               {"attention": "binary"}, {"dilations": [1]}, {"msgdc_residual": True})
    digests = {parse_config({**config.model_dump(mode="json"), **c}).digest() for c in changes}
    assert len(digests) == len(changes) and config.digest() not in digests


def test_off_in_yaml(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text((ROOT / "configs" / "model" / "bhvit_micro.yaml").read_text() + "shift: off\nmerge_tokens: off\n")
    config = load_config(file)
    assert config.shift == config.merge_tokens == "off"


def test_mixers_and_heads():
    config = parse_config(GOOD)
    assert config.mixers == ("convolution",) * 2 + ("attention",) * 2
    assert [parse_config({**GOOD, "mixer": "attention"}).stage_heads(s) for s in range(4)] == [1, 1, 2, 3]
    given = parse_config({**GOOD, "mixer": "attention", "heads": [4, 2, 1, 3]})
    assert [given.stage_heads(s) for s in range(4)] == [4, 2, 1, 3]


def test_missing_file_and_bad_yaml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        load_config(tmp_path / "list.yaml")
