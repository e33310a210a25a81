"""`bhvit hls cosim` with stand-ins for AMD's tools: selection, the real Tcl and config files, all that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bhvit.errors import UserError
from bhvit.finn_flow.hls import csim
from bhvit.finn_flow.hls.csim import HlsCase
from bhvit.finn_flow.hls.vitis import run as vitis
from bhvit.finn_flow.hls.vitis import tools
from bhvit.finn_flow.hls.vitis.project import TCL, WIDEST, Project, Target, tcl_list, tcl_word
from bhvit.finn_flow.layers.loop import Loop
from bhvit.finn_flow.layers.threshold import Threshold
from bhvit.finn_flow.layers.tile import Tile
from bhvit.tools import ToolMissing

from . import vitis_stub

tkinter = pytest.importorskip("tkinter", reason="the Tcl script is evaluated with Python's tkinter")

ROOT = Path(__file__).resolve().parents[2]
TARGET = Target("xczu7ev-ffvc1156-2-e", 200.0, ("csim", "csynth", "cosim", "export"))
KINDS = {"vitis_hls": ["vitis_hls"], "unified": ["vitis-run", "v++"], "tcl": ["vitis-run"]}


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """stub(*names): only these tools are on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("BHVIT_QUIET", "1")
    for v in ("VITIS_STUB", "VITIS_STUB_COMPILE"):
        monkeypatch.delenv(v, raising=False)

    def make(*names: str) -> None:
        for n in names:
            (folder / n).write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, "
                                    f"{str(Path(vitis_stub.__file__).parent)!r})\n"
                                    "from vitis_stub import main\nsys.exit(main())\n")
            (folder / n).chmod(0o755)

    return make


def project(folder: Path, target: Target = TARGET, name: str = "tile_0") -> Project:
    return Project(HlsCase.random(Tile(token_dims=[3], channels=4), name), folder / name, target)


def run(p: Project, folder: Path, minutes: float = 1.0) -> dict:
    return vitis.run([p], tools.find(), folder / "report.json", minutes=minutes)["layers"][p.name]


# ---- which tool
@pytest.mark.parametrize("there, wanted, kind", [
    (["vitis_hls"], "auto", "vitis_hls"), (["vitis-run", "v++", "vitis_hls"], "auto", "unified"),
    (["vitis-run", "vitis_hls"], "auto", "vitis_hls"), (["vitis-run"], "auto", "tcl"),
    (["vitis-run", "vitis_hls"], "vitis-run", "tcl"), (["vitis-run", "v++", "vitis_hls"], "vitis_hls", "vitis_hls")])
def test_tool_selection(stub, there, wanted, kind):
    stub(*there)
    assert tools.find(wanted).kind == kind


@pytest.mark.parametrize("there, wanted", [([], "auto"), (["v++"], "auto"), (["vitis_hls"], "vitis-run"),
                                           (["vitis-run", "v++"], "vitis_hls")])
def test_missing_tool_is_one_sentence(stub, there, wanted):
    stub(*there)
    with pytest.raises(ToolMissing) as e:
        tools.find(wanted)
    assert e.value.exit_code == 2 and "\n" not in str(e.value) and "Vitis HLS was not found" in str(e.value)


def test_make_says_the_same_sentence(stub):
    r = subprocess.run(["make", "-s", "-o", ".venv/.installed", "hls-cosim", f"BIN={Path(sys.executable).parent}",
                        "LAYER=tile"], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode != 0 and "Traceback" not in r.stderr + r.stdout
    with pytest.raises(ToolMissing) as e:
        tools.find()
    assert r.stderr.splitlines()[0] == f"error: {e.value}"


# ---- everything works
@pytest.mark.parametrize("kind", KINDS)
def test_all_steps(stub, tmp_path, kind):
    stub(*KINDS[kind])
    found = run(project(tmp_path), tmp_path)
    assert found["ok"] and found["steps"] == dict.fromkeys(TARGET.steps, "PASS") and found["why"] is None
    assert [found[k] for k in ("LUT", "FF", "BRAM_18K", "URAM", "DSP")] == [417, 136, 2, 0, 3]
    assert found["clock_ns"] == {"target": 5, "estimated": 2.913} and found["version"] == "2023.2"
    assert found["estimate"] == {"latency": {"min": 18, "avg": 18, "max": 18}, "interval": {"min": 19, "max": 19}}
    assert found["cosim"]["latency"] == {"min": 20, "avg": 21, "max": 23} and found["cosim"]["interval"]["max"] == 24
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["ok"] and data["complete"] and data["source"] == "Vitis HLS" and data["tool"] == tools.NAMES[kind]
    text = vitis.table(data)
    assert "20..23" in text and "1 instances, 0 failed" in text and "xczu7ev" in text


def test_gate_and_sets_with_the_streams_of_the_vendor(stub, tmp_path, monkeypatch):
    stub(*KINDS["vitis_hls"])
    monkeypatch.setenv("VITIS_STUB_COMPILE", str(csim.ap_types()))
    for layer in (Loop(dims=[3, 4], rounds=3, SIMD=2), Threshold(dims=[3, 4], SIMD=2, sets=3, repeat=0, passes=3)):
        case = HlsCase.random(layer, layer.stem)
        found = run(Project(case, tmp_path / case.name, Target(TARGET.part, 250, ("csim",))), tmp_path)
        assert found["ok"] and f"ok {case.name} " in (tmp_path / case.name / "csim.log").read_text(), found


@pytest.mark.parametrize("kind, right", [("vitis_hls", True), ("unified", False)])
def test_c_simulation_of_the_project_really_runs(stub, tmp_path, monkeypatch, kind, right):
    """Top, testbench, headers and data of the project, with ap_int and hls_stream as the vendor has them."""
    stub(*KINDS[kind])
    monkeypatch.setenv("VITIS_STUB_COMPILE", str(csim.ap_types()))
    p = Project(HlsCase.random(Threshold(dims=[3, 4], bits=5, SIMD=2, sets=2), "signs"), tmp_path / "signs",
                Target(TARGET.part, 250, ("csim",)))
    if not right:
        p.case.expected[0][1, 2, 3] *= -1
    found = run(p, tmp_path)
    assert found["ok"] == right and ("ok signs " in (p.folder / "csim.log").read_text()) == right
    assert right or found["why"].startswith("csim: mismatch signs out0 11 "), found


def test_what_passed_is_kept(stub, tmp_path, monkeypatch):
    stub("vitis_hls")
    p = project(tmp_path)
    run(p, tmp_path)
    monkeypatch.setenv("VITIS_STUB", "csim=fail")
    assert run(p, tmp_path)["ok"], "nothing changed, so nothing is run"
    other = project(tmp_path, Target(TARGET.part, 100.0, ("csim",)))
    assert not run(other, tmp_path)["ok"]
    assert not run(other, tmp_path)["ok"], "what failed is run again"
    assert json.loads((other.folder / "result.json").read_text())["ok"] is False, "a build sees it"
    monkeypatch.delenv("VITIS_STUB")
    assert run(other, tmp_path)["ok"]


# ---- things that go wrong
@pytest.mark.parametrize("kind", ["vitis_hls", "unified"])
@pytest.mark.parametrize("wrong, steps, why", [
    ("csim=fail", ["FAIL", "not run", "not run", "not run"], "csim: mismatch tile_0 out0 3 01 00"),
    ("csynth=fail", ["PASS", "FAIL", "not run", "not run"], "csynth: ERROR: [HLS 200-1] csynth went wrong"),
    ("csynth=silent", ["PASS", "FAIL", None, None], "csynth: Vitis HLS wrote no report."),
    ("csynth=broken", ["PASS", "FAIL", "PASS", "PASS"], "csynth: A synthesis report cannot be read."),
    ("cosim=fail", ["PASS", "PASS", "FAIL", "not run"], "cosim: mismatch tile_0 out0 7 01 00"),
    ("cosim=silent", ["PASS", "PASS", "FAIL", "PASS"], "cosim: Vitis HLS wrote no report."),
    ("cosim=broken", ["PASS", "PASS", "FAIL", "PASS"], "cosim: A cosimulation report has no row for Verilog."),
    ("export=fail", ["PASS", "PASS", "PASS", "FAIL"], "export: ERROR: [HLS 200-1] export went wrong")])
def test_failing_steps(stub, tmp_path, monkeypatch, kind, wrong, steps, why):
    stub(*KINDS[kind])
    monkeypatch.setenv("VITIS_STUB", wrong)
    found = run(project(tmp_path), tmp_path)
    assert not found["ok"] and found["why"].startswith(why), found["why"]
    for (name, got), want in zip(found["steps"].items(), steps, strict=True):
        assert want is None or got == want, name
    assert why in vitis.table(json.loads((tmp_path / "report.json").read_text()))


@pytest.mark.parametrize("kind", ["vitis_hls", "unified"])
def test_time_limit(stub, tmp_path, monkeypatch, kind):
    stub(*KINDS[kind])
    monkeypatch.setenv("VITIS_STUB", "csynth=hang")
    found = run(project(tmp_path), tmp_path, minutes=0.03)
    assert found["steps"]["csim"] == "PASS" and found["steps"]["csynth"] == "FAIL"
    assert found["why"] == "csynth: not finished after 0.03 minutes"


def test_interrupt_ends_the_tools_and_keeps_the_report(stub, tmp_path, monkeypatch, request):
    stub("vitis_hls")
    monkeypatch.setenv("VITIS_STUB", "csynth=hang")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in jobs that a shell has put behind
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    good, hanging = project(tmp_path, Target(TARGET.part, 250, ("csim",)), "first"), project(tmp_path, name="second")
    started = []

    def interrupt() -> None:
        log = hanging.folder / "csim_csynth_cosim_export.log"
        while not (log.exists() and "hangs" in log.read_text()):
            time.sleep(0.02)
        started.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        vitis.run([good, hanging], tools.find(), tmp_path / "report.json")
    assert time.monotonic() - started[0] < 20, "the tool and its children were ended"
    data = json.loads((tmp_path / "report.json").read_text())
    assert list(data["layers"]) == ["first"] and not data["complete"] and not data["ok"]


def test_unknown_commands_of_the_script_do_not_pass(stub, tmp_path, monkeypatch):
    """The stand-in is as strict as the tool: a wrong option or a misspelled command is an error."""
    stub("vitis_hls")
    for old, new, why in (("-trace_level", "-trace_lvl", "Unknown option '-trace_lvl'"),
                          ("csynth_design", "csyth_design", "invalid command name"),
                          ("set_part $part", "set_part $prt", "no such variable")):
        text = TCL.read_text()
        assert text.count(old) == 1
        changed = tmp_path / "run.tcl"
        changed.write_text(text.replace(old, new))
        monkeypatch.setattr("bhvit.finn_flow.hls.vitis.project.TCL", changed)
        found = run(project(tmp_path), tmp_path)
        assert not found["ok"] and why in found["why"], found["why"]


def test_unknown_step_fails(stub, tmp_path):
    stub("vitis_hls")
    p = project(tmp_path)
    p.write()
    settings = p.folder / "settings.tcl"
    settings.write_text(settings.read_text() + "set steps [list simulate]\n")
    r = subprocess.run(["vitis_hls", "-f", "run.tcl"], cwd=p.folder, capture_output=True, text=True)
    assert r.returncode == 1 and "BHVIT_STEP simulate FAIL there is no step of this name" in r.stdout


# ---- projects
@pytest.mark.parametrize("text", ["plain", "a b", "$x", "[exit]", "{", "}", 'quo"te', "back\\slash", ";", ""])
def test_tcl_quoting(text):
    tcl = tkinter.Tcl()
    tcl.eval(f"set x {tcl_word(text)}")
    assert tcl.eval("set x") == text
    tcl.eval(f"set y {tcl_list([text, 'end'])}")
    assert tcl.eval("lindex $y 0") == text and tcl.eval("llength $y") == "2"


def test_projects_say_what_they_cannot(tmp_path):
    with pytest.raises(UserError, match="with a blank in its name"):
        project(tmp_path / "my folder").write()
    wide = Threshold(dims=[1, WIDEST // 8 + 1], SIMD=WIDEST // 8 + 1)
    with pytest.raises(UserError, match=f"Vitis HLS takes at most {WIDEST}"):
        Project(HlsCase.random(wide, "wide"), tmp_path / "wide", TARGET).write()


def test_scripts_of_a_project_run_by_themselves(stub, tmp_path):
    stub("vitis_hls", "vitis-run", "v++")
    for script, solution in (("vitis_hls.sh", "prj/solution1"), ("unified.sh", "work/hls")):
        p = project(tmp_path / script.split(".")[0])
        p.write()
        r = subprocess.run([p.folder / script], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr
        assert (p.folder / solution / "sim/report/tile_0_cosim.rpt").exists()
