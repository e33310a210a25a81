"""`bhvit hls csim`: one layer, an unknown layer, a kernel that is missing or wrong."""

from __future__ import annotations

from bhvit.finn_flow.hls import csim


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
    assert r.code == 0 and "without an HLS kernel (23): add, affine" in r.out


def test_difference_is_a_failed_check(run, monkeypatch, tmp_path):
    def broken(cases, folder, **options):
        cases[0].expected[0][0, 0] += 1
        return simulate(cases, folder, **options)

    simulate = csim.csim
    monkeypatch.setattr(csim, "csim", broken)
    r = run("hls", "csim", "tile", "--quick", "-o", str(tmp_path))
    assert r.code == 1 and "1 of 8 cases differ" in r.err and "out0 beat 0 (frame 0, tokens 0 to 0" in r.err
