"""Graphs to explore: what a build has left, or its first steps run now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import build_steps
from ..build import build
from ..build_finished import graph_after
from ..build_folder import saved_config
from ..build_steps import Context, Step
from ..config import BuildConfig

#: settings that the graph of the step before folding depends on; the board is none: layers are the same on all
GRAPH = ("model", "weights", "rows", "output", "implementation")
LAST = "step_specialize_layers"
FIRST_STEPS = tuple(build_steps.STEPS[: 1 + [s.name for s in build_steps.STEPS].index(LAST)])


def specialized(config: BuildConfig, folder: Path, steps: tuple[Step, ...] = FIRST_STEPS) -> ModelWrapper:
    """The graph before folding, from a build folder; where it has none, the build is run up to there.

    A build that failed before that graph has none, even if a graph of an earlier build is still there.

    A finished build is only read.
    Raises:
        UserError: the folder is a build of another network.
    """
    marks = list((folder / "steps").glob(f"*_{LAST}.json"))  # a build that failed on the way there has taken it away
    if not (marks and (folder / "intermediate_models" / f"{LAST}.onnx").is_file()):
        build(config, folder, steps=steps)
    have, want = saved_config(folder), config.model_dump(mode="json")
    other = [k for k in GRAPH if k in have and have[k] != want[k]]
    if other:
        raise UserError("The build folder holds another network than the build file.", folder,
                        f"`{other[0]}` is {have[other[0]]} there and {want[other[0]]} here",
                        "name the folder of this build, or a new one, with `--build FOLDER`")
    changed = _changed(config, folder)
    if changed is not None:
        raise UserError("The build folder holds an earlier version of the network.", folder,
                        f"{changed} has changed since", "run `bhvit build` into this folder again")
    return graph_after(folder, LAST)


def _changed(config: BuildConfig, folder: Path) -> Path | None:
    """The model or weight file that is not the one that a build folder was made of."""
    used = {"model.yaml": config.model, "weights.safetensors": config.weights.file}
    for name, own in used.items():
        kept = folder / "model" / name
        if own is not None and kept.is_file() and kept.read_bytes() != own.read_bytes():
            return own
    return None


def lowered_again(config: BuildConfig, folder: Path, say: Callable[[str], None]) -> ModelWrapper:
    """The graph before folding for other settings of lowering (``rows``), from the export in a build folder."""
    ctx = Context(folder, config, say)
    if not ctx.onnx.with_suffix(".golden.npz").is_file():
        raise UserError("The build folder has no golden tensors.", ctx.onnx.parent, "lowering checks itself with them",
                        "run `bhvit build` into this folder first")
    model = build_steps.step_lower(ctx, graph_after(folder, "step_bhvit_export"))
    return build_steps.step_specialize(ctx, model)
