"""Runs of Yosys: the passes are those of synth_xilinx, failures name the module, what is done is kept."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from bhvit.finn_flow import synth_run
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.threshold import Threshold
from bhvit.finn_flow.synth import Instance, _groups, count_cells, synthesize, synthesize_all
from bhvit.finn_flow.synth_run import BLOCK_RAMS, MAP_MEMORY, SynthesisError, Top, run, script
from bhvit.tools import Tool, yosys

GOOD = {"good.sv": "module good(input logic clk, input logic [7:0] a, output logic [7:0] y);\n"
                   "  always_ff @(posedge clk) y <= y + a;\nendmodule\n"}


def others(name: str) -> dict[str, str]:
    return {f"{name}.sv": GOOD["good.sv"].replace("module good", f"module {name}")}


@pytest.mark.parametrize("family", MAP_MEMORY)
def test_memories_are_mapped_as_synth_xilinx_does(family, work):
    """The lines here are those that this version of Yosys prints for its own step."""
    (work / "echo.ys").write_text("read_verilog <<E\nmodule dut(input a, output y); assign y = a; endmodule\nE\n"
                                  "hierarchy -top dut\necho on\n"
                                  f"synth_xilinx -family {family} -top dut -run map_memory:map_ffram\n")
    tool = yosys()
    said = subprocess.run([str(tool.path), "echo.ys"], cwd=work, env=tool.env, capture_output=True, text=True).stdout
    lines = re.findall(r"^yosys(?:\*|)> ((?:memory_libmap|techmap) .*)$", said, re.M)
    wanted = [line.replace("%rams", BLOCK_RAMS[family]) for line in MAP_MEMORY[family]]
    assert lines == wanted


def test_modules_share_a_process(work, monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(synth_run.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    found = {}
    tops = [Top(name, others(name)) for name in ("one", "two", "three")]
    run(tops, work / "log", done=lambda top, texts: found.update({top.name: texts}))
    assert len(started) == 1 and sorted(found) == ["one", "three", "two"]
    alone = count_cells("two", others("two"), work / "alone.log")
    assert alone.ff == 8 and alone.levels >= 1
    assert '"FDRE": 8' in found["two"][0] and found["two"][0] == found["three"][0].replace("three", "two")


def test_work_that_is_stopped_is_not_begun_again(work, monkeypatch):
    started, done = [], []
    popen = subprocess.Popen
    monkeypatch.setattr(synth_run.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    tops = [Top(name, others(name)) for name in ("one", "two")]
    run(tops, work / "log", done=lambda top, _: done.append(top.name), stopped=lambda: len(started) == 1)
    assert len(started) == 1 and done in ([], ["one"])


def test_a_module_that_fails_is_named_and_what_was_done_is_kept(work):
    done = []
    tops = [Top("good", GOOD), Top("bad", {"bad.sv": "module bad(output logic y); assign y = nothing; endmodule\n"}),
            Top("late", others("late"))]
    with pytest.raises(SynthesisError, match="Yosys failed at module bad") as error:
        run(tops, work / "log", done=lambda top, _: done.append(top.name))
    assert done == ["good"] and "nothing" in str(error.value) and "exit code" in str(error.value)


def fake(folder: Path, body: str) -> Tool:
    """A Yosys of a few lines of shell."""
    path = folder / "yosys"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Tool(path, {"PATH": "/usr/bin:/bin"})


def test_a_process_that_dies_silently_goes_on_behind_what_is_done(tmp_path, monkeypatch):
    """It writes one module and ends: the next process begins with the second one."""
    tool = fake(tmp_path, 'top=$(sed -n "s/^tee -q -a done log //p" run.ys | head -n 1)\n'
                          'echo s > $top.stat.json; echo c > $top.json; echo $top >> done')
    monkeypatch.setattr(synth_run, "yosys", lambda: tool)
    done = []
    run([Top(n, others(n)) for n in ("one", "two")], tmp_path / "log", done=lambda top, _: done.append(top.name))
    assert done == ["one", "two"]
    monkeypatch.setattr(synth_run, "yosys", lambda: fake(tmp_path, "exit 0"))
    with pytest.raises(SynthesisError, match="at module one"):
        run([Top("one", others("one"))], tmp_path / "log", done=lambda *_: None)


def test_no_result_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(synth_run, "yosys", lambda: fake(tmp_path, "exec sleep 60"))
    with pytest.raises(SynthesisError, match="no result after 1 s"):
        run([Top("one", others("one"))], tmp_path / "log", timeout=1, done=lambda *_: None)


def test_groups_take_the_largest_first():
    fifos = [layers()["fifo"](dims=[9, 1], dtype=f"UINT{16 * n}", depth=33) for n in range(1, 40)]
    instances = [Instance(layer, {}, "xcup", Path(str(i))) for i, layer in enumerate(fifos)]
    groups = _groups(instances)
    luts = [i.layer.resources().lut for g in groups for i in g]
    assert luts == sorted(luts, reverse=True) and len(luts) == 39 and 3 < len(groups) < 39
    assert all(len(g) <= 12 for g in groups)
    assert all(len(g) == 1 or sum(i.layer.resources().lut for i in g) <= 1500 for g in groups)


def test_results_are_kept_by_content(tmp_path, monkeypatch):
    """Equal instances are synthesized once; another constant or script makes another file."""
    layer = Threshold(**Threshold.examples()[0])
    ran = []

    def stub(tops, log, *, done, **_):
        ran.append([t.name for t in tops])
        for top in tops:
            cells = {"design": {"num_cells_by_type": {"LUT6": 3, "FDRE": 2}}}
            done(top, [json.dumps(cells), json.dumps({"modules": {top.name: {"cells": {}, "ports": {}}}})])

    monkeypatch.setattr("bhvit.finn_flow.synth.run", stub)
    told = []
    one, two = synthesize_all([(layer, None), (layer, None)], cache=tmp_path, progress=lambda n, s: told.append((n, s)))
    assert one == two and one.lut == 3 and ran == [["dut0"]] and told == [(1, "threshold")]
    assert synthesize(layer, cache=tmp_path) == one and len(ran) == 1
    assert Instance.of(layer, None, tmp_path, "xc7").kept != Instance.of(layer, None, tmp_path, "xcup").kept
    assert "BV_XC7" in script([Top("dut", {})], "xc7")
