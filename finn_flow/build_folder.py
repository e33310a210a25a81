"""A build folder: whose it is, who works in it, what its steps have written, and whether it is still that."""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bhvit.errors import UserError
from bhvit.files import write

from .build_steps import STEPS, file_digest

__all__ = ["changed_files", "claim", "complete", "digests", "is_ours", "load_build", "lock", "saved_config", "write"]

#: what a build writes before its configuration marks the folder: a folder that holds only these is ours
FIRST = {".lock", "build_dataflow.log", "build_config.json.partial"}
CONFIG_KEYS = {"model", "weights", "backend"}


def claim(folder: Path) -> None:
    """Create the folder, or accept an earlier build; refuse anything else."""
    if folder.exists() and not folder.is_dir():
        raise UserError("The output is not a folder.", folder, do="name a folder that does not exist yet")
    if folder.exists() and {f.name for f in folder.iterdir()} - FIRST and not is_ours(folder):
        raise UserError("The output folder holds something else.", folder,
                        "it is not empty and was not made by `bhvit build`", "name a new folder, or empty this one")
    folder.mkdir(parents=True, exist_ok=True)


def is_ours(folder: Path) -> bool:
    """By the configuration file; by the markers of the steps where that file was damaged."""
    return bool(saved_config(folder)) or any((folder / "steps").glob("*_step_*.json"))


def saved_config(folder: Path) -> dict[str, Any]:
    """The configuration in a build folder, empty when there is none or it cannot be read."""
    try:
        data = json.loads((folder / "build_config.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and set(data) >= CONFIG_KEYS else {}


@contextmanager
def lock(folder: Path, shared: bool = False):
    """One build in a folder at a time; commands that only read a build may share it."""
    try:
        f = (folder / ".lock").open("a")
    except PermissionError:
        if not shared:
            raise
        yield  # a build that somebody else made, read-only: nobody writes there
        return
    with f:
        try:
            fcntl.flock(f, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise UserError("Another command is at work in this folder.", folder,
                            "`bhvit build` needs the folder for itself", "wait for it, or use another folder") from None
        yield


def digests(folder: Path, outputs: list[str]) -> dict[str, str]:
    found = {}
    for o in outputs:
        p = folder / o
        for f in sorted(x for x in p.rglob("*") if x.is_file()) if p.is_dir() else [p]:
            found[str(f.relative_to(folder))] = hashlib.sha256(f.read_bytes()).hexdigest()
    return found


def complete(folder: Path, marker: Path, key: str) -> dict[str, Any] | None:
    try:
        done = json.loads(marker.read_text())
        if done["key"] == key and all(
                hashlib.sha256((folder / f).read_bytes()).hexdigest() == d for f, d in done["files"].items()):
            return done
    except (OSError, ValueError, KeyError):
        pass
    return None


def load_build(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and configuration of a finished build. Raises UserError when it is none, not finished or incomplete."""
    folder = Path(folder)
    again = "run `bhvit build` again; it continues where it stopped"
    if not folder.is_dir():
        raise UserError("The build folder does not exist.", folder, do="run `bhvit build BUILD.yaml -o FOLDER` first")
    if not is_ours(folder):
        raise UserError("This is no build folder.", folder, "build_config.json is missing",
                        "run `bhvit build BUILD.yaml -o FOLDER` first")
    config = saved_config(folder)
    last = folder / "steps" / f"{len(STEPS):02d}_{STEPS[-1].name}.json"
    if not last.is_file() or not (folder / "stitched_ip" / "design.json").is_file():
        raise UserError("The build is not finished.", folder, "it was interrupted, or a step failed", again)
    missing = [f for f in recorded(folder) if not (folder / f).is_file()]
    if missing or not config:
        raise UserError("Files of the build are missing.", folder, ", ".join(missing[:3]) or "build_config.json", again)
    return folder, config


def recorded(folder: Path) -> dict[str, str]:
    """Digest by name of every file that the steps have written."""
    found: dict[str, str] = {}
    for marker in sorted((folder / "steps").glob("*.json")):
        with suppress(ValueError, KeyError, TypeError):
            found.update(json.loads(marker.read_text())["files"])
    return found


def changed_files(folder: Path, part: str) -> list[str]:
    """Files below `part` of a finished build whose content is no longer what the build wrote."""
    return [f for f, d in recorded(folder).items() if f.startswith(part + "/") and file_digest(folder / f) != d]
