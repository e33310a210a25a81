"""Matrix-vector units keep the declared pace exactly, with one output fold as well as with many."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls


@pytest.mark.parametrize("folds, out_folds, tokens", [
    (1, 1, 40), (1, 2, 40), (1, 3, 40), (2, 1, 40), (3, 1, 40), (8, 1, 39), (12, 1, 40), (12, 1, 39), (3, 2, 40)])
def test_pace(tmp_path, folds, out_folds, tokens):
    cls = layers()["binary_linear"]
    layer = cls(**cls.suitable(4.0, in_channels=8 * folds, token_dims=[tokens], out_channels=2 * out_folds, PE=2,
                               SIMD=8, act=1))
    rng = np.random.default_rng(folds)
    constants = layer.random_constants(rng)
    inputs = layer.random_inputs(rng, 5)
    expected = layer.golden(inputs, constants)[0]
    sim = KernelSim(layer, constants, tmp_path)
    assert 0 <= layer.cycles() - sim.run(inputs).mean_interval <= 0.5, "half a cycle where it is declared whole"
    for stalls in (Stalls(seed=1, input_percent=50), Stalls(seed=2, input_percent=30, output_percent=50)):
        assert np.array_equal(sim.run(inputs, stalls).outputs[0], expected)
