"""Cosimulation: equality and figures, stalls, and what it says when a kernel is wrong or the design stops."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow import cosim, graph, ops, stitch
from bhvit.finn_flow.sim.verilate import Stalls

from . import networks
from .test_stitch import FOLDINGS, streaming


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cosim")
    model = networks.residual()
    x = networks.pixels(model, 8).astype(np.uint8)
    want = ops.execute(model, {"pixels": x})["logits"].reshape(8, -1)
    model = streaming(model, depth=32, **FOLDINGS)
    stitch.stitch(model, folder / "stitched_ip")
    return folder, cosim.Reference(x, want, np.arange(8) % 5)


def test_equal(built, tmp_path):
    folder, ref = built
    out = cosim.cosim(folder / "stitched_ip", folder / "sim", ref, clock_mhz=250, report=tmp_path / "report/cosim.json")
    cosim.check(out)
    keys = {"images", "bit_exact_images", "distinct_outputs", "top1_torch", "top1_rtl", "latency_cycles",
            "interval_cycles", "clock_mhz", "clock_source", "fps", "stalls", "simulator", "sim_cycles_per_second",
            "backend"}
    assert keys <= set(json.loads((tmp_path / "report/cosim.json").read_text()))
    assert out["bit_exact_images"] == out["images"] == out["distinct_outputs"] == 8
    assert out["top1_rtl"] == out["top1_torch"] and out["stalls"] is None
    assert out["fps"] == pytest.approx(250e6 / out["interval_cycles"])
    assert out["latency_cycles"] > out["interval_cycles"] > 0
    stalled = cosim.cosim(folder / "stitched_ip", folder / "sim", ref, clock_mhz=250, stalls=Stalls(3, 40, 40))
    assert stalled["ok"] and stalled["interval_cycles"] is None and stalled["fps"] is None
    assert stalled["stalls"]["seed"] == 3


def test_a_wrong_kernel_is_located(built, tmp_path):
    folder, ref = built
    shutil.copytree(folder / "stitched_ip", tmp_path / "stitched_ip")
    memory = tmp_path / "stitched_ip/mem/sign_threshold.mem"
    words = memory.read_text().split()
    words[3] = f"{int(words[3], 16) ^ (1 << 9):0{len(words[3])}x}"  # the polarity of one channel
    memory.write_text("\n".join(words) + "\n")
    out = cosim.cosim(tmp_path / "stitched_ip", tmp_path / "sim", ref, clock_mhz=250)
    d = out["difference"]
    assert not out["ok"] and out["bit_exact_images"] < 8
    assert d["layer"] == "sign" and d["stem"] == "threshold" and {d["expected"], d["got"]} == {1, -1}
    assert f"frame {d['frame']}, layer sign (threshold), token {d['token']}, channel {d['channel']}" in out["message"]
    model = ops.load(tmp_path / "stitched_ip/graph.onnx")
    values = ops.execute(model, {"pixels": ref.images}, keep="*")
    t = next(n for n in model.graph.node if n.name == "sign").output[0]
    assert values[t].reshape(8, -1, 8)[d["frame"], d["token"], d["channel"]] == d["expected"]
    with pytest.raises(CheckFailed, match="layer sign"):
        cosim.check(out)


def test_a_wrong_lowering_is_told_apart(built):
    folder, ref = built
    logits = ref.logits.copy()
    logits[2, 5] += 1
    out = cosim.cosim(folder / "stitched_ip", folder / "sim", cosim.Reference(ref.images, logits), clock_mhz=250)
    assert out["bit_exact_images"] == 7 and out["difference"]["kind"] == "graph"
    assert out["difference"]["frame"] == 2 and out["difference"]["channel"] == 5
    assert out["top1_rtl"] is None


def test_a_difference_that_does_not_come_back(built, tmp_path):
    """Replays have the stalls of the run, and what is said does not blame the kernels' state alone."""
    folder, ref = built
    design = cosim.Design.load(folder / "stitched_ip")
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        run = cosim.DesignSim.run

        def asking(self, x, **kwargs):
            asked.append((len(x), kwargs["stalls"]))
            return run(self, x, **kwargs)

        patch.setattr(cosim.DesignSim, "run", asking)
        d = cosim.find_difference(design, tmp_path / "sim", ref.images, cosim.expected_outputs(ref.logits, design), 5,
                                  stalls=Stalls(3, 40, 40))
    assert asked == [(1, Stalls(3, 40, 40)), (6, Stalls(3, 40, 40))]
    assert d["kind"] == "not reproduced" and "when stalls come, or state is carried" in cosim._difference_text(d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cosim, "REPLAY_BYTES", 1)
        assert cosim.find_difference(design, tmp_path / "sim", ref.images, cosim.expected_outputs(ref.logits, design),
                                     5)["replayed_frames"] == 2


def test_a_standstill_names_the_fifos(built, tmp_path):
    folder, ref = built
    model = ops.load(folder / "stitched_ip/graph.onnx")
    depths = {n.name: 2 for n in graph.fifos(model)}
    stitch.stitch(graph.set_depths(model, depths), tmp_path / "stitched_ip")
    out = cosim.cosim(tmp_path / "stitched_ip", tmp_path / "sim", ref, clock_mhz=250)
    assert not out["ok"] and out["standstill"]["full"] and out["standstill"]["empty"]
    assert any(f["fifo"].startswith("stem_out0") for f in out["standstill"]["full"]), "the residual branch is full"
    assert out["standstill"]["cycle"] < 40_000
    assert "Full FIFOs" in out["message"]


def test_wrong_images_are_refused(built):
    folder, ref = built
    with pytest.raises(UserError, match="do not fit"):
        cosim.cosim(folder / "stitched_ip", folder / "sim", cosim.Reference(ref.images[:, :2], ref.logits), clock_mhz=1)
