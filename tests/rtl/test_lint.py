"""Every kernel passes `verilator --lint-only -Wall` with the parameters of its layer's examples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.wrapper import FETCHING, RTL, sources, verilog_number
from bhvit.tools import verilator

DEFINES = {"fifo": [[], ["-DBV_STATS", "-DBV_TRACE"]]}


def lint(top: str, files: list, parameters: dict[str, int], defines: list[str] = ()) -> str:
    """Verilator's complaints, empty if there are none."""
    tool = verilator()
    cmd = [str(tool.path), "--lint-only", "-Wall", "--no-timing", "--top-module", top, *defines,
           *[f"-G{k}={verilog_number(v)}" for k, v in parameters.items()], str(RTL / "lint.vlt"), *map(str, files)]
    r = subprocess.run(cmd, env=tool.env, capture_output=True, text=True)
    return r.stderr if r.returncode or r.stderr else ""


@pytest.mark.parametrize("stem", layers())
def test_kernel_lint(stem):
    cls = layers()[stem]
    for attrs in cls.examples():
        for defines in DEFINES.get(stem, [[]]):
            complaints = lint(f"bv_{stem}", sources(cls), cls(**attrs).rtl_parameters(), defines)
            assert not complaints, f"{attrs}:\n{complaints}"


def test_lint_of_what_fetches_sets():
    files = [RTL / f"{n}.sv" for n in ("bv_util", *FETCHING)]
    sets = {"SETS": 6, "MEMORIES": 2, "WORDS": 0x5_00000003, "BEATS": 0x5_00000006, "BYTES": 88, "STRIDE": 128,
            "IN_BEATS": 9, "OUT_BEATS": 1}
    for top, parameters in (("bv_sets", sets), ("bv_fetch", {"ASKERS": 1}), ("bv_fetch", {"ASKERS": 3, "OPEN": 2})):
        assert not lint(top, files, parameters), f"{top} {parameters}"


def test_lint_can_fail(tmp_path):
    bad = tmp_path / "bad.sv"
    bad.write_text("module bad (input logic [3:0] a, output logic [1:0] y);\n  assign y = a;\nendmodule\n")
    assert "WIDTHTRUNC" in lint("bad", [bad], {})


def test_every_file_belongs_to_a_layer():
    """A file that no layer uses, directly or behind a macro, is neither linted nor simulated."""
    text = {p.stem: p.read_text() for p in RTL.glob("bv_*.sv")}
    used = {p.stem for cls in layers().values() for p in sources(cls)} | set(FETCHING)
    used |= {name for name in text if any(f"{name} " in text[user] for user in used)}
    used |= {name for name in text if any(f"{name} " in text[user] for user in used)}
    assert sorted(set(text) - used) == []


def test_kernels_have_headers_and_fit():
    for p in RTL.glob("bv_*.sv"):
        lines = p.read_text().splitlines()
        assert lines[0] == "// SPDX-License-Identifier: MIT" and lines[1].startswith("// "), p.name
        assert len(lines) < 300, p.name
        assert max(map(len, lines)) <= 130, p.name


def test_python_is_clean():
    """ruff, with the configuration of pyproject.toml, over everything."""
    root = Path(__file__).parents[2]
    r = subprocess.run([sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."], cwd=root,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
