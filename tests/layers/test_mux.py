"""Kernels with the multiplexer of synthesis (two bits in a LUT site) equal the golden models."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.sim.verilate import Stalls, build_simulator, run_simulator
from bhvit.finn_flow.wrapper import RTL, sources, wrapper

#: odd widths too, and a buffer of two words a row
CASES = {
    "fifo": dict(dims=[30, 14], dtype="INT3", SIMD=7),
    "fifo of one bit": dict(dims=[40, 1], dtype="BIPOLAR"),
    "tile": dict(token_dims=[5], channels=6, dtype="INT5", SIMD=3, ratio=4),
    "tile that only cuts": dict(token_dims=[6], channels=6, SIMD=2, ratio=1, cut=2),
    "wrap_rows": dict(height=6, width=5, channels=9, dtype="INT3", start=2, count=9, SIMD=3),
    "wrap_rows of whole frames": dict(height=5, width=3, channels=4, start=3, count=9, frame=1, SIMD=2),
    "wrap_rows in UltraRAM": dict(height=6, width=5, channels=9, dtype="INT7", start=2, count=9, SIMD=3,
                                  styles="RAM=ultra"),
    "width_converter": dict(dims=[8, 12], dtype="INT5", SIMD_IN=6, SIMD_OUT=3, TP_IN=2, TP_OUT=2),
    "loop": dict(dims=[6, 10], dtype="INT5", SIMD=5),
}


def differences(name: str, tmp_path, util: str | None = None) -> int:
    """Wrong elements, with and without stalls. ``util``: another text of bv_util.sv."""
    layer = layers()[name.split()[0]](**CASES[name])
    rng = np.random.default_rng(3)
    inputs = layer.random_inputs(rng, 4)
    expected = layer.golden(inputs, {})
    (tmp_path / "dut.v").write_text(wrapper(layer, "dut", {}))
    files = [f for f in sources(layer) if util is None or f.name != "bv_util.sv"]
    if util is not None:
        (tmp_path / "util.sv").write_text(util)
        files.insert(0, tmp_path / "util.sv")
    exe = build_simulator("dut", [RTL / "sim" / "LUT6_2.sv", *files, tmp_path / "dut.v"], len(layer.inputs()),
                          len(layer.outputs()), tmp_path, defines=("SYNTHESIS",))
    wrong = 0
    for stalls in (Stalls(), Stalls(seed=5, input_percent=40, output_percent=40)):
        got = run_simulator(exe, list(zip(layer.inputs(), inputs, strict=True)), layer.outputs(), 4, cwd=tmp_path,
                            stalls=stalls)
        assert got.status == 0, got.log
        wrong += sum(int((g != e).sum()) for g, e in zip(got.outputs, expected, strict=True))
    return wrong


@pytest.mark.parametrize("name", CASES)
def test_description_for_synthesis(name, tmp_path):
    assert differences(name, tmp_path) == 0


def test_a_wrong_table_is_noticed(tmp_path):
    text = (RTL / "bv_util.sv").read_text()
    assert text.count("ff00f0f0_ccccaaaa") == 1
    assert differences("fifo", tmp_path, text.replace("ff00f0f0_ccccaaaa", "ff00f0f0_aaaacccc")) > 0
