"""Fixtures of the flow's tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def work(request):
    """A folder in the checkout: Yosys does not see the temporary directory."""
    folder = Path(tempfile.mkdtemp(prefix="test-synth-", dir=_build(request.config.rootpath)))
    yield folder
    shutil.rmtree(folder)


def _build(root: Path) -> Path:
    (root / "build").mkdir(exist_ok=True)
    return root / "build"
