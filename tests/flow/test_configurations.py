"""Other networks than the demonstration one, through the whole chain and bit for bit; `-m full` adds random ones.

The networks have the recipe's random weights. Their seeds are chosen so that outputs differ between images and all
attention levels occur, which the tests ask for: a comparison must be able to fail.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

from bhvit.errors import UserError

from . import chain

CASES = {
    # file: weight seed, images, seed of the stalls, attention levels that occur, entries of the build file
    "window1": (1, 20, 1, 4, {"target_cycles": 12000, "rows": "frame"}),
    "window7": (10, 8, 2, 4, {"target_cycles": 28000}),
    "widths": (1, 16, 1, 4, {"target_cycles": 7000}),
}
FULL = {
    "patch4": (8, 20, 1, 4, {"target_cycles": 4096}),
    # rows of five probabilities: none of them is small enough for level 0
    "smallest": (33, 20, 1, 3, {"target_cycles": 4000}),
}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    chain.model_side_here(monkeypatch)


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(n, marks=pytest.mark.full) for n in FULL)])
def test_configuration(name, tmp_path):
    seed, images, stall_seed, levels, entries = (CASES | FULL)[name]
    chain.build(tmp_path / "build", chain.CONFIGS / f"{name}.yaml", seed, **entries)
    chain.prove(tmp_path / "build", images, stall_seed, levels)


FOLDINGS = {
    "slow": ({"target_cycles": 20000}, 1),
    "fast": ({"target_cycles": 2688}, 2),
    "file": ({"folding_file": str(chain.CONFIGS / "window2_folding.json")}, 1),
}


def test_foldings_of_one_network(tmp_path, monkeypatch):
    """Slow, as fast as it gets, and a file written by hand: the same integers, another number of cycles."""
    # also while somebody edits the sources
    monkeypatch.setattr("bhvit.finn_flow.build_key.code_digest", lambda _part: "code")
    model, cycles, outputs = chain.CONFIGS / "window2.yaml", {}, {}
    first = tmp_path / "exported"
    for name, (entries, stall_seed) in FOLDINGS.items():
        folder = tmp_path / name
        if first.exists():
            shutil.copytree(first, folder)  # export and lowering are complete: the build goes on from there
        chain.build(folder, model, 11, **entries)
        if not first.exists():
            shutil.copytree(folder, first, ignore=shutil.ignore_patterns("sim"))
        result = chain.prove(folder, 20, stall_seed)
        cycles[name] = result["interval_cycles"]
        outputs[name] = np.load(next((folder / "report").glob("reference_*.npz")))["logits"]
        log = (folder / "build_dataflow.log").read_text()
        assert log.count("Running step: step_bhvit_export") == 1
    assert cycles["fast"] == 2688 and cycles["slow"] > 3 * cycles["fast"] and cycles["file"] not in (
        cycles["fast"], cycles["slow"])
    assert np.array_equal(outputs["fast"], outputs["slow"]) and np.array_equal(outputs["fast"], outputs["file"])
    written = json.loads((tmp_path / "file/report/final_hw_config.json").read_text())
    for node, folding in json.loads((chain.CONFIGS / "window2_folding.json").read_text()).items():
        if node != "Defaults":
            assert folding.items() <= written[node].items()
    with pytest.raises(UserError, match=r"cannot be met[\s\S]*fastest legal folding takes"):
        chain.build(tmp_path / "fast", model, 11, target_cycles=2000)


@pytest.mark.full
@pytest.mark.parametrize("pixels", [2, 4])
def test_several_pixels_of_the_image_a_beat(tmp_path, pixels):
    model = chain.CONFIGS / "patch4.yaml"
    chain.build(tmp_path / "one", model, 8, target_cycles=4096)
    foldings = json.loads((tmp_path / "one/report/auto_folding_config.json").read_text())
    foldings["stem_patchify"] = {"SIMD": 3, "PIXELS": pixels}
    (tmp_path / "foldings.json").write_text(json.dumps(foldings))
    chain.build(tmp_path / "several", model, 8, folding_file=str(tmp_path / "foldings.json"))
    chain.prove(tmp_path / "several", 20, 1, levels=3)
    written = json.loads((tmp_path / "several/report/final_hw_config.json").read_text())
    assert written["stem_patchify"]["PIXELS"] == pixels


# ---- random networks -------------------------------------------------------------------------------------------------
def random_config(rng: np.random.Generator, name: str) -> dict:
    """A legal model file of small maps; what depends on one another is drawn in order."""
    window = int(rng.choice([1, 2, 3, 4]))
    last = window if window > 2 else int(rng.choice([1, 2])) * window
    patch = int(rng.choice([1, 2, 4]))
    heads = [int(h) for h in rng.choice([1, 2, 3], 2)]
    groups = int(rng.choice([1, 2, 4]))
    widths = [*(4 * groups * int(rng.integers(1, 4)) // (1 if groups < 4 else 4) for _ in range(2)),
              *(4 * h * int(rng.integers(1, 5)) for h in heads)]
    channels = int(rng.choice([1, 3]))
    return {
        "name": name, "image_size": 8 * last * patch, "image_channels": channels, "classes": int(rng.integers(2, 13)),
        "stem_patch": patch, "widths": widths, "depths": [int(d) for d in rng.choice([1, 1, 2], 4)], "heads": heads,
        "mlp_ratios": [int(r) for r in rng.integers(1, 5, 4)], "window": window,
        "pool_padding": int(rng.integers(0, (window + 1) // 2)), "groups": groups,
        "dilations": [int(d) for d in rng.choice([1, 2, 3, 4, 5], 3, replace=False)],
        "token_norm": str(rng.choice(["layer", "batch"])), "downsample": str(rng.choice(["binary", "fp"])),
        "bits": {"residual": int(rng.integers(7, 11)), "activation": int(rng.integers(6, 9)),
                 "z": int(rng.integers(8, 12)), "exp_table": int(rng.integers(8, 11)), "gelu": int(rng.integers(8, 11)),
                 "weight": int(rng.integers(6, 9)), "stencil": int(rng.integers(8, 11))},
    }


def diverse_seed(file, images: int) -> int | None:
    """A weight seed with which outputs differ and all attention levels occur; None when the first ones do not."""
    from bhvit.model.config import load_config
    from bhvit.model.data import load
    from bhvit.model.random_weights import random_network
    from bhvit.model.trace import counting_levels, run_integers

    cfg = load_config(file)
    x = np.stack([np.asarray(i) for i in load("random:1", cfg.image_size, cfg.image_channels, images).images])
    for seed in range(1, 25):
        net = random_network(cfg, seed)
        with counting_levels(net) as levels:
            logits, _ = run_integers(net, x)
        if levels.all() and len(np.unique(logits, axis=0)) >= 0.9 * images:
            return seed
    return None


@pytest.mark.full
@pytest.mark.parametrize("draw", range(8))
def test_random_configuration(draw, tmp_path):
    rng = np.random.default_rng(1000 + draw)
    for k in range(20):
        file = tmp_path / f"random{draw}_{k}.yaml"
        file.write_text(yaml.safe_dump(random_config(rng, file.stem)))
        seed = diverse_seed(file, 12)
        if seed is not None:
            break
    entries = {"target_cycles": 40000, "rows": ["rotate", "frame"][draw % 2]}
    chain.build(tmp_path / "build", file, seed, **entries)
    chain.prove(tmp_path / "build", 12, 1 + draw % 2)
