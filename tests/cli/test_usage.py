"""Help, usage errors, JSON, quiet, warnings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bhvit.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def script(*argv, **env) -> subprocess.CompletedProcess:
    """The installed console script."""
    exe = Path(sys.executable).parent / "bhvit"
    return subprocess.run([str(exe), *map(str, argv)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **env})


def test_script():
    r = script("--help")
    assert r.returncode == 0 and all(c in r.stdout for c in COMMANDS) and "Exit codes" in r.stdout and not r.stderr
    r = script("--version")
    assert r.returncode == 0 and r.stdout.startswith("bhvit")
    r = script("count", "nowhere.yaml")
    assert r.returncode == 2 and not r.stdout and r.stderr.startswith("error: ") and "nowhere.yaml" in r.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run, command):
    r = run(command, "--help")
    assert r.code == 0 and not r.err and f"Usage: bhvit {command}" in r.out
    assert "--json" in r.out
    assert COMMANDS[command][1]


@pytest.mark.parametrize("argv, phrases", [
    (["biuld"], ["no command `biuld`", "Did you mean `build`?"]),
    (["count"], ["Missing argument 'MODEL'"]),
    (["count", "m.yaml", "--weigths", "x"], ["No such option", "--weigths"]),
    (["cosim", "x", "-n", "0"], ["-n", "x>=1"]),
    (["export", "m.yaml"], ["Missing option", "--out"]),
    (["cosim", "x", "--stalls", "soon"], ["--stalls", "not a valid integer"]),
])
def test_usage(run, argv, phrases):
    r = run(*argv)
    assert r.code == 2 and not r.out
    r.says(*phrases, "--help")
    r = run(*argv, "--json")
    assert r.code == 2 and r.json["exit_code"] == 2 and phrases[0].split()[0] in r.json["error"]


def test_json_of_an_error(run):
    r = run("count", "nowhere.yaml", "--json")
    assert r.code == 2 and r.json["where"] == "nowhere.yaml" and r.json["do"] and "error: " in r.err
    assert set(r.json) == {"error", "where", "why", "do", "exit_code"}


def test_json_of_a_result(run):
    r = run("count", ROOT / "configs/model/bhvit_micro.yaml", "--json")
    assert r.code == 0 and r.json["total"]["binary_macs"] > 0 and not r.err


def test_libraries_that_print_do_not_spoil_the_document(run, monkeypatch):
    from bhvit.model import count

    def chatty(cfg):
        print("hello from a library")
        return real(cfg)

    real = count.count

    monkeypatch.setattr(count, "count", chatty)
    r = run("count", ROOT / "configs/model/bhvit_micro.yaml", "--json")
    assert r.json["total"] and "hello" in r.err


def test_defects_are_told_from_user_errors(capsys, monkeypatch):
    from bhvit.cli.main import main
    from bhvit.model import count

    def broken(cfg):
        raise IndexError("seven")

    monkeypatch.setattr(count, "count", broken)
    with pytest.raises(SystemExit) as e:
        main(["count", str(ROOT / "configs/model/bhvit_micro.yaml"), "--json"])
    out, err = capsys.readouterr()
    assert e.value.code == 70 and "IndexError: seven" in json.loads(out)["error"] and "--debug" in err
    with pytest.raises(IndexError):
        main(["--debug", "count", str(ROOT / "configs/model/bhvit_micro.yaml")])


def test_out_of_memory(run, monkeypatch):
    from bhvit.model import count

    def hungry(cfg):
        raise MemoryError

    monkeypatch.setattr(count, "count", hungry)
    r = run("count", ROOT / "configs/model/bhvit_micro.yaml")
    assert r.code == 2
    r.says("not enough memory", "what to do")


def test_doctor(run, monkeypatch):
    r = run("doctor")
    assert r.code == 0 and "verilator" in r.out and "Vivado" in r.out
    assert run("doctor", "--json").json["missing"] == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    r = run("doctor")
    assert r.code == 2 and "MISSING" in r.out and "missing: no-such-compiler" in r.out and "disables: " in r.out
    assert run("doctor", "--json").json["missing"] == ["no-such-compiler"]


def test_no_third_party_warnings(pico, tmp_path):
    """One real export and build command at most prints progress and our own lines."""
    r = script("export", pico / "pico.yaml", "--weights", pico / "pico.safetensors", "-o", tmp_path / "n.onnx",
               "--check-images", "2", BHVIT_QUIET="1")
    assert r.returncode == 0 and r.stderr == "" and "on 2 images" in r.stdout, r.stderr


def make(*argv, **env) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *argv], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **env})


def test_make_help():
    for argv in ([], ["help"]):
        r = make(*argv)
        assert r.returncode == 0 and all(t in r.stdout for t in ("setup", "demo", "test", "lint", "doctor"))


def test_make_setup_with_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.exit(sys.version_info < (3, 11))` of an old one gives
    old.chmod(0o755)
    venv = tmp_path / "venv"
    r = make("setup", f"PYTHON={old}", f"VENV={venv}")
    assert r.returncode and "Python 3.11 or 3.12 is needed; set PYTHON=" in r.stderr and not venv.exists()
    r = make("setup", "PYTHON=/no/such/python", f"VENV={venv}")
    assert r.returncode and "Python 3.11 or 3.12 is needed" in r.stderr and not venv.exists()
