"""Kernels of deployed networks in evaluation: the same values, used for many images, left out where they cannot be."""

import numpy as np
import pytest
import torch

from bhvit.model import evaluate
from bhvit.model.layers import fused
from bhvit.tools import ToolMissing


@pytest.fixture
def watched(frozen, monkeypatch):
    """(deployed network, images, the kernels' state at each call of the network)."""
    _, net, images = frozen
    forward, seen = type(net).forward, []
    monkeypatch.setattr(type(net), "forward",
                        lambda self, x: (seen.append(fused.is_active(torch.float32)), forward(self, x))[1])
    return net, images.numpy().astype(np.uint8), seen


def test_many_images_go_through_kernels(watched, monkeypatch):
    net, images, seen = watched
    plain = evaluate.predict(net, images, batch_size=7, quiet=True)
    assert not any(seen) and len(np.unique(plain, axis=0)) > 1
    seen.clear()
    monkeypatch.setattr(evaluate, "MANY", len(images))
    assert np.array_equal(evaluate.predict(net, images, batch_size=7, quiet=True), plain)
    assert all(seen) and len(seen) == -(-len(images) // 7) and not fused.is_active()


def test_without_a_compiler_it_takes_longer(watched, monkeypatch):
    net, images, seen = watched
    monkeypatch.setattr(evaluate, "MANY", 1)

    def missing(_):
        raise ToolMissing("C++ compiler `g++` not found.")

    monkeypatch.setattr(fused, "library", missing)
    evaluate.predict(net, images[:2], quiet=True)
    assert seen == [False]


def test_float_networks_stay_as_they_are(frozen, monkeypatch):
    monkeypatch.setattr(evaluate, "MANY", 1)
    monkeypatch.setattr(fused, "library", lambda _: pytest.fail("compiled for a float network"))
    twin, _, images = frozen
    evaluate.predict(twin, images[:2].numpy().astype(np.uint8), quiet=True)
