"""`bhvit hls csim`: one layer, an unknown layer, a kernel that is missing or wrong."""

from __future__ import annotations

from bhvit.finn_flow.hls import csim
from bhvit.finn_flow.layers.registry import layers


def test_csim_of_one_layer(run, tmp_path):
    r = run("hls", "csim", "tile", "--quick", "-o", str(tmp_path), "--json")
    assert r.code == 0 and r.json["ok"] and list(r.json["layers"]) == ["tile"]
    assert r.json["cases"] == r.json["layers"]["tile"]["cases"] == 8 and r.json["beats"] > 100
    assert (tmp_path / "tile" / "csim.cpp").exists()


def test_unknown_layer(run):
    r = run("hls", "csim", "tille")
    assert r.code == 2 and "There is no layer `tille`. Did you mean `tile`?" in r.err and "Traceback" not in r.err


def test_layer_without_kernel(run, monkeypatch, tmp_path):
    monkeypatch.setattr(csim, "kernel", lambda cls: tmp_path / f"{cls.stem}.hpp")
    r = run("hls", "csim", "tile")
    assert r.code == 2 and "The layer `tile` has no HLS kernel." in r.err
    r = run("hls", "csim")
    assert r.code == 0 and f"without an HLS kernel ({len(layers())}): add, affine" in r.out


def test_difference_is_a_failed_check(run, monkeypatch, tmp_path):
    def broken(cases, folder, **options):
        cases[0].expected[0][0, 0] += 1
        return simulate(cases, folder, **options)

    simulate = csim.csim
    monkeypatch.setattr(csim, "csim", broken)
    r = run("hls", "csim", "tile", "--quick", "-o", str(tmp_path))
    assert r.code == 1 and "1 of 8 cases differ" in r.err and "out0 beat 0 (frame 0, tokens 0 to 0" in r.err


# ---- with AMD's tools; the flow itself is tested in tests/hls/test_vitis_flow.py
def test_cosim_without_vitis(run, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    r = run("hls", "cosim", "tile")
    assert r.code == 2 and r.out == "" and r.err.count("\n") == 1
    r.says("Vitis HLS was not found: neither `vitis-run` nor `vitis_hls` is on PATH")
    assert run("hls", "cosim", "tile", "--tool", "vitis_hls", "--json").json["exit_code"] == 2


def test_projects_for_another_machine(run, tmp_path):
    r = run("hls", "cosim", "tile", "shift", "--write-only", "-n", "1", "-o", tmp_path, "--clock", "125", "--json")
    assert r.code == 0 and r.json["projects"] == [str(tmp_path / "tile/tile_0"), str(tmp_path / "shift/shift_0")]
    assert "set period 8.000\n" in (tmp_path / "tile/tile_0/settings.tcl").read_text()


def test_project_of_a_node_of_a_build(run, built):
    r = run("hls", "cosim", "sign", "--build", built, "--write-only", "--json")
    assert r.code == 0 and r.json["projects"] == [str(built / "hls" / "sign")]
    assert "void sign(" in (built / "hls/sign/sign.cpp").read_text()
    assert run("hls", "cosim", "sing", "--build", built, "--write-only").says("did you mean sign").code == 2
    assert run("hls", "cosim", "--build", built, "--write-only").says("Name the layers of the build").code == 2


def test_steps_of_cosim(run):
    assert run("hls", "cosim", "--steps", "synthesis").says("choose from csim, csynth, cosim, export").code == 2
    assert run("hls", "cosim", "--steps", "csim,cosim").says("cosim and export need csynth").code == 2


def test_failed_step_is_a_failed_check(run, monkeypatch, tmp_path):
    for n in ("vitis_hls", "vitis-run"):
        (tmp_path / n).write_text("#!/bin/sh\necho 'ERROR: [COMMON 17-345] no licence'\nexit 1\n")
        (tmp_path / n).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    r = run("hls", "cosim", "tile", "-n", "1", "-o", tmp_path / "out", "--json")
    assert r.code == 1 and not r.json["ok"] and "1 of 1 HLS instances failed in Vitis." in r.err
    assert "tile_0: csim: ERROR: [COMMON 17-345] no licence" in r.err
    assert (tmp_path / "out" / "report.json").is_file()
