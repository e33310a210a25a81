"""The Vivado tool chain without Vivado: scripts evaluated for real with stub commands, tool flow, report parsers."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("_tkinter", reason="the scripts are evaluated by the Tcl of Python's tkinter")

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow.shell import bitstream as module
from bhvit.finn_flow.shell import registers, vivado, vivado_reports, wiring
from bhvit.finn_flow.shell.boards import load_board
from bhvit.finn_flow.shell.design import ShellParameters
from bhvit.finn_flow.stitch import Design

from .fake_vivado import FakeVivado, tkinter
from .fed import fed, fetching
from .toy import Toy

BOARDS = ["aup_zu3", "kv260", "pynq_z2", "zcu102", "zcu104"]
SAMPLES = Path(__file__).with_name("samples")


@pytest.fixture
def build(tmp_path, monkeypatch) -> Path:
    """A build folder with the toy's design."""
    design = Toy().design(tmp_path / "build" / "stitched_ip")
    (design.memories / "weights.mem").write_text("1\n2\n")
    (tmp_path / "build" / "report").mkdir()
    monkeypatch.setattr(module, "load_build", lambda f: (Path(f), {"device": "xczu7ev-ffvc1156-2-e"}))
    return tmp_path / "build"


@pytest.fixture
def fed_build(tmp_path, monkeypatch) -> Path:
    """A build folder whose design gets constants from outside: loaded ones and a stream."""
    fed(tmp_path / "fed" / "stitched_ip")
    (tmp_path / "fed" / "report").mkdir()
    monkeypatch.setattr(module, "load_build", lambda f: (Path(f), {"device": "xczu7ev-ffvc1156-2-e"}))
    return tmp_path / "fed"


@pytest.fixture
def fetching_build(tmp_path, monkeypatch) -> Path:
    """A build folder whose design asks for sets of constants."""
    fetching(tmp_path / "fetching" / "stitched_ip", 2)
    (tmp_path / "fetching" / "report").mkdir()
    monkeypatch.setattr(module, "load_build", lambda f: (Path(f), {"device": "xczu7ev-ffvc1156-2-e"}))
    return tmp_path / "fetching"


def scripts(build: Path, board: str, **kw) -> Path:
    """Write the folder of a board."""
    return Path(module.bitstream(build, board, run=False, collect=False, **kw)["folder"])


def evaluate(folder: Path, **kw) -> FakeVivado:
    fake = FakeVivado(folder, **kw)
    fake.source(folder / "tcl" / "run.tcl")
    return fake


@pytest.mark.parametrize("board", BOARDS)
def test_scripts_run_through(build, board):
    folder = scripts(build, board, clock_mhz=123.5)
    fake = evaluate(folder)
    assert (folder / "bhvit.bit").is_file() and (folder / "bhvit.hwh").is_file()
    b = load_board(board)
    assert ("create_project", "-force", "bhvit", str(folder / "project"), "-part", b.part) in fake.calls
    ps = "processing_system7_0" if board == "pynq_z2" else "zynq_ultra_ps_e_0"
    values = fake.values[f"cell:{ps}"]
    assert "123.5" in [v for k, v in values.items() if "FREQMHZ" in k]
    assert [v for k, v in values.items() if "DATA_WIDTH" in k] == [str(b.settings["axi_bits"])]
    assert fake.values["project:current"].get("board_connections", "") == b.settings.get("board_connections", "")
    placed = [c for c in fake.calls if c[0] == "assign_bd_address" and "-offset" in c]
    base = 0x40000000 if board == "pynq_z2" else 0xA0000000
    assert [int(c[c.index("-offset") + 1], 16) for c in placed] == [base, base + 0x10000]
    assert fake.calls[-1] == ("version", "-short")


@pytest.mark.parametrize("kind, board", [("build", "zcu104"), ("fed_build", "zcu104"), ("fed_build", "pynq_z2"),
                                         ("fetching_build", "zcu104")])
def test_every_pin_has_one_driver(request, kind, board):
    fake = evaluate(scripts(request.getfixturevalue(kind), board))
    driven = [b for _, b in fake.nets]
    assert len(set(driven)) == len(driven)
    ends = [p for pair in fake.buses for p in pair]
    assert len(set(ends)) == len(ends)
    feeder = [] if kind == "build" else ["feeder_0"]
    for cell in ("dma_0", "control_0", "accelerator_0", *feeder):
        pins, buses, _ = fake.cells[cell]
        assert {f"{cell}/{b}" for b in buses} <= set(ends), "every interface is connected"
        plain = {p for p in pins if not any(p.startswith(b + "_") for b in buses)}
        used = {p.split("/")[1] for pair in fake.nets for p in pair if p.startswith(cell + "/")}
        unused = set() if feeder else {p for u in wiring.UNUSED.values() for p in u}
        assert plain - used <= {"mm2s_introut", "s2mm_introut"} | unused, "interrupts are not used"
    for cell in (c for c in fake.cells if c.endswith("_interconnect")):
        assert "reset_0/interconnect_aresetn" in {a for a, b in fake.nets if b == f"{cell}/aresetn"}
        for side in ("S", "M"):
            count = int(fake.values[f"cell:{cell}"][f"CONFIG.NUM_{side}I"])
            assert {f"{cell}/{side}{i:02}_AXI" for i in range(count)} == {
                e for e in ends if e.startswith(f"{cell}/{side}")}, "as many interfaces as are used"


def test_the_feeder_has_its_place(fed_build):
    """Memory port, width, addresses, files: what depends on constants from outside."""
    folder = scripts(fed_build, "zcu104")
    fake = evaluate(folder)
    ps = fake.values["cell:zynq_ultra_ps_e_0"]
    assert ps["CONFIG.PSU__USE__S_AXI_GP3"] == "1" and ps["CONFIG.PSU__SAXIGP3__DATA_WIDTH"] == "128"
    assert ("feeder_interconnect_0/M00_AXI", "zynq_ultra_ps_e_0/S_AXI_HP1_FPD") in fake.buses
    assert [b for a, b in fake.buses if a.startswith("feeder_0/m_axi")] == [
        "feeder_interconnect_0/S00_AXI", "feeder_interconnect_0/S01_AXI"]
    placed = {c[-2]: int(c[c.index("-offset") + 1], 16) for c in fake.calls
              if c[0] == "assign_bd_address" and "-offset" in c}
    assert placed == {"dma_0/s_axi/reg0": 0xA0000000, "control_0/s_axi/reg0": 0xA0010000,
                      "feeder_0/s_axi/reg0": 0xA0020000}
    assert set(fake.cores) == {b.vlnv for b in registers.ALL} | {vivado.accelerator_vlnv()}
    assert not list(folder.rglob("*.bin")), "what comes from outside is no part of the bitstream"
    offsets = {h.rsplit("/", 1)[1]: int(v["address_offset"]) for h, v in fake.values.items()
               if h.startswith("register:")}
    assert offsets == {r.name: r.offset for b in registers.ALL for r in b.registers}


def test_the_feeder_has_as_many_memory_ports_as_its_masters_need(fed_build, monkeypatch):
    monkeypatch.setattr(vivado, "memory_ports", lambda p: [[m] for m in wiring.masters(p)])
    fake = evaluate(scripts(fed_build, "zcu104"))
    ps = fake.values["cell:zynq_ultra_ps_e_0"]
    assert ps["CONFIG.PSU__USE__S_AXI_GP3"] == ps["CONFIG.PSU__USE__S_AXI_GP4"] == "1"
    for i in range(2):
        cell = f"feeder_interconnect_{i}"
        assert (f"{cell}/M00_AXI", f"zynq_ultra_ps_e_0/S_AXI_HP{i + 1}_FPD") in fake.buses
        assert fake.values[f"cell:{cell}"]["CONFIG.NUM_SI"] == "1"
        assert len([a for a, b in fake.buses if b.startswith(f"{cell}/S00")]) == 1


@pytest.mark.parametrize("weights, cycles, load, expected", [
    ([10, 20], 0, False, [["m_axi_weight0", "m_axi_weight1"]]),                       # interval not known
    ([400, 400], 200, True, [["m_axi_load", "m_axi_weight0", "m_axi_weight1"]]),      # 4 of 16 bytes per cycle
    ([400, 500], 100, False, [["m_axi_weight1"], ["m_axi_weight0"]]),                 # 9
    ([100, 800, 700, 100], 50, True, [["m_axi_weight1"], ["m_axi_weight2"],           # 34
                                      ["m_axi_load", "m_axi_weight0", "m_axi_weight3"]])])
def test_masters_by_memory_port(weights, cycles, load, expected):
    """Bytes per frame decide, not numbers of masters; weights that every token reads count as often."""
    p = ShellParameters(1, 1, 1, 1, axi_bits=128, load=load, weights=tuple((w, 1) for w in weights), cycles=16 * cycles,
                        passes=(16,) * len(weights))
    assert wiring.memory_ports(p) == expected
    p = ShellParameters(1, 1, 1, 1, axi_bits=128, load=load, weights=tuple((w, 1) for w in weights), cycles=cycles)
    assert wiring.memory_ports(p) == expected


@pytest.mark.parametrize("kind, nets", [("build", 14), ("fed_build", 22), ("fetching_build", 24)])
def test_block_design_connects_what_is_simulated(request, kind, nets):
    """The parts in the block design are wired as in the generated shell that is simulated."""
    build = request.getfixturevalue(kind)
    fake = evaluate(scripts(build, "zcu104"))
    names = {f"u_{part}": f"{part}_0" for part in ("dma", "control", "feeder", "accelerator")}
    text = wiring.shell(ShellParameters.of(Design.load(build / "stitched_ip"), 100.0, axi_bits=128))
    wires: dict[str, set[str]] = {}
    for inst, body in re.findall(r"(u_\w+) \((.*?)\);", text, re.S):
        for port, net in re.findall(r"\.(\w+)\(([\w']+)\)", body):
            if "'" not in net:
                wires.setdefault(net, set()).add(f"{names[inst]}/{port}")
    inner = {frozenset(p) for p in wires.values() if len({x.split("/")[0] for x in p}) > 1}
    joined: dict[str, set[str]] = {}
    for a, b in fake.nets:
        if a.split("/")[0] in names.values():
            joined.setdefault(a, {a}).add(b)
    drawn = {frozenset(p) for p in joined.values()}
    for a, b in fake.buses:
        if {a.split("/")[0], b.split("/")[0]} <= set(names.values()):
            for s in ("tdata", "tvalid", "tready"):
                drawn.add(frozenset(f"{x}_{s.upper() if 'accelerator' in x else s}" for x in (a, b)))
    clocks = {frozenset(wires["ap_clk"]), frozenset(wires["ap_rst_n"])}
    assert inner - clocks == drawn and len(drawn) == nets


def test_packaged_registers_and_parameters(build):
    fake = evaluate(scripts(build, "zcu104"))
    assert set(fake.cores) == {registers.DMA.vlnv, registers.CONTROL.vlnv, vivado.accelerator_vlnv()}
    packaged = {h.rsplit("/", 1)[1]: v for h, v in fake.values.items() if h.startswith("register:")}
    offsets = {name: int(v["address_offset"]) for name, v in packaged.items()}
    assert offsets == {r.name: r.offset for b in registers.BLOCKS for r in b.registers}
    fields = [h for h in fake.values if h.startswith("field:")]
    assert len(fields) == sum(len(r.fields) for b in registers.BLOCKS for r in b.registers)
    assert all(set(fake.values[h]) == {"bit_offset", "bit_width", "access", "description"} for h in fields)
    parameters = {h.rsplit("/", 1)[1]: int(v["value"]) for h, v in fake.values.items() if h.startswith("parameter:")}
    assert parameters == registers.dma_parameters(128) and parameters["c_m_axi_s2mm_data_width"] == 128
    assert packaged["MAGIC"]["description"] == registers.CONTROL.registers[0].doc, "texts survive the quoting"


@pytest.mark.parametrize("file, old, new, said", [
    ("block_design.tcl", "validate_bd_design", "validate_bd_desing", "invalid command name"),
    ("block_design.tcl", "accel_rst_n", "accel_reset_n", "no pin control_0/accel_reset_n"),
    ("block_design.tcl", "S_AXI_HP0_FPD", "S_AXI_HP0", "no interface"),
    ("block_design.tcl", "PSU__USE__S_AXI_GP2", "PCU__USE__S_AXI_GP2", "has no property"),
    ("block_design.tcl", "M01_AXI", "M03_AXI", "no interface"),
    ("package_ip.tcl", "-busif $bus", "-busiff $bus", "unknown option -busiff"),
    ("package_ip.tcl", "dict get $block slaves", "dict get $block slave", "key \"slave\" not known"),
    ("implement.tcl", "$bhvit(strategy)", "$bhvit(strategie)", "no such element"),
    ("run.tcl", "implement}", "implemented}", "couldn't read file")])
def test_a_typo_does_not_survive(build, file, old, new, said):
    folder = scripts(build, "zcu104")
    f = folder / "tcl" / file
    text = f.read_text()
    assert old in text
    f.write_text(text.replace(old, new))
    with pytest.raises(tkinter.TclError, match=re.escape(said)):
        evaluate(folder)


def test_what_vivado_lacks_is_said(build):
    with pytest.raises(tkinter.TclError, match="no board files for realdigital"):
        evaluate(scripts(build, "aup_zu3"), boards=False)
    with pytest.raises(tkinter.TclError, match="impl_1 has failed: route_design ERROR"):
        evaluate(scripts(build, "zcu104"), ends="error")
    with pytest.raises(tkinter.TclError, match="no hwh"):
        evaluate(scripts(build, "zcu104"), ends="no_hwh")
    with pytest.raises(tkinter.TclError, match=r"a memory would be zero: .*readmem data file 'a.mem'.*runme.log"):
        evaluate(scripts(build, "zcu104"), ends="memory")
    for board in ("kv260", "pynq_z2"):
        with pytest.raises(tkinter.TclError, match=r"give 187.498 MHz, not 200: .*--clock 187.498"):
            evaluate(scripts(build, board, clock_mhz=200.0), ends="clock")
    folder = scripts(build, "zcu104")
    (folder / "accelerator" / "weights.mem").unlink()
    with pytest.raises(tkinter.TclError, match=r"no file .*weights.mem"):
        evaluate(folder)


def test_tcl_words():
    tcl = tkinter.Tcl()
    for value in ("plain", "two words", "", 'a "quoted" {brace', "}{", "$x [exec] ; # \\", "BHVT, 1:2 (x)"):
        tcl.eval(f"set v {vivado.tcl(value)}")
        assert tcl.eval("set v") == value
    tcl.eval(f"set v {vivado.tcl({'a': ['x y', 1], 'b': {}})}")
    assert tcl.eval("dict get $v a") == "{x y} 1" and tcl.eval("dict get $v b") == ""


# ---- the tool flow, with a stub on PATH ---------------------------------------------------------------------------
@pytest.fixture
def stub(tmp_path, monkeypatch):
    """stub(how): a `vivado` on PATH that evaluates the scripts and ends like that."""
    def put(how: str) -> None:
        exe = tmp_path / "bin" / "vivado"
        exe.parent.mkdir()
        root = Path(__file__).resolve().parents[2]
        exe.write_text(f"#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m tests.shell.fake_vivado \"$@\"\n")
        exe.chmod(0o755)
        monkeypatch.setenv("PATH", str(exe.parent), prepend=":")
        monkeypatch.setenv("FAKE_VIVADO", how)

    return put


def test_flow(build, stub):
    stub("ok")
    r = module.bitstream(build, "zcu104")
    assert r["timing_met"] and r["fmax_mhz"] == 258.87 and r["source"] == "post-route" and r["tool"] == "Vivado 2024.2"
    assert r["utilization"]["LUT"] == {"used": 51234, "available": 230400, "percent": 22.24}
    assert (build / r["bitfile"]).stem == (build / r["hwh"]).stem == "bhvit"
    assert (build / "report" / "bitstream_zcu104.json").is_file()
    again = module.bitstream(build, "zcu104", run=False)  # --collect
    assert again == r


def test_the_clock_is_what_the_dividers_give(build, stub):
    stub("clock")
    assert module.bitstream(build, "kv260")["clock_mhz"] == 187.498  # of 187.5, near enough


def test_masters_say_what_they_do(fed_build):
    """Without it, an interconnect is made for narrow bursts and two transactions at a time."""
    fake = evaluate(scripts(fed_build, "zcu104"))
    said: dict[str, dict[str, str]] = {}
    for handle, values in fake.values.items():
        if handle.startswith("busparameter:"):
            bus, parameter = handle.removeprefix("busparameter:bus:").split("/")
            said.setdefault(bus, {})[parameter] = values["value"]
    p = ShellParameters.of(Design.load(fed_build / "stitched_ip"), 250.0, axi_bits=128)
    assert set(said) == {"m_axi_mm2s", "m_axi_s2mm", *wiring.masters(p)}
    assert all(v == {"SUPPORTS_NARROW_BURST": "0", "MAX_BURST_LENGTH": "16", "NUM_READ_OUTSTANDING": "4",
                     "NUM_WRITE_OUTSTANDING": "4"} for v in said.values())


def test_flow_with_failing_timing(build, stub):
    stub("timing")
    with pytest.raises(CheckFailed, match="clock of 250 MHz is not met") as e:
        module.bitstream(build, "zcu104")
    assert "--clock 226" in str(e.value) and "-0.412" in str(e.value)
    assert (build / "report" / "bitstream_zcu104.json").is_file(), "the figures are kept"


@pytest.mark.parametrize("how, said", [("error", "impl_1 has failed"), ("no_hwh", "no hwh"),
                                       ("no_report", "report of Vivado is missing")])
def test_flow_that_fails(build, stub, how, said):
    stub(how)
    with pytest.raises(UserError, match=said):
        module.bitstream(build, "zcu104")


def test_nothing_to_collect(build):
    scripts(build, "zcu104")
    with pytest.raises(UserError, match="has not written the result") as e:
        module.bitstream(build, "zcu104", run=False)
    assert "vivado -mode batch" in str(e.value)


def test_toolchain_must_be_known(build, tmp_path):
    f = tmp_path / "other.yaml"
    f.write_text("title: x\ntoolchain: quartus\npart: y\nclock_mhz: 9\nsources: [z]\n")
    with pytest.raises(UserError, match="`quartus` of the board is not known"):
        module.bitstream(build, str(f))
    f.write_text("title: x\ntoolchain: vivado\npart: y\nclock_mhz: 9\nsources: [z]\nsettings: {family: zynq}\n")
    with pytest.raises(UserError, match="family"):
        module.bitstream(build, str(f))


def test_designs_with_more_streams_are_refused(build):
    d = Design.load(build / "stitched_ip")
    two = Design(d.folder, d.inputs * 2, d.outputs, d.fifos, d.nodes)
    with pytest.raises(UserError, match="one input and one output"):
        vivado.bitstream(build, load_board("zcu104"), two, 100.0, run=False, collect=False)


# ---- reports ------------------------------------------------------------------------------------------------------
def test_timing_report():
    met, failed = (vivado_reports.timing(SAMPLES / f"{n}.rpt") for n in ("timing", "timing_failed"))
    assert met == {"wns_ns": 0.137, "tns_ns": 0.0, "whs_ns": 0.010, "failing_endpoints": 0, "period_ns": 4.0,
                   "fmax_mhz": 258.87, "timing_met": True}
    assert not failed["timing_met"] and failed["failing_endpoints"] == 431 and failed["fmax_mhz"] == 226.65


def test_clocks_that_nothing_uses(tmp_path):
    text = (SAMPLES / "timing.rpt").read_text()
    f = tmp_path / "timing.rpt"
    f.write_text(text.replace("clk_pl_0  {0.000 2.000}      4.000           250.000         \n",
                              "clk_pl_1  {0.000 1.000}      2.000           500.000         \n"
                              "clk_pl_0  {0.000 2.000}      4.000           250.000         \n"))
    assert f.read_text() != text and vivado_reports.timing(f) == vivado_reports.timing(SAMPLES / "timing.rpt")


def test_utilization_reports():
    u = vivado_reports.utilization(SAMPLES / "utilization.rpt")
    assert {k: v["used"] for k, v in u.items()} == {"LUT": 51234, "LUTRAM": 4224, "FF": 78901, "BRAM_18K": 141,
                                                    "URAM": 0, "DSP": 225}
    assert u["BRAM_18K"]["available"] == 624
    small = vivado_reports.utilization(SAMPLES / "utilization_7series.rpt")
    assert "URAM" not in small and small["LUT"]["used"] == 31000 and small["BRAM_18K"]["percent"] == 69.29


def test_hierarchy_and_power_reports():
    h = vivado_reports.hierarchy(SAMPLES / "hierarchy.rpt")
    assert list(h) == ["bhvit_wrapper", "bhvit_i", "bhvit_i/accelerator_0", "bhvit_i/accelerator_0/inst",
                       "bhvit_i/accelerator_0/inst/u_stage1_mlp", "bhvit_i/dma_0"]
    assert h["bhvit_i/accelerator_0/inst/u_stage1_mlp"] == {"LUT": 2200, "LUTRAM": 90, "SRL": 10, "FF": 3100,
                                                            "BRAM_18K": 7, "URAM": 0, "DSP": 16}
    p = vivado_reports.power(SAMPLES / "power.rpt")
    assert p == {"total_w": 5.214, "dynamic_w": 4.521, "static_w": 0.693, "junction_c": 30.1, "confidence": "Low"}


@pytest.mark.parametrize("parser, sample, old, said", [
    ("timing", "timing", "WNS(ns)", "no design timing summary"), ("timing", "timing", "0.137", "reads"),
    ("timing", "timing", "{0.000 2.000}", "no clock summary"), ("utilization", "utilization", "CLB LUTs", "no row"),
    ("hierarchy", "hierarchy", "Instance", "no table"), ("power", "power", "Dynamic (W)", "lacks")])
def test_other_formats_are_refused(tmp_path, parser, sample, old, said):
    f = tmp_path / "x.rpt"
    shutil.copyfile(SAMPLES / f"{sample}.rpt", f)
    f.write_text(f.read_text().replace(old, "NA" if old[0].isdigit() else "Something"))
    with pytest.raises(UserError, match="cannot be understood") as e:
        getattr(vivado_reports, parser)(f)
    assert said in str(e.value)
    with pytest.raises(UserError, match="is missing"):
        getattr(vivado_reports, parser)(tmp_path / "nowhere.rpt")
