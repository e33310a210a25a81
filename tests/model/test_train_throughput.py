"""The training benchmark reads what the training itself has recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bhvit.model.config import load_config
from bhvit.model.train import run
from bhvit.model.train.throughput import throughput

NANO = Path(__file__).parent / "configs" / "nano.yaml"


def test_figures_are_those_of_a_run(monkeypatch):
    logged = []
    original = run.Run.log
    monkeypatch.setattr(run.Run, "log", lambda self, *row: (logged.append(row), original(self, *row)))
    found = throughput(load_config(NANO), images=32, batch_size=8, threads=1)
    assert found["images"] == 32 and found["batch_size"] == 8 and found["threads"] == 1
    speed, share = logged[-1][-2:]
    assert found["images_per_second"] == pytest.approx(speed, rel=1e-3) and speed > 0
    assert found["data_share"] == pytest.approx(share, rel=1e-3) and 0 < share < 1
