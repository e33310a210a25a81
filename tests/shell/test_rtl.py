"""The shell's RTL: lint, Yosys, size and headers of the files; generated tops."""

from __future__ import annotations

import re

import pytest

from bhvit.finn_flow.shell import design
from bhvit.finn_flow.shell.design import SHELL, ShellParameters, ports, shell_sources, verilog_top
from bhvit.finn_flow.synth import count_cells
from tests.rtl.test_lint import lint

from .toy import Toy

SHAPES = [ShellParameters(3, 5, 6, 4), ShellParameters(64, 1, 1, 1, axi_bits=128, burst=64, outstanding=8)]


@pytest.mark.parametrize("p", SHAPES, ids=["64 bit", "128 bit"])
def test_shell_lint(p, tmp_path):
    accelerator = tmp_path / "finn_design_wrapper.v"
    accelerator.write_text(
        f"module finn_design_wrapper (input wire ap_clk, input wire ap_rst_n, input wire [{8 * p.in_bytes - 1}:0] "
        "in0_V_TDATA, input wire in0_V_TVALID, output wire in0_V_TREADY, "
        f"output reg [{8 * p.out_bytes - 1}:0] out0_V_TDATA, output wire out0_V_TVALID, input wire out0_V_TREADY);\n"
        "  assign in0_V_TREADY = out0_V_TREADY && ap_rst_n;\n  assign out0_V_TVALID = in0_V_TVALID;\n"
        f"  always @(posedge ap_clk) out0_V_TDATA <= {{{8 * p.out_bytes}{{^in0_V_TDATA}}}};\nendmodule\n")
    assert not lint("bhvit_shell", [*shell_sources("shell"), accelerator], p.of_shell())


@pytest.mark.parametrize("kind, values", [("loader", {}), ("constants", {"OB": 5}),
                                          ("constants", {"OB": 40, "DW": 128})])
def test_reader_lint(kind, values):
    assert not lint(f"bhvit_{kind}", shell_sources(kind), values)


def test_files_have_headers_and_fit():
    assert sorted(f.stem for f in SHELL.glob("*.sv")) == sorted(
        f.stem for f in shell_sources("shell", "loader", "constants") if f.parent == SHELL)
    for f in SHELL.glob("*.sv"):
        lines = f.read_text().splitlines()
        assert lines[0] == "// SPDX-License-Identifier: MIT" and lines[1].startswith("// "), f.name
        assert len(lines) < 200 and max(map(len, lines)) <= 120, f.name


def test_ports_are_read_from_the_source():
    p = ports("bhvit_dma", SHAPES[1].of_dma())
    text = re.sub(r"//.*", "", (SHELL / "bhvit_dma.sv").read_text())
    names = re.findall(r"\b(\w+)\s*(?=,|\n\);)", text[text.index(") (\n"): text.index("\n);") + 3])
    assert [n for _, _, n in p] == names and len(names) > 60
    widths = {n: w for _, w, n in p}
    assert widths["m_axi_mm2s_rdata"] == 128 and widths["m_axi_s2mm_wstrb"] == 16 and widths["m_axis_tdata"] == 512
    assert widths["s_axis_tdata"] == 8 and widths["drain"] == 1 and widths["m_axi_mm2s_araddr"] == 64


@pytest.mark.parametrize("top, module, values", [
    (design.DMA_TOP, "bhvit_dma", SHAPES[0].of_dma()), (design.CONTROL_TOP, "bhvit_control", SHAPES[1].of_control())])
def test_generated_tops_lint(top, module, values, tmp_path):
    f = tmp_path / f"{top}.v"
    f.write_text(verilog_top(top, module, values))
    assert not lint(top, [*shell_sources(), f], {})


def test_build_hash_tells_designs_apart(tmp_path):
    one, two = (Toy(depth=d).design(tmp_path / str(d)) for d in (4, 5))
    assert design.build_hash(one) == design.build_hash(one) != design.build_hash(two)
    memory = one.memories / "w.mem"
    before = design.build_hash(one)
    memory.write_text("3\n")
    assert design.build_hash(one) != before and len(before) == 32


@pytest.mark.full
def test_yosys(tmp_path):
    """The whole shell synthesizes; its size is what the documentation says."""
    files = {f.name: f.read_text() for f in shell_sources("shell", "loader", "constants")}
    d = Toy().design(tmp_path / "toy")
    files |= {f.name: f.read_text() for f in d.sources}
    found = count_cells("bhvit_shell", files, tmp_path / "shell.log", parameters=SHAPES[0].of_shell() | {
        "BUILD_HASH": 0, "OUT_BEATS": 3})
    assert 1000 < found.lut_sites < 3000 and found.dsp == 0 and found.bram18 == 0
    for kind, values in (("loader", {}), ("constants", {"OB": 16})):
        assert 300 < count_cells(f"bhvit_{kind}", files, tmp_path / f"{kind}.log", parameters=values).lut_sites < 2000
