"""The notebooks of the repository, run without a browser: 0 to 4 in this environment, 5 in the host environment.

They share one build of bhvit_micro, below build/notebooks, which the first of them makes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deployment import ROOT, build_hash_of, deploy
from .errors import CheckFailed, UserError
from .progress import Progress
from .tools import ToolMissing

FOLDER = ROOT / "notebooks"
#: the build that they share
BUILD = ROOT / "build" / "notebooks" / "bhvit_micro"
#: the notebook of the board
HOST = 5
HOST_PYTHON = ROOT / ".venv-host" / "bin" / "python"
#: seconds that a cell may take
TIMEOUT = 1200
#: seconds until a kernel answers, on a busy machine
STARTUP = 120


@dataclass(frozen=True)
class Run:
    """What became of a notebook. seconds: wall time, cpu_seconds: of all processes; its preparation (a deployment
    package for notebook 5) is included in both."""

    file: Path
    cells: int
    seconds: float
    cpu_seconds: float
    notebook: Any


def files() -> dict[int, Path]:
    """Notebooks by number."""
    return {int(f.name.split("_")[0]): f for f in sorted(FOLDER.glob("[0-9]_*.ipynb"))}


def run(number: int, *, save: bool = False, host_python: Path | None = None, quiet: bool | None = None) -> Run:
    """Run a notebook from its first cell to its last.

    Args:
        save: write it back with its new outputs. host_python: interpreter of the host environment.
    Raises:
        CheckFailed: a cell failed. UserError: there is no such notebook. ToolMissing: no host environment.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    known = files()
    if number not in known:
        raise UserError(f"There is no notebook {number}.", FOLDER, do=f"choose from {', '.join(map(str, known))}")
    begun, used = time.monotonic(), _cpu()
    python, env = Path(sys.executable), {"OMP_NUM_THREADS": "1"}
    if number == HOST:
        python = Path(host_python or HOST_PYTHON)
        if not python.exists():
            raise ToolMissing("The host environment is missing.", python, "pynq needs numpy 1",
                              "run `make host-setup`")
        env |= {"BHVIT_PACKAGE": str(package()), "BHVIT_PYTHON": sys.executable}
    notebook = nbformat.read(known[number], 4)
    code = [i for i, c in enumerate(notebook.cells) if c.cell_type == "code"]
    with tempfile.TemporaryDirectory(prefix="bhvit-kernel-") as tmp, \
            Progress(f"notebook {number}", len(code), "cells", quiet=quiet) as bar:
        entered: list[int] = []
        spec = Path(tmp) / "bhvit" / "kernel.json"
        spec.parent.mkdir()
        spec.write_text(_kernel(python, env))
        manager = AsyncKernelManager(kernel_name="bhvit", transport="ipc", ip=str(Path(tmp) / "socket"),
                                     kernel_spec_manager=KernelSpecManager(kernel_dirs=[tmp]))
        client = NotebookClient(notebook, km=manager, timeout=TIMEOUT, startup_timeout=STARTUP, record_timing=False,
                                resources={"metadata": {"path": str(FOLDER)}},
                                on_cell_execute=lambda cell, cell_index: entered.append(cell_index),
                                on_cell_executed=lambda cell, cell_index, **_: bar.advance(int(cell_index in code)))
        try:
            client.execute(cleanup_kc=True)  # a manager that is given would leave its kernel running
        except (CellExecutionError, DeadKernelError) as e:
            at = len(set(entered) & set(code))
            raise CheckFailed(f"Notebook {number} failed in its {at}. code cell.", known[number], _last_line(str(e)),
                              "open the notebook and run it up to there") from e
    for c in notebook.cells:
        if c.cell_type == "code":
            c.outputs = _readable(c.outputs)
    if save:
        notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                             "language_info": {"name": "python"}}
        nbformat.write(notebook, known[number])
    return Run(known[number], len(code), time.monotonic() - begun, _cpu() - used, notebook)


def package() -> Path:
    """The deployment package of the shared build; both are made unless they are there and complete."""
    from bhvit.finn_flow.build import build
    from bhvit.finn_flow.config import load_config

    build(load_config(ROOT / "configs" / "build" / "bhvit_micro.yaml"), BUILD)
    for settings in sorted((BUILD / "deploy").glob("*/overlay/settings.json")):
        if json.loads(settings.read_text())["build_hash"] == build_hash_of(BUILD):
            return settings.parents[1]
    return Path(deploy(BUILD, BUILD / "deploy", data="digits")["package"])


def _cpu() -> float:
    """CPU seconds of this process and of its ended children."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def _readable(outputs: list[Any]) -> list[Any]:
    """Outputs with consecutive pieces of a stream in one, and without scripts for the page (pynq has some)."""
    found: list[Any] = []
    for o in outputs:
        if "application/javascript" in o.get("data", {}):
            continue
        if found and o.output_type == found[-1].output_type == "stream" and o.name == found[-1].name:
            found[-1].text += o.text
        else:
            found.append(o)
    return found


def _kernel(python: Path, env: dict[str, str]) -> str:
    return json.dumps({"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "env": env,
                       "display_name": "bhvit", "language": "python"})


def _last_line(text: str) -> str:
    """The exception of a traceback, without colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    return next((x for x in reversed(lines) if x.strip()), "no message")
