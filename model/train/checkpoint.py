"""Checkpoints of a run: written atomically, refused for other settings, extended where the schedule allows it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.data import Spec
from bhvit.model.train.options import FREE, TrainConfig

# with schedule wsd these say nothing about the stable part of phase one
LATER = {"epochs", "decay", "finetune_epochs", "finetune_learning_rate", "deploy", "calibration_images",
         "mix_off_epochs", "regularization", "regularization_from"}
# what counts from the freeze on
FREEZE = {"calibration_images", "finetune_epochs", "finetune_learning_rate", "deploy"}


def identity(spec: Spec, options: TrainConfig, start: dict | None = None) -> dict:
    """What a run must have in common with the checkpoint that it continues: also the contents of what it begins with (a
    state dict) and of its teacher's files, which may have changed under the same name."""
    contents = {}
    if start is not None:
        contents["start"] = _checksum(value for _, value in sorted(start.items()))
    if options.teacher:
        paths = [path for path in map(Path, options.teacher.split(":")) if path.is_file()]
        contents["teacher"] = _checksum(np.fromfile(path, np.uint8) for path in paths)
    return {"data": str(spec), "options": options.model_dump(exclude=FREE), "contents": contents}


def _checksum(values: Iterable) -> str:
    crc = 0
    for value in values:
        crc = zlib.crc32(np.ascontiguousarray(value), crc)
    return f"{crc:08x}"


def save(folder: Path, content: dict, cfg, options: TrainConfig) -> None:
    """Write checkpoint.pt, and stable.pt when the stable part of schedule wsd has just ended."""
    weights.save_checkpoint(folder / "checkpoint.pt", content, cfg)
    _keep_stable(folder, content, cfg, options)


def _keep_stable(folder: Path, content: dict, cfg, options: TrainConfig) -> None:
    main = content["phases"].get("full" if "full" in options.phases() else "float")
    if (options.schedule == "wsd" and main is not None and main["step"] == 0 and main["model"] is not None
            and main["epoch"] == options.stable_epochs(options.epochs) and _unfinished(content)):
        weights.save_checkpoint(folder / "stable.pt", content, cfg)


def find(folder: Path, cfg, own: dict, options: TrainConfig) -> dict | None:
    """The checkpoint to continue from, None without one. own: `identity` of the run.

    With schedule wsd a run may be given other values of `LATER`, above all more epochs: it then goes on from the stable
    part, from stable.pt if the decay has begun. Raises UserError for a checkpoint of other settings.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    saved = weights.load_checkpoint(path, cfg)
    ours = _flat(own)
    other = _differing(saved, ours)
    if not other:
        return saved
    if other.keys() <= {f"options.{name}" for name in FREEZE} and _unfinished(saved):
        return saved
    where = "use the same settings, another folder, or start again without resuming"
    if options.schedule == "wsd" and options.loss == "paper" and {k.rpartition(".")[2] for k in other} <= LATER:
        for name in ("checkpoint.pt", "stable.pt"):
            if (folder / name).exists():
                saved = weights.load_checkpoint(folder / name, cfg)
                if _differing(saved, ours).keys() <= other.keys() and _stable(saved, options):
                    _keep_stable(folder, saved, cfg, options)
                    return saved
        where = ("the stable part of schedule wsd can be made longer, not shorter than it was trained already; "
                 f"otherwise {where}")
    raise UserError("The checkpoint was made with other settings.", path,
                    "; ".join(f"{key}: {theirs} there, {ours[key]} here" for key, theirs in other.items()), where)


def _stable(saved: dict, options: TrainConfig) -> bool:
    """Whether a checkpoint lies in the stable part of both its own and the new plan."""
    own = TrainConfig(**saved["identity"]["options"])
    main = saved["phases"].get("full" if "full" in options.phases() else "float")
    if main is None:
        return True
    reached = main["epoch"] + (main["step"] > 0)
    return (main["model"] is not None and _unfinished(saved) and reached <= own.stable_epochs(own.epochs)
            and reached <= options.stable_epochs(options.epochs))


def _unfinished(saved: dict) -> bool:
    return saved["phases"].get("fixed") is None


def _differing(saved: dict, ours: dict) -> dict:
    theirs = {f"options.{name}": field.default for name, field in TrainConfig.model_fields.items()}
    theirs |= {key: value for key, value in ours.items() if key.startswith("contents.")}
    theirs |= _flat(saved["identity"])  # options that came after the checkpoint had their defaults
    return {key: theirs.get(key) for key in ours if theirs.get(key) != ours[key]}


def _flat(entries: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in entries.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
