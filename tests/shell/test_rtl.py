"""The shell's RTL: lint, Yosys, size and headers of the files; generated tops."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bhvit.finn_flow.shell import design
from bhvit.finn_flow.shell.design import FEEDING, SHELL, SHELL_TOP, ShellParameters, shell_sources
from bhvit.finn_flow.shell.serial_board import FILES as SERIAL
from bhvit.finn_flow.shell.wiring import accelerator_ports, ports, write_tops
from bhvit.finn_flow.synth import count_cells
from tests.rtl.test_lint import lint

from .toy import Toy

SHAPES = [ShellParameters(3, 5, 6, 4), ShellParameters(64, 1, 1, 1, axi_bits=128, burst=64, outstanding=8)]
FED = [replace(SHAPES[0], load=True), replace(SHAPES[0], weights=((7, 10),)),
       replace(SHAPES[1], weights=((7, 10), (64, 8)), asked=(1,)),
       replace(SHAPES[1], load=True, weights=tuple((9, 3 + i) for i in range(8)))]
NAMES = ["64 bit", "128 bit", "loaded", "stream", "asked", "all"]


def accelerator(p: ShellParameters, folder: Path) -> Path:
    """Something with the ports of a stitched design; every input has a part in the output."""
    ps = accelerator_ports(p)
    head = ", ".join(f"{d} {'reg' if n == 'out0_V_TDATA' else 'wire'} [{w - 1}:0] {n}" for d, w, n in ps)
    ready = "".join(f"  assign {n} = out0_V_TREADY && ap_rst_n;\n" for d, _, n in ps
                    if d == "output" and n.endswith("TREADY"))
    ready += "".join(f"  assign {n} = {'in0_V_TVALID' if w == 1 else f'{w}' + chr(39) + 'd64'};\n" for d, w, n in ps
                     if d == "output" and "_R_" in n)
    data = " ^ ".join(f"^{n}" for d, _, n in ps if d == "input" and n not in ("ap_clk", "ap_rst_n"))
    f = folder / "finn_design_wrapper.v"
    f.write_text(f"module finn_design_wrapper ({head});\n{ready}  assign out0_V_TVALID = in0_V_TVALID;\n"
                 f"  always @(posedge ap_clk) out0_V_TDATA <= {{{8 * p.out_bytes}{{{data}}}}};\nendmodule\n")
    return f


def generated(p: ShellParameters, folder: Path) -> list[Path]:
    """All sources of a shell with such an accelerator."""
    return [*shell_sources(*(FEEDING if p.feeder else ())), accelerator(p, folder),
            *write_tops(p, folder, whole=True).values()]


@pytest.mark.parametrize("p", [*SHAPES, *FED], ids=NAMES)
def test_shell_lint(p, tmp_path):
    assert not lint(SHELL_TOP, generated(p, tmp_path), {})


@pytest.mark.parametrize("kind, values", [("loader", {}), ("constants", {"OB": 5}),
                                          ("constants", {"OB": 40, "DW": 128}), ("sets", {}), ("sets", {"DW": 128})])
def test_reader_lint(kind, values):
    assert not lint(f"bhvit_{kind}", shell_sources(kind), values)


def test_files_have_headers_and_fit():
    assert sorted(f.stem for f in SHELL.glob("*.sv")) == sorted(
        f.stem for f in shell_sources(*FEEDING, *SERIAL) if f.parent == SHELL)
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


def test_without_constants_from_outside_nothing_is_added(tmp_path):
    """The same ports as ever, no feeder; with them, a slave and the masters that are needed."""
    text, fed = (write_tops(p, tmp_path, whole=True)["shell"].read_text() for p in (SHAPES[0], FED[-1]))
    def interfaces(t: str) -> set[str]:
        return {m[1] for m in re.finditer(r"put wire (?:\[\d+:0\] )?(\w+_axi_\w+?)_(?:aw|ar)valid", t)}

    plain = {"s_axi_dma", "s_axi_control", "m_axi_mm2s", "m_axi_s2mm"}
    assert interfaces(text) == plain and "feeder" not in text and ".hold(1'd0)" in text
    assert interfaces(fed) - plain == {"s_axi_feeder", "m_axi_load", *(f"m_axi_weight{i}" for i in range(8))}
    assert {f.name for f in shell_sources()}.isdisjoint({"bhvit_loader.sv", "bhvit_feeder.sv", "bhvit_constants.sv"})


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
    d = Toy().design(tmp_path / "toy")

    def size(p: ShellParameters, name: str):
        more = [f for f in generated(p, tmp_path) if f.name != "finn_design_wrapper.v"]
        files = {f.name: f.read_text() for f in (*more, *(d.sources if not p.feeder else [accelerator(p, tmp_path)]))}
        return count_cells(SHELL_TOP, files, tmp_path / f"{name}.log")

    plain = size(SHAPES[0], "plain")
    assert 1000 < plain.lut_sites < 3000 and plain.dsp == 0 and plain.bram18 == 0
    for name, p in zip(NAMES[2:4], FED):
        assert 300 < size(p, name).lut_sites - plain.lut_sites < 2000, name
