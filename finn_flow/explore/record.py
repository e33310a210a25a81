"""What a result of exploring rests on, and its files: JSON, table, plot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..build_folder import write
from ..build_key import PACKAGE, provenance
from ..config import BuildConfig


def commit() -> str | None:
    """Commit of the sources, "-dirty" behind it where they were changed since; None outside a git checkout."""
    try:
        r = subprocess.run(["git", "describe", "--always", "--dirty", "--match", "-"], cwd=PACKAGE, capture_output=True,
                           text=True)
    except OSError:
        return None
    return r.stdout.strip() or None


def record(config: BuildConfig, command: str) -> dict[str, Any]:
    """Date, commit, command and versions."""
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "command": command,
            "provenance": provenance(config)}


def write_files(out: Path, data: dict[str, Any], table: str, plot: Callable[[Any], None] | None = None) -> list[Path]:
    """Write ``out`` (JSON), the table beside it (.md) and, where ``plot`` draws on a figure, a picture (.png)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files = [out, out.with_suffix(".md")]
    write(out, json.dumps(data, indent=1) + "\n")
    write(files[1], table + "\n")
    if plot is not None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 7), layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure)
        files.append(out.with_suffix(".png"))
        figure.savefig(files[-1], dpi=120)
    return files
