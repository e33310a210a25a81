"""Finished builds: cosimulation, report, synthesis, record; folders that are none, or damaged."""

from __future__ import annotations

import fcntl
import json

import numpy as np
import pytest


@pytest.mark.parametrize("command", ["cosim", "report", "synth"])
def test_folder_that_is_no_build(run, tmp_path, command):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("x")
    for folder in (tmp_path / "nowhere", tmp_path / "x", tmp_path / "x" / "thesis.txt"):
        r = run(command, folder)
        assert r.code == 2 and not r.out
        r.says("error: ", str(folder), "bhvit build")
    assert [f.name for f in (tmp_path / "x").iterdir()] == ["thesis.txt"]


def test_unfinished(run, built):
    next((built / "steps").glob("*stitch*")).unlink()
    next((built / "steps").glob("*estimate*")).unlink()
    for command in ("cosim", "report", "synth"):
        r = run(command, built)
        assert r.code == 2
        r.says("not finished", "bhvit build")


def test_lost_files(run, built, reference):
    (built / "stitched_ip" / "graph.onnx").unlink()
    r = run("cosim", built, "--reference", reference)
    assert r.code == 2
    r.says("Files of the build are missing", "stitched_ip/graph.onnx", "run `bhvit build` again")


def test_cosim_data(run, built, tmp_path):
    r = run("cosim", built)
    assert r.code == 2
    r.says("either --data SPEC or --reference FILE", "neither")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 9, 9, 1), np.uint8))
    r = run("cosim", built, "--data", f"npz:{tmp_path / 'x.npz'}", "--json")
    assert r.code == 2 and r.json["exit_code"] == 2
    r.says("wrong shape", "(2, 9, 9, 1)", "(N, 16, 16, 1)")
    r = run("cosim", built, "--data", "random:1", "-n", 2)  # the toy's model file is that of another network
    assert r.code == 2
    r.says("images do not fit the design", "(16, 16, 1)", "(4, 4, 3)")


@pytest.mark.parametrize("arrays, phrase", [
    (None, "cannot be read"), ("text", "no readable npz"), ({"images": np.zeros((2, 4, 4, 3), np.uint8)}, "`logits`"),
    ({"images": np.zeros((2, 4, 4, 3), np.uint8), "logits": np.zeros((3, 128))}, "inconsistent"),
    ({"images": np.zeros((2, 4, 4, 3), np.uint8), "logits": np.full((2, 128), 0.5)}, "no integers"),
    ({"images": np.zeros((2, 4, 4, 3), np.uint8), "logits": np.zeros((2, 7))}, "7 logits"),
    ({"images": np.zeros((0, 4, 4, 3), np.uint8), "logits": np.zeros((0, 128))}, "no images"),
])
def test_cosim_reference(run, built, tmp_path, arrays, phrase):
    f = tmp_path / "r.npz"
    if isinstance(arrays, str):
        f.write_text(arrays)
    elif arrays:
        np.savez(f, **arrays)
    r = run("cosim", built, "--reference", f)
    assert r.code == 2
    r.says(phrase)


def test_cosim_results(run, built, reference, tmp_path):
    """One document on standard output, exit code 1 when the RTL differs, the place named."""
    r = run("cosim", built, "--reference", reference, "--json", "--report", tmp_path / "deep" / "r.json")
    assert r.code == 0 and r.json["ok"] and r.json == json.loads((tmp_path / "deep" / "r.json").read_text())
    assert not (built / "report" / "cosim.json").exists()
    assert run("cosim", built, "--reference", reference, "--report", tmp_path).code == 2
    with np.load(reference) as d:
        arrays = {k: d[k] for k in d.files}
    arrays["logits"][2, 5] += 1
    np.savez(tmp_path / "wrong.npz", **arrays)
    r = run("cosim", built, "--reference", tmp_path / "wrong.npz", "--json")
    assert r.code == 1 and r.json["bit_exact_images"] == 3 and not r.json["ok"]
    r.says("3 of 4 images", "frame 2, output 5")


def test_cosim_says_what_it_did(run, built, reference):
    """Fewer images than were asked for; how many FIFOs the stalls filled."""
    r = run("cosim", built, "--reference", reference, "-n", 100, "--stalls", 1)
    assert r.code == 0
    assert "all 4; there are no more (100 were asked for)" in r.out
    found = json.loads((built / "report" / "cosim_stalls_1.json").read_text())
    assert found["images_requested"] == 100 and 0 < found["fifos_that_were_full"] <= found["fifos"]
    assert f"{found['fifos_that_were_full']} of {found['fifos']} became full" in r.out
    assert "there are no more" not in run("cosim", built, "--reference", reference, "-n", 4).out


def test_changed_design_is_noted_and_simulated(run, built, reference):
    f = next((built / "stitched_ip").rglob("*.v"))
    f.write_text(f.read_text() + "\n// changed\n")
    r = run("cosim", built, "--reference", reference)
    assert r.code == 0
    r.says("changed after the build")


def test_two_simulations_share_a_build(built, reference, run):
    with (built / ".lock").open("a") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        assert run("cosim", built, "--reference", reference).code == 0


def test_report(run, built):
    r = run("report", built, "--json")
    assert r.code == 0 and r.json["layers"] and not r.err
    r = run("report", built)
    assert r.code == 0 and "mix" in r.out and "report.html" in r.out


def test_synth_of_unknown_layers(run, built):
    r = run("synth", built, "--only", "mix")
    assert r.code == 2
    r.says("no layer of the kind `mix`", "binary_linear", str(built))


def test_bench_tiny_records_a_build(run, toy, tmp_path, reference):
    out = tmp_path / "out"
    r = run("bench-tiny", toy, "-o", out, "--reference", reference, "-n", "4", "--stalled", "2", "--skip", "synth")
    assert r.code == 0 and "bit-exact 4/4, with stalls 2/2" in r.out
    record = json.loads((out / "report" / "record.json").read_text())
    limits = record["limits"]
    cosim = record["cosim"]
    assert limits["interval_cycles"] == {"limit": 100, "met": True, "reached": max(cosim["mean_interval_cycles"],
                                                                                   cosim["estimated_interval_cycles"])}
    assert limits["lut_share"]["reached"] == record["estimate"]["share"]["lut"] and limits["lut_share"]["met"]
    assert record["estimate"]["lut"] > record["estimate"]["logic_lut"] > 0 and record["board"] == "ZCU104"
    assert record["provenance"]["verilator"] and record["cosim_stalls"]["stalls"]["seed"] == 1
    with np.load(reference) as d:
        np.savez(tmp_path / "wrong.npz", images=d["images"], logits=d["logits"] + 1)
    r = run("bench-tiny", toy, "-o", out, "--reference", tmp_path / "wrong.npz", "-n", "2", "--skip", "synth", "--skip",
            "stalls")
    assert r.code == 1
    r.says("0 of 2 images are bit-exact")
