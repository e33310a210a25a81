"""Resource figures from Yosys."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bhvit.finn_flow.layers.affine import Affine
from bhvit.finn_flow.layers.binary_linear import BinaryLinear
from bhvit.finn_flow.synth import dependencies, instance_files, parse, synthesize
from bhvit.finn_flow.synth_build import formula_errors
from bhvit.finn_flow.wrapper import RTL


def test_dependencies_follow_instances():
    names = {f.stem for f in dependencies(RTL / "bv_binary_linear.sv")}
    assert {"bv_util", "bv_linear_front", "bv_epilogue", "bv_xnor_popcount", "bv_counter7"} <= names
    assert "bv_shift" not in names


@pytest.mark.parametrize("attrs", [{}, {"styles": "WEIGHT=stream"}, {"sets": 3, "repeat": 0, "held": 2}])
def test_files_of_an_instance_are_whole(attrs):
    """An instance alone in its process: whatever its wrapper instantiates is there."""
    layer = BinaryLinear(**BinaryLinear.suitable(8.0, in_channels=64, token_dims=[4], out_channels=8, SIMD=32, **attrs))
    files = instance_files(layer, "dut", layer.random_constants(np.random.default_rng(0)))
    used = set(re.findall(r"^\s*(bv_\w+) #", files["dut.v"], re.M))
    assert "bv_binary_linear" in used and {f"{module}.sv" for module in used} <= set(files)
    assert len(used) == 1 + bool(attrs)


def test_parse_counts_sites():
    cells = {"LUT6": 5, "LUT6_2": 2, "INV": 1, "FDRE": 7, "RAMB36E2": 1, "RAMB18E2": 1, "RAM32M16": 2, "SRL16E": 3,
             "CARRY4": 4, "DSP48E2": 6}
    r = parse({"design": {"num_cells_by_type": cells}})
    assert (r.lut, r.ff, r.bram18, r.lutram, r.srl, r.carry, r.dsp) == (8, 7, 3, 16, 3, 4, 6)
    assert r.lut_sites == 27


def test_formula_errors():
    layers = [Affine(**Affine.suitable(74, dims=[4, 8], SIMD=n)) for n in (1, 2)]
    cells = {"LUT6": int(layers[0].resources().lut) * 2, "SRL16E": 0}
    r = parse({"design": {"num_cells_by_type": cells}})
    found = formula_errors([(layer, r) for layer in layers])
    estimate = sum(layer.resources().lut for layer in layers)
    assert found["affine"] == found["total"]
    assert (found["total"]["instances"], found["total"]["estimate"]) == (2, estimate)
    assert found["total"]["yosys"] == 2 * cells["LUT6"]
    assert found["total"]["error"] == pytest.approx(estimate / (2 * cells["LUT6"]) - 1)


@pytest.mark.full
def test_synthesize_layers(tmp_path):
    affine = Affine(**Affine.suitable(74, dims=[14, 14, 64], SIMD=4, act=1))
    r = synthesize(affine, cache=tmp_path)
    assert r.dsp == 8 and r.lut > 0 and r.ff > 0
    assert len(list(tmp_path.glob("affine_*.json"))) == 1
    assert synthesize(affine, affine.random_constants(np.random.default_rng(0)), cache=tmp_path) == r   # from the cache
    attrs = BinaryLinear.suitable(8, token_dims=[196], in_channels=64, out_channels=64, SIMD=64)
    one, two = (synthesize(BinaryLinear(**attrs, PE=pe), cache=tmp_path) for pe in (4, 8))
    assert (two.lut - one.lut) / (4 * 64) <= 2.0                        # LUT per binary MAC, epilogue included
