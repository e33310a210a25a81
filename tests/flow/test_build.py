"""Builds: configuration errors, the step log, resuming, and a whole build of a small network."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow import build as b
from bhvit.finn_flow import ops, report
from bhvit.finn_flow.config import load_config

from . import networks


@pytest.fixture
def build_file(tmp_path):
    (tmp_path / "net.yaml").write_text("name: test\n")
    f = tmp_path / "build.yaml"
    f.write_text("model: net.yaml\nweights: {random: 3}\nboard: ZCU104\nclock_mhz: 200\ntarget_fps: 2000000\n")
    return f


def test_config(build_file):
    cfg = load_config(build_file)
    assert cfg.device == "xczu7ev-ffvc1156-2-e" and cfg.cycles == 100 and cfg.model.is_absolute()
    cfg = load_config(build_file, ["target_cycles=77", "clock_mhz=100", "weights.random=5"])
    assert cfg.cycles == 77 and cfg.target_fps is None and cfg.weights.random == 5
    assert load_config(build_file, ["part=xc7z020clg400-1"]).device == "xc7z020clg400-1"


@pytest.mark.parametrize("override, message", [
    ("clock=3", r"unknown key `clock`[\s\S]*clock_mhz"),
    ("clock_mhz=-3", "clock_mhz"),
    ("board=ZCU10", r"board `ZCU10` is not known[\s\S]*ZCU104"),
    ("weights.file=nowhere.safetensors", r"weights.file[\s\S]*does not exist|does not exist[\s\S]*nowhere"),
    ("weights={}", "file: FILE"),
    ("target_fps", "no value"),
    ("model=other.yaml", "does not exist"),
    ("backend=other", "backend"),
    ("memory=fast", r"memory[\s\S]*'fast'[\s\S]*auto"),
    ("memory.shar=0.5", r"unknown key `memory.shar`[\s\S]*`share`"),
    ("memory.share=2", r"memory.share[\s\S]*less than or equal to 1"),
    ("memory.styles={a.RAM: flash}", r"memory.styles[\s\S]*'ultra'"),
])
def test_bad_config(build_file, override, message):
    with pytest.raises(UserError, match=message):
        load_config(build_file, [override])


def fake_export(ctx, _model):
    """Stands in for the model side: the lowered test network and its golden tensors."""
    model = networks.residual(tokens=16, channels=8)
    x = networks.pixels(model, 2).astype(np.uint8)
    y = ops.execute(model, {"pixels": x})["logits"]
    ctx.onnx.parent.mkdir(parents=True, exist_ok=True)
    np.savez(ctx.onnx.with_suffix(".golden.npz"), pixels=x, logits=y)
    return ops.to_integers(model)


STEPS = (b.Step("step_bhvit_export", fake_export, ("model", "weights"), ("model",), code="model"), *b.STEPS[2:])


def run(build_file, folder, steps=STEPS, **kwargs):
    log = io.StringIO()
    perf = b.build(load_config(build_file), folder, steps=steps, echo=log, **kwargs)
    return perf, log.getvalue()


def test_build_resume_and_cosim(build_file, tmp_path, monkeypatch):
    out = tmp_path / "out"
    perf, log = run(build_file, out)
    n = len(STEPS)
    assert log.startswith("Backend: open") and f"Running step: step_bhvit_export [1/{n}]" in log
    assert perf["max_cycles"] <= 100 and perf["source"] == "estimate"
    for f in ("report/estimate_layer_cycles.json", "report/fifo_sizing.json", "report/time_per_step.json",
              "report/auto_folding_config.json", "report/memory.json", "build_dataflow.log",
              "stitched_ip/finn_design_wrapper.v", "intermediate_models/step_bhvit_fold.onnx", "build_config.json",
              "report/provenance.json"):
        assert (out / f).is_file(), f
    assert set(json.loads((out / "report/time_per_step.json").read_text())) == {s.name for s in STEPS} | {
        "total_build_time"}
    # nothing changed: everything is kept
    perf2, log = run(build_file, out)
    assert perf2 == perf and log.count("Keeping step") == n and "Running" not in log
    # a damaged file is made again, together with what follows
    victim = out / "intermediate_models/step_bhvit_size_fifos.onnx"
    victim.write_bytes(victim.read_bytes()[:-7])
    (out / "stitched_ip/rtl/bv_fifo.sv").unlink()
    _, log = run(build_file, out)
    assert log.count("Keeping step") == 3 and "Running step: step_bhvit_size_fifos" in log
    assert (out / "stitched_ip/rtl/bv_fifo.sv").is_file()
    # another target: only from the folding on
    build_file.write_text(build_file.read_text().replace("2000000", "1000000"))
    _, log = run(build_file, out)
    assert "Keeping step: step_specialize_layers" in log and "Running step: step_bhvit_fold" in log

    monkeypatch.setattr("bhvit.finn_flow.build_folder.STEPS", STEPS)
    model = networks.residual(tokens=16, channels=8)
    x = networks.pixels(model, 6, seed=9).astype(np.uint8)
    np.savez(tmp_path / "ref.npz", images=x, logits=ops.execute(model, {"pixels": x})["logits"].reshape(6, -1))
    result = b.cosim(out, reference=tmp_path / "ref.npz", images=5)
    assert result["ok"] and result["images"] == 5 and (out / "report/cosim.json").is_file()
    assert json.loads((out / "report/rtlsim_performance.json").read_text())[0]["throughput_fps"] == result["fps"]
    assert result["interval_cycles"] <= 200 * 1.02
    data, page = report.write(out)
    memory = data["memory"]
    assert memory["plan"] == "auto" and memory["fits"] and memory["total"]["bits"] == sum(
        m["bits"] for m in memory["memories"])
    text = page.read_text()
    assert "Every memory" in text and all(m["node"] in text and m["memory"] in text for m in memory["memories"])


def test_interrupted_step_starts_clean(build_file, tmp_path):
    out = tmp_path / "out"
    calls = []

    def breaks(ctx, model):
        calls.append(len(calls))
        (ctx.folder / "half").write_text("half" if len(calls) == 1 else "whole")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return model

    steps = (STEPS[0], b.Step("step_breaks", breaks, (), ("half",)))
    with pytest.raises(KeyboardInterrupt):
        run(build_file, out, steps)
    with pytest.raises(UserError, match="not finished"):
        b.load_build(out)
    _, log = run(build_file, out, steps)
    assert "Keeping step: step_bhvit_export" in log and "Running step: step_breaks" in log
    assert (out / "half").read_text() == "whole" and len(calls) == 2


def test_a_wrong_step_is_caught(build_file, tmp_path):
    def wrong(_ctx, model):
        node = next(n for n in model.graph.node if n.name == "bn")
        model.set_initializer(node.input[1], model.get_initializer(node.input[1]) + 1)
        return model

    with pytest.raises(CheckFailed, match=r"After step_wrong[\s\S]*image 0, output"):
        run(build_file, tmp_path / "out", (STEPS[0], b.Step("step_wrong", wrong)))


def test_foreign_folder_is_refused(build_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(UserError, match="holds something else"):
        run(build_file, tmp_path / "mine")
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="no build folder"):
        b.load_build(tmp_path / "mine")
