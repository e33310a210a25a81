"""Frozen networks shared by the model tests."""

from __future__ import annotations

import pytest
from model_nets import CONFIGS, random_float

from bhvit.model.config import load_config
from bhvit.model.network import BHViT
from bhvit.model.train import records


@pytest.fixture(scope="session", params=["nano", "variant"])
def frozen(request):
    """(float twin, frozen network, images) of every test configuration."""
    config = load_config(CONFIGS / f"{request.param}.yaml")
    twin, images = random_float(config)
    net = BHViT(config)
    net.load_state_dict(twin.state_dict())
    return twin, net.freeze(images), images


@pytest.fixture
def no_pictures(monkeypatch):
    """Training draws nothing: a second of a run of a few seconds. For tests that are about other things."""
    monkeypatch.setattr(records, "_picture", lambda *_: None)
