"""`bhvit hls network` and `bhvit hls dataflow` on a finished build of the toy network."""

from __future__ import annotations

import shutil

from bhvit.finn_flow.hls import network as net


def test_network(run, built, monkeypatch):
    r = run("hls", "network", built, "-n", "2", "-j", "1", "--json")
    assert r.code == 0 and r.json["ok"] and r.json["frames"] == 2 and r.json["failures"] == []
    assert r.json["programs"]["compiled"] == r.json["programs"]["programs"] >= 1 and r.json["values"] > 1000
    assert (built / "cppsim" / "program_00" / "csim.cpp").is_file()

    def wrong(model, images):
        result = compare(model, images)
        result.failures.append("sign (BvThreshold_hls): 1 of 3 values differ")
        return result

    compare = net.compare
    monkeypatch.setattr(net, "compare", wrong)
    r = run("hls", "network", built, "-n", "1", "-j", "1")
    assert r.code == 1 and "0 compiled" in r.out and "1 tensors differ" in r.out and "sign (BvThreshold_hls)" in r.err


def test_dataflow(run, built):
    r = run("hls", "dataflow", built, "-n", "2", "-j", "1", "--json")
    assert r.code == 0 and r.json["ok"] and r.json["frames"] == 2 and r.json["beats"] > 100
    assert r.json["processes"] >= 7 and min(r.json["fifos"].values()) >= 2
    r = run("hls", "dataflow", built, "stage1_block1")
    assert r.code == 2 and "No node of the network is called `stage1_block1_...`" in r.err
    r = run("hls", "dataflow", built, "--depth", "skip")
    assert r.code == 2 and "`--depth skip` is no depth" in r.err
    r = run("hls", "dataflow", built, "--depth", "mix_out0_fio=3")
    assert r.code == 2 and "has no FIFO `mix_out0_fio`" in r.err and "did you mean" in r.err


def test_folders_that_cannot_be_used(run, built, tmp_path):
    r = run("hls", "network", tmp_path)
    assert r.code == 2 and "The folder has no hardware graph." in r.err and "bhvit build" in r.err
    shutil.rmtree(built / "model")
    r = run("hls", "dataflow", built)
    assert r.code == 2 and "golden tensors cannot be read" in r.err
