"""The whole chain in the process of the test: the commands of the model side are called instead of started."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bhvit import model_process
from bhvit.finn_flow import build as flow
from bhvit.finn_flow.config import load_config

CONFIGS = Path(__file__).parent / "configs"
#: compile time before run time: these simulations are short
OPTIMIZE = "-O0"


def model_side_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing PyTorch takes longer than what it is asked for here. Everything else of the commands runs as it is."""
    answers: list[dict] = []

    def ask(args: list[str]) -> dict[str, Any]:
        model_process.cli(args, standalone_mode=False)
        return answers.pop()

    monkeypatch.setattr(model_process, "_answer", answers.append)
    monkeypatch.setattr(model_process, "ask", ask)


def build(folder: Path, model: Path, seed: int, **entries: Any) -> dict[str, Any]:
    """Build a network with recipe weights into ``folder``. entries: of the build file, such as ``target_cycles``."""
    file = folder.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"model": str(model), "weights": {"random": seed}, "board": "ZCU104",
                                    "clock_mhz": 200, "jobs": 1, **{k: v for k, v in entries.items()}}))
    return flow.build(load_config(file), folder, echo=io.StringIO())


def prove(folder: Path, images: int, stall_seed: int, levels: int = 4, data: str = "random:1") -> dict[str, Any]:
    """Rung 6 of a build without and with stalls, with everything that makes the comparison one that could fail.

    Args:
        levels: how many of the attention levels must occur. Returns: the result without stalls.
    """
    free = flow.cosim(folder, data=data, images=images, quiet=True, optimize=OPTIMIZE)
    check(free, images, levels)
    assert free["stalls"] is None
    sizing = json.loads((folder / "report/fifo_sizing.json").read_text())["bhvit"]
    limit = free["estimated_interval_cycles"] * 1.02
    assert free["interval_cycles"] <= limit, "the design is as fast as its layers"
    assert free["interval_cycles"] <= sizing["interval_cycles"] * 1.01 + 2, "what sizing confirmed holds for images"
    (reference,) = (folder / "report").glob("reference_*.npz")
    stalled = flow.cosim(folder, reference=reference, stalls=stall_seed, quiet=True, optimize=OPTIMIZE)
    check(stalled, images, levels)
    assert stalled["stalls"]["seed"] == stall_seed and stalled["sim_cycles"] > free["sim_cycles"]
    return free


def check(result: dict[str, Any], images: int, levels: int) -> None:
    """Every integer equal, and inputs that tell networks apart."""
    assert result["ok"] and result["bit_exact_images"] == result["images"] == images, result.get("message")
    assert result["distinct_outputs"] >= 0.9 * images
    assert sum(v > 0 for v in result["qd_levels"]) >= levels, result["qd_levels"]


def edited(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Change a text file of a folder."""
    file = folder / name
    text = file.read_text()
    new = change(text)
    assert new != text, f"{name}: nothing was changed"
    file.write_text(new)
