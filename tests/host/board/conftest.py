"""These run in .venv-host, on the package named by BHVIT_PACKAGE; tests/host/test_board.py starts them."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest

warnings.simplefilter("ignore")

from bhvit_host import Accelerator  # noqa: E402
from bhvit_host import package as packages  # noqa: E402
from bhvit_host.data import test_vectors as vectors_of  # noqa: E402


@pytest.fixture(scope="session")
def folder() -> Path:
    """settings.json and what belongs to it."""
    return packages.find()


@pytest.fixture(scope="session")
def vectors(folder):
    """images, expected outputs, labels."""
    return vectors_of(folder)


@pytest.fixture(scope="module")
def accelerator(folder):
    with Accelerator(folder, device="sim", batch_size=5, timeout=0.5) as a:
        yield a


@pytest.fixture
def changed(folder, tmp_path):
    """changed(edit) -> a copy of the package whose settings were edited in place; hwh=True writes the hwh anew."""
    def make(edit=None, hwh=False) -> Path:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        data = json.loads((copy / "settings.json").read_text())
        if edit:
            edit(data)
            (copy / "settings.json").write_text(json.dumps(data))
        if hwh:
            from bhvit_host.sim import hwh as handoff

            (copy / "simulation" / "simulated.hwh").write_text(handoff.hwh(data))
        return copy

    return make
