"""Kernels with buffers in UltraRAM: words packed into rows of 72 bits, every stall pattern, the same cycles."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import ULTRA, pack
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls

STALLS = {"none": Stalls(), "input": Stalls(seed=3, input_percent=60), "output": Stalls(seed=4, output_percent=60),
          "both": Stalls(seed=5, input_percent=40, output_percent=40)}

#: stem -> attributes; the widths of the buffers reach every number of words in a row
CASES = [
    ("fifo", dict(dims=[60, 9], dtype="UINT10", depth=70)),
    ("fifo", dict(dims=[150, 3], dtype="INT8", SIMD=3, depth=100)),
    ("fifo", dict(dims=[30, 40], dtype="INT12", SIMD=8, depth=65)),
    ("fifo", dict(dims=[90, 9], dtype="BIPOLAR", SIMD=3, depth=129)),
    ("window_concat", dict(height=6, width=6, channels=6, window=3, padding=1, row0=2, ka=2, sh=8, SIMD=2)),
    ("window_merge", dict(height=6, width=4, channels=6, window=2, row0=1, ka=2, sh=8, SIMD=3)),
    ("wrap_rows", dict(height=6, width=5, channels=6, dtype="INT8", start=0, count=10, SIMD=1)),
    ("wrap_rows", dict(height=5, width=3, channels=4, dtype="INT8", start=3, count=9, frame=1, SIMD=4)),
    ("shift", dict(height=6, width=5, channels=4, ky=6, sh=7, SIMD=2, RING=6)),
    ("qd_attention", dict(windows=1, tokens=7, heads=3, head_dim=9, es=9, SIMD=9, PE=3, LP=3)),
    ("patchify", dict(height=6, width=4, channels=6, SIMD=2)),
]


@pytest.mark.parametrize("stem, attrs", CASES, ids=[f"{s}-{i}" for i, (s, _) in enumerate(CASES)])
def test_ultra_ram_changes_nothing(stem, attrs, tmp_path):
    cls = layers()[stem]
    names = [s.name for s in cls(**attrs).stores() if ULTRA in s.styles()]
    layer = cls(**attrs, styles=" ".join(f"{n}={ULTRA}" for n in names))
    assert names and all(s.style == ULTRA for s in layer.styled_stores() if s.name in names)
    rng = np.random.default_rng(5)
    constants = layer.random_constants(rng)
    inputs = layer.random_inputs(rng, 5)
    expected = layer.golden(inputs, constants)
    sim = KernelSim(layer, constants, tmp_path / "ultra")
    plain = KernelSim(cls(**attrs), constants, tmp_path / "plain") if stem == "fifo" else None
    for name, stalls in STALLS.items():
        got = sim.run(inputs, stalls)
        assert got.status == 0, f"stalls {name}: {got.log}"
        assert all(np.array_equal(a, b) for a, b in zip(got.outputs, expected, strict=True)), name
        if plain:
            assert got.cycles == plain.run(inputs, stalls).cycles, "the style changed the timing"


def test_cases_reach_every_packing():
    widths = {s.width for stem, a in CASES for s in layers()[stem](**a).stores() if ULTRA in s.styles()}
    assert {pack(w) for w in widths} == {1, 2, 4, 8} and any(w > 72 for w in widths)
