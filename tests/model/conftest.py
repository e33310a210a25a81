"""Frozen networks shared by the model tests."""

from __future__ import annotations

import pytest
from model_nets import CONFIGS, random_float

from bhvit.model.config import load_config
from bhvit.model.network import BHViT


@pytest.fixture(scope="session", params=["nano", "variant"])
def frozen(request):
    """(float twin, frozen network, images) of every test configuration."""
    config = load_config(CONFIGS / f"{request.param}.yaml")
    twin, images = random_float(config)
    net = BHViT(config)
    net.load_state_dict(twin.state_dict())
    return twin, net.freeze(images), images
