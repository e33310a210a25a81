"""Stages of a long tool chain: each leaves a marker with the digest of what it read, and runs once for the same.

A marker, ``<name>.stage.json``, holds the key, the digest of every result and what the stage took: wall clock, CPU
time, peak memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bhvit.errors import UserError, says_full
from bhvit.progress import duration, quiet_wanted
from bhvit.tools import Tool

from ..build_steps import file_digest

#: seconds between two lines of progress, and between two looks at the process
TICK, LOOK = 30.0, 0.2


def key_of(inputs: Sequence[Path], *words: object) -> str:
    """Digest of the contents of files, by name, and of anything that has a text."""
    h = hashlib.sha256(json.dumps([str(w) for w in words]).encode())
    for f in sorted(inputs):
        h.update(f.name.encode() + b"\0" + file_digest(f).encode())
    return h.hexdigest()


def done(folder: Path, name: str, key: str) -> dict[str, Any] | None:
    """The marker of a stage that was run with this key and whose results are untouched, or None."""
    try:
        found = json.loads((folder / f"{name}.stage.json").read_text())
        same = found["key"] == key and all(file_digest(folder / f) == d for f, d in found["results"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return found if same else None


def once(folder: Path, name: str, key: str, results: Sequence[str],
         work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a stage, unless it is done.

    Args:
        results: files below the folder that `work` writes. work: does it; what it returns is kept in the marker.
    Returns:
        The marker.
    """
    found = done(folder, name, key)
    if found is not None:
        say(f"  {name}: as it was, nothing has changed")
        return found
    (folder / f"{name}.stage.json").unlink(missing_ok=True)
    for f in results:
        (folder / f).unlink(missing_ok=True)
    out = {"key": key, **work(), "results": {f: file_digest(folder / f) for f in results}}
    (folder / f"{name}.stage.json").write_text(json.dumps(out, indent=1) + "\n")
    return out


def run_tool(tool: Tool, command: Sequence[str], folder: Path, results: Sequence[str],
             log: str | None = None) -> dict[str, float]:
    """Run a tool in a folder, with a line of progress now and then.

    Args:
        command: name of the tool and its arguments. results: files that it must write. log: a file in which the tool
            itself keeps its log; otherwise what it prints is kept in <name>.log.
    Returns:
        {"wall_seconds", "cpu_seconds", "peak_mb"}.
    Raises:
        UserError: it failed, or a result is missing; with the end of its log.
    """
    begun = time.monotonic()
    printed = folder / (f"{command[0]}.out" if log else f"{command[0]}.log")
    said = folder / log if log else printed
    with printed.open("w") as out:
        process = subprocess.Popen([str(tool.path), *command[1:]], cwd=folder, env=tool.env, stdout=out,
                                   stderr=subprocess.STDOUT)
        told = begun
        try:
            while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
                time.sleep(LOOK)
                if time.monotonic() - told > TICK:
                    told = time.monotonic()
                    say(f"  {command[0]}: {duration(told - begun)}, {_last_line(said, printed)}")
        except BaseException:  # interrupted: leave no tool behind
            process.kill()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    usage = ended[2]
    missing = [f for f in results if not (folder / f).is_file()]
    if process.returncode or missing:
        text = said.read_text(errors="replace")[-2000:].strip() if said.exists() else ""
        raise UserError("The disk is full, or a size limit was reached." if says_full(text) else
                        f"{command[0]} failed (exit code {process.returncode}).", said, text or f"no {missing[0]}",
                        "if the design does not fit the device: `bhvit build` with a larger target_cycles")
    seconds = time.monotonic() - begun
    say(f"  {command[0]}: done in {duration(seconds)}")
    return {"wall_seconds": round(seconds, 1), "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_mb": round(usage.ru_maxrss / 1024)}


def _last_line(*logs: Path) -> str:
    for f in logs:
        if f.is_file():
            lines = [x for x in f.read_text(errors="replace")[-3000:].splitlines() if x.strip()]
            if lines:
                return lines[-1].strip()[:100]
    return "started"


def say(text: str) -> None:
    """A line of progress."""
    if not quiet_wanted():
        print(text, file=sys.stderr, flush=True)
