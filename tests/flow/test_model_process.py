"""PyTorch's answer from a process of its own, as the cosimulation asks for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow.cosim import run_reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    shutil.copyfile(ROOT / "configs/model/bhvit_micro.yaml", out / "model.yaml")
    shutil.copyfile(ROOT / "model/weights/bhvit_micro.safetensors", out / "weights.safetensors")
    return out


def test_reference(folder, tmp_path):
    ref = run_reference(folder, "digits", 12, tmp_path / "ref.npz")
    assert ref.images.dtype == np.uint8 and ref.images.shape == (12, 48, 48, 1)
    assert ref.logits.shape == (12, 10) and np.issubdtype(ref.logits.dtype, np.integer)
    assert (ref.logits.argmax(axis=1) == ref.labels).mean() > 0.8
    assert len(np.unique(ref.logits, axis=0)) == 12


def test_errors_come_through(folder, tmp_path):
    with pytest.raises(UserError, match="digitz"):
        run_reference(folder, "digitz", 2, tmp_path / "ref.npz")
