"""Every registered layer: RTL equals the golden model under every stall pattern and takes the declared cycles."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls

CASES = [pytest.param(cls, attrs, id=f"{stem}-{i}")
         for stem, cls in layers().items() for i, attrs in enumerate(cls.examples())]
STALLS = {
    "none": Stalls(),
    "input": Stalls(seed=3, input_percent=60),
    "output": Stalls(seed=4, output_percent=60),
    "both": Stalls(seed=5, input_percent=40, output_percent=40),
}


@pytest.mark.parametrize("cls, attrs", CASES)
def test_rtl_equals_golden(cls, attrs, tmp_path):
    layer = cls(**attrs)
    rng = np.random.default_rng(7)
    constants = layer.random_constants(rng)
    frames = max(4, layer.sets * layer.repeat + 1)
    inputs = layer.random_inputs(rng, frames)
    expected = layer.golden(inputs, constants)
    for out, stream in zip(expected, layer.outputs(), strict=True):
        assert out.shape == (frames, *stream.dims)
        assert len(np.unique(out)) > 1, "the example tests nothing: constant output"
    sim = KernelSim(layer, constants, tmp_path)
    for name, stalls in STALLS.items():
        got = sim.run(inputs, stalls)
        assert got.status == 0, f"stalls {name}: {got.log}"
        for i, (g, e) in enumerate(zip(got.outputs, expected, strict=True)):
            bad = np.argwhere(g != e)
            at = tuple(bad[0]) if len(bad) else ()
            assert not len(bad), f"stalls {name}: out{i} first wrong at {at}: {g[at]} != {e[at]}"
        if name == "none":
            interval = got.interval
            assert interval is not None
            assert abs(interval - layer.cycles()) <= max(2, 0.1 * layer.cycles()), (interval, layer.cycles())
