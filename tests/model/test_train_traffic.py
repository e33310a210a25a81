"""Operations and bytes of a training step are those that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bhvit.model.config import load_config
from bhvit.model.train.traffic import Traffic, step_traffic

NANO = Path(__file__).parent / "configs" / "nano.yaml"


def counted(work, *tensors: torch.Tensor) -> tuple[int, int]:
    with Traffic() as traffic:
        work(*tensors)
    return traffic.operations, traffic.bytes


def test_views_are_free_and_broadcasts_count_once():
    x, row = torch.ones(6, 4), torch.ones(4)
    assert counted(lambda a: a.t().reshape(2, 12).detach(), x) == (1, 2 * 96), "the transposed rows are copied, once"
    assert counted(lambda a, b: a + b, x, row) == (1, 96 + 16 + 96)
    assert counted(lambda a, b: a + b.expand(6, 4), x, row) == (1, 96 + 16 + 96)
    assert counted(lambda a: a.add_(1), x) == (1, 2 * 96)


def test_a_linear_network_forward_and_backward():
    """x (B, 3), W (2, 3): y = W x and, backward, dW = dy x; dx is not asked for."""
    layer, x = nn.Linear(3, 2, bias=False), torch.ones(5, 3)
    forward = counted(layer, x)
    assert forward == (1, 4 * (6 + 15 + 10))
    assert counted(lambda a: layer(a).backward(torch.ones(5, 2)), x)[1] >= forward[1] + 4 * (10 + 15 + 6)


def test_a_step_of_a_network():
    small, large = (step_traffic(load_config(NANO), batch) for batch in (2, 8))
    assert small["operations"] == large["operations"] > 100
    assert small["megabytes_per_image"] > large["megabytes_per_image"] > 0
