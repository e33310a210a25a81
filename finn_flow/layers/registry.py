"""The registered layers: every module of this package that declares a Layer with a stem."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from .base import Layer


@cache
def layers() -> dict[str, type[Layer]]:
    """Stem -> declaration of every layer, in alphabetical order of the stems."""
    package = importlib.import_module(__package__)
    found: dict[str, type[Layer]] = {}
    for m in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{__package__}.{m.name}")
        for v in vars(module).values():
            if isinstance(v, type) and issubclass(v, Layer) and v.__module__ == module.__name__ and v.stem == m.name:
                found[m.name] = v
    return dict(sorted(found.items()))
