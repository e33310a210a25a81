"""Whole networks: exported, lowered, row order planned; the integers stay those of PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.finn_flow import ops
from bhvit.finn_flow.passes.lower import lower
from bhvit.finn_flow.passes.plan_rows import plan_rows

CONFIGS = Path(__file__).parents[1] / "model" / "configs"


@pytest.fixture(scope="module", params=["nano", pytest.param("variant", marks=pytest.mark.full)])
def exported(request, tmp_path_factory):
    """(graph, pixels, logits): `nano` has padding, layer norm, binary down-sampling; `variant` the other choices."""
    pytest.importorskip("torch")
    from bhvit.model.config import load_config
    from bhvit.model.export import export
    from bhvit.model.random_weights import random_network

    path = tmp_path_factory.mktemp(request.param) / "net.onnx"
    net = random_network(load_config(CONFIGS / f"{request.param}.yaml"), 1)
    export(net, path, check_images=4, golden_images=4)
    with np.load(path.with_suffix("").with_suffix(".golden.npz")) as z:
        return ops.load(path), z["pixels"], z["logits"]


@pytest.fixture(scope="module")
def hardware(exported):
    model, pixels, _ = exported
    return lower(model, pixels)


def run(model: ModelWrapper, pixels: np.ndarray) -> np.ndarray:
    (y,) = ops.execute(model, {model.graph.input[0].name: pixels}).values()
    return y.reshape(len(pixels), -1)


def test_logits_equal_pytorch(exported, hardware):
    model, pixels, logits = exported
    assert all(ops.is_layer(n) for n in hardware.graph.node)
    assert np.array_equal(run(hardware, pixels), logits.reshape(len(pixels), -1))
    assert hardware.get_metadata_prop("logit_exponent") == model.get_metadata_prop("bhvit.logit_exponent")
    assert len(np.unique(logits.reshape(len(pixels), -1), axis=0)) > 1


@pytest.mark.parametrize("rows", ["rotate", "frame"])
def test_row_order(exported, hardware, rows):
    _, pixels, logits = exported
    planned = plan_rows(hardware, pixels, rows)
    assert np.array_equal(run(planned, pixels), logits.reshape(len(pixels), -1))
    kinds = {}
    for n in planned.graph.node:
        layer = ops.layer_from_node(n)
        kinds.setdefault(layer.stem, []).append(layer)
    assert all(layer.ext == 4 for layer in kinds["shift"])
    assert all(layer.frame == (rows == "frame") for layer in kinds["wrap_rows"])
    if rows == "frame":
        assert all(layer.ext == 0 for layer in kinds["binary_conv"])
    consumers = [t for n in planned.graph.node for t in ops.stream_inputs(n)]
    assert len(consumers) == len(set(consumers)), "a tensor with two consumers needs a duplicate"
