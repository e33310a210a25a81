"""Whole runs: checkpoints inside epochs, extension, two processes, stages, twins, ablations."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stub import StubNet
from torch import nn

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig, parse_config
from bhvit.model.data import load
from bhvit.model.evaluate import predict
from bhvit.model.network import BHViT
from bhvit.model.train import TrainConfig, train
from bhvit.model.train.ablation import TABLES, ablate
from bhvit.model.train.convnet import ConvNet
from bhvit.model.train.full_precision import binary_weights, relax, restore, signs
from bhvit.model.train.loop import Loop
from bhvit.model.train.loss import regularized_weights

HERE = Path(__file__).parent
CFG = ModelConfig(name="mini", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(8, 8, 16, 16),
                  depths=(1, 1, 1, 1), heads=(2, 2), mlp_ratios=(2, 2, 2, 2), window=1, pool_padding=0)
pytestmark = pytest.mark.usefixtures("no_pictures")  # but for the run of a whole module: it has them
VARYING = {"seconds", "images_per_second", "data_share"}
EVERYTHING = dict(epochs=4, finetune_epochs=1, batch_size=40, warmup_epochs=1, learning_rate=3e-3, schedule="wsd",
                  decay=0.25, ema=0.9, cutmix=1.0, mixup=0.5, mix_off_epochs=1, erase=0.2, operations=1,
                  regularization=0.1, weight_decay=0.01, calibration_images=32)


@pytest.fixture(scope="module", autouse=True)
def one_thread():  # another number of threads adds in another order
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """160 training, 80 validation and 80 test digits."""
    path, arrays = tmp_path_factory.mktemp("data") / "digits.npz", {}
    for split, count in (("train", 160), ("val", 80), ("test", 80)):
        part = load(f"digits@{split}", 16, 1, count)
        arrays |= {f"{split}_images": part.images, f"{split}_labels": part.labels}
    np.savez(path, **arrays)
    return f"npz:{path}"


class NormFree(nn.Module):
    """A network without batch statistics: two processes then compute exactly what one computes."""

    def __init__(self, cfg):
        super().__init__()
        self.linear, self.frozen = nn.Linear(cfg.image_size**2 * cfg.image_channels, cfg.classes), False

    def forward(self, images):
        return self.linear(images.flatten(1) / 255)


def run(spec, out, build=BHViT, cfg=CFG, **changes):
    return train(cfg, spec, out, TrainConfig(**changes), quiet=True, build=build)


def history(out):
    with open(out / "metrics.csv") as file:
        return [{key: value for key, value in row.items() if key not in VARYING} for row in csv.DictReader(file)]


def same_run(one, two, name="mini.safetensors"):
    assert history(one) == history(two)
    assert (one / "flips.csv").read_bytes() == (two / "flips.csv").read_bytes()
    assert (one / "histograms.csv").read_bytes() == (two / "histograms.csv").read_bytes()
    a, b = ((out / name).read_bytes() for out in (one, two))
    assert a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory, spec, one_thread):
    out = tmp_path_factory.mktemp("whole")
    return out, run(spec, out, **EVERYTHING)


def test_records_of_a_run(whole):
    out, metrics = whole
    rows = history(out)
    assert [row["phase"] for row in rows] == ["float"] * 5 + ["fixed"] * 2
    assert all(0 < float(row["regularization"]) < 1 and float(row["ema_val_top1"]) >= 0 for row in rows[1:5])
    assert float(rows[4]["learning_rate"]) < float(rows[3]["learning_rate"]) == 3e-3
    best = max(max(float(row["val_top1"]), float(row["ema_val_top1"])) for row in rows[1:5])
    assert metrics["float_val_top1"] == pytest.approx(max(best, float(rows[0]["val_top1"])), abs=1e-4)
    assert {"flips.png", "histograms.png", "curves.png", "stable.pt"} <= {path.name for path in out.iterdir()}
    layers = {line.split(",")[2] for line in (out / "flips.csv").read_text().splitlines()[1:]}
    assert "vit.encoder.layerA.0.GC.cov1.weight" in layers


@pytest.mark.parametrize("build, stop", [  # within epochs of the float phase, within fine-tuning
    ("StubNet", 3), ("StubNet", 7), ("StubNet", 20), ("BHViT", 20),
    *(pytest.param("BHViT", stop, marks=pytest.mark.full) for stop in (3, 7))])
def test_a_run_that_dies_within_an_epoch_ends_with_the_same_numbers(
        whole, spec, tmp_path, monkeypatch, build, stop):
    wanted, out, build = whole[0], tmp_path / "parts", globals()[build]
    if build is StubNet:
        wanted = tmp_path / "whole"
        run(spec, wanted, build, **EVERYTHING)
    save, written = weights.save_checkpoint, []

    def dying(*arguments):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(save(*arguments))

    monkeypatch.setattr(weights, "save_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        run(spec, out, build, checkpoint_seconds=1e-9, **EVERYTHING)
    step = next(e["step"] for e in reversed(weights.load_checkpoint(out / "checkpoint.pt", CFG)["phases"].values())
                if e is not None)
    assert step > 0
    monkeypatch.setattr(weights, "save_checkpoint", save)
    run(spec, out, build, **EVERYTHING)
    same_run(wanted, out)


def test_a_run_that_dies_in_validation_trains_no_step_again(spec, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(spec, whole, StubNet, **EVERYTHING)
    validate, step, calls, steps = Loop._validate, Loop._step, [], []

    def dying(self):
        calls.append(self.name)
        if len(calls) == 4:  # the start, two of epoch 1, the first of epoch 2
            raise KeyboardInterrupt
        return validate(self)

    monkeypatch.setattr(Loop, "_validate", dying)
    with pytest.raises(KeyboardInterrupt):
        run(spec, parts, StubNet, checkpoint_seconds=1e-9, **EVERYTHING)
    entry = weights.load_checkpoint(parts / "checkpoint.pt", CFG)["phases"]["float"]
    assert (entry["epoch"], entry["step"]) == (1, 4)
    monkeypatch.setattr(Loop, "_validate", validate)
    monkeypatch.setattr(Loop, "_step", lambda self, *a: (steps.append((self.name, *a[-2:])), step(self, *a))[1])
    run(spec, parts, StubNet, **EVERYTHING)
    assert steps[0] == ("float", 3, 0)
    same_run(whole, parts)


CHILD = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
import test_train_runs as t
build = getattr(t, sys.argv[3])
t.run(sys.argv[1], Path(sys.argv[2]), build, **eval(sys.argv[4]))
"""


def test_a_killed_process_loses_no_more_than_the_checkpoint_period(spec, tmp_path):
    period, options = 0.2, EVERYTHING | {"epochs": 100_000, "batch_size": 160}
    child = subprocess.Popen([sys.executable, "-c", CHILD, spec, tmp_path, "BHViT",
                              repr(options | {"checkpoint_seconds": period})])
    path, deadline, seen = tmp_path / "checkpoint.pt", time.monotonic() + 60, []
    while len(seen) < 4 and child.poll() is None and time.monotonic() < deadline:
        if path.exists() and (not seen or path.stat().st_mtime_ns != seen[-1]):
            seen.append(path.stat().st_mtime_ns)
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    killed = time.time_ns()
    child.wait()
    assert len(seen) == 4
    assert (killed - path.stat().st_mtime_ns) / 1e9 < period + 5  # a step, and a machine shared with others
    saved = weights.load_checkpoint(path, CFG)
    assert saved["phases"]["float"]["epoch"] >= 1 and saved["wall"] > 0


def test_wsd_is_extended_from_its_stable_part(spec, tmp_path):
    longer = EVERYTHING | {"epochs": 5, "decay": 0.4, "batch_size": 80}
    run(spec, tmp_path / "direct", StubNet, **longer)
    short = longer | {"epochs": 4, "decay": 0.25, "finetune_epochs": 0}
    run(spec, tmp_path / "parts", StubNet, **short)
    stable = weights.load_checkpoint(tmp_path / "parts" / "stable.pt", CFG)
    assert stable["phases"]["float"]["epoch"] == 3
    run(spec, tmp_path / "parts", StubNet, **longer)
    same_run(tmp_path / "direct", tmp_path / "parts")
    with pytest.raises(UserError, match="longer, not shorter"):
        run(spec, tmp_path / "parts", StubNet, **longer | {"epochs": 2})
    with pytest.raises(UserError, match="other settings"):
        run(spec, tmp_path / "parts", StubNet, **longer | {"ema": 0.5})
    with pytest.raises(UserError, match="other settings"):
        run(spec, tmp_path / "direct", StubNet, **longer | {"epochs": 6, "schedule": "cosine"})


def test_the_teacher_is_heard(spec, tmp_path):
    logits = np.zeros((160, 10), np.float32)
    logits[:, 3] = 9.0
    np.savez(tmp_path / "always_three.npz", logits=logits)
    options = dict(epochs=6, batch_size=16, learning_rate=1e-2, deploy=False, shift=0.0,
                   teacher=f"logits:{tmp_path / 'always_three.npz'}")
    taught = {}
    for factor in (0.0, 1.0):
        run(spec, tmp_path / str(factor), NormFree, distillation=factor, ema=0.0, **options)
        # the last network, not the best on the labels
        saved = weights.load_checkpoint(tmp_path / str(factor) / "checkpoint.pt", CFG)
        net = NormFree(CFG)
        net.load_state_dict(saved["phases"]["float"]["model"])
        found = predict(net, load(f"{spec}@test", 16, 1).images, quiet=True).argmax(1)
        taught[factor] = float((found == 3).mean())
    assert taught[1.0] == 1.0 and taught[0.0] < 0.3


@pytest.mark.parametrize("kind, options", [("full", dict(full_precision=True)), ("convnet", dict(network="convnet"))])
def test_a_teacher_teaches_and_is_not_deployed(spec, tmp_path, kind, options):
    metrics = run(spec, tmp_path / "teacher", build=None, epochs=2, batch_size=40, **options)
    path = tmp_path / "teacher" / f"mini_{kind}.safetensors"
    assert metrics["phase"] == "full" and metrics["weights"] == path.name
    assert weights.info(path)["kind"] == kind and not (tmp_path / "teacher" / "mini.safetensors").exists()
    rows = history(tmp_path / "teacher")
    assert float(rows[-1]["train_loss"]) < float(rows[1]["train_loss"])
    with pytest.raises(UserError, match="no hardware"):
        weights.load(path, CFG)
    import yaml

    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(CFG.model_dump(mode="json")))
    deploy = kind == "full"
    student = run(spec, tmp_path / "student", epochs=1, finetune_epochs=1, batch_size=40, deploy=deploy,
                  teacher=f"net:{tmp_path / 'mini.yaml'}:{path}", precision="bf16")
    assert student["phase"] == ("fixed" if deploy else "float")
    assert (tmp_path / "student" / "mini.safetensors").exists() == deploy


def test_two_stages(spec, tmp_path):
    metrics = run(spec, tmp_path, activation_epochs=2, epochs=1, batch_size=40, deploy=False)
    rows = history(tmp_path)
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("activations", "0"), ("activations", "1"), ("activations", "2"), ("float", "0"), ("float", "1")]
    assert metrics["phase"] == "float" and not (tmp_path / "mini.safetensors").exists()
    assert rows[3]["val_loss"] != rows[2]["val_loss"]  # weights are binary from there


def test_compile_that_fails_is_left_out(spec, tmp_path, monkeypatch):
    def compiler(net, **_):
        def broken(images):
            raise RuntimeError("no compiler here")
        return broken

    plain = run(spec, tmp_path / "plain", epochs=1, batch_size=80, deploy=False)
    monkeypatch.setattr(torch, "compile", compiler)
    metrics = run(spec, tmp_path / "compiled", epochs=1, batch_size=80, deploy=False, compile=True)
    assert metrics["test_top1"] == plain["test_top1"] and history(tmp_path / "plain") == history(tmp_path / "compiled")


def test_begins_with_given_weights(spec, tmp_path):
    run(spec, tmp_path / "first", epochs=2, batch_size=40, deploy=False)
    path = tmp_path / "first" / "mini_float.safetensors"
    run(spec, tmp_path / "second", epochs=1, batch_size=40, deploy=False, start=str(path))
    given = BHViT(CFG)
    given.load_state_dict(weights.load(path, CFG, "float"))
    images = load(f"{spec}@val", 16, 1)
    loss = nn.functional.cross_entropy(torch.from_numpy(predict(given, images.images, quiet=True)),
                                       torch.from_numpy(images.labels)).item()
    assert float(history(tmp_path / "second")[0]["val_loss"]) == pytest.approx(loss, rel=1e-4)
    with pytest.raises(UserError, match="holds float weights"):
        run(spec, tmp_path / "third", epochs=1, batch_size=40, full_precision=True, start=str(path))


def test_checkpoint_from_before_an_option(spec, tmp_path):
    options = dict(epochs=1, batch_size=80, deploy=False)
    run(spec, tmp_path, **options)
    saved = weights.load_checkpoint(tmp_path / "checkpoint.pt", CFG)
    del saved["identity"]["options"]["start"]
    weights.save_checkpoint(tmp_path / "checkpoint.pt", saved, CFG)
    run(spec, tmp_path, **options)  # goes on
    saved["identity"]["options"]["seed"] = 7
    weights.save_checkpoint(tmp_path / "checkpoint.pt", saved, CFG)
    with pytest.raises(UserError, match="seed: 7 there"):
        run(spec, tmp_path, **options)


def test_fused_kernels_train_as_well(spec, tmp_path):
    options = dict(epochs=4, finetune_epochs=1, batch_size=20, warmup_epochs=1, ema=0.9, calibration_images=32)
    run(spec, tmp_path / "plain", **options, deploy=False)
    first = run(spec, tmp_path / "fused", **options, fused=True)
    again = run(spec, tmp_path / "again", **options, fused=True, deploy=False)
    plain, fused = history(tmp_path / "plain"), history(tmp_path / "fused")
    assert fused[:5] == history(tmp_path / "again") and first["float_test_top1"] == again["test_top1"]
    assert fused != plain
    for ours, theirs in zip(fused[1:5], plain[1:5]):  # the same descent, but for rounding
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), rel=0.1)
    assert float(fused[4]["train_loss"]) < 0.95 * float(fused[1]["train_loss"])


def test_ablation_rows(tmp_path):
    calls = []

    def fake(cfg, data_spec, out, options, quiet=None):
        calls.append((cfg, out, options))
        return {"test_top1": 50.0 + len(calls), "val_top1": 40.0}

    result = ablate("parts", CFG, "digits", tmp_path, TrainConfig(epochs=3, deploy=False), run=fake)
    assert [row["name"] for row in result["rows"]][:3] == ["everything", "without FDL", "without RL"]
    assert [c.downsample for c, *_ in calls][:2] == ["fp", "binary"]
    assert [o.regularization for *_, o in calls][:3] == [0.1, 0.1, 0.0] and calls[0][2].epochs == 3
    assert json.loads((tmp_path / "parts.json").read_text()) == result
    table = (tmp_path / "parts.md").read_text()
    assert "3 epochs (cosine), batch 32, seed 0, float phase" in table and "| everything | 51.00 | 95.0 |" in table
    assert all(row["top1"] is not None for row in result["rows"])
    deployed = ablate("parts", CFG, "digits", tmp_path / "deployed", TrainConfig(), run=fake)["rows"]
    assert "windows always appends merge" in next(r for r in deployed if r["name"] == "without MSMHA")["reason"]
    with pytest.raises(UserError, match="needs a teacher"):
        ablate("lambda", CFG, "digits", tmp_path, run=fake)
    calls.clear()
    result = ablate("lambda", CFG, "digits", tmp_path, TrainConfig(teacher="logits:x", deploy=False), run=fake)
    assert [o.distillation for *_, o in calls] == [row.train["distillation"] for row in TABLES["lambda"][1]]
    with pytest.raises(UserError, match="no such ablation"):
        ablate("colour", CFG, "digits", tmp_path)


@pytest.mark.parametrize("row", [*TABLES["parts"][1], *TABLES["mixer"][1]], ids=lambda row: row.name)
def test_networks_of_the_rows_train_with_and_without_binarization(row):
    net = BHViT(parse_config(CFG.model_dump(mode="json") | row.model))
    images = torch.randint(0, 256, (4, 16, 16, 1)).float()
    assert len(binary_weights(net)) == len(regularized_weights(net)) + 3 * (net.config.downsample == "binary")
    assert signs(net).keys() == binary_weights(net).keys()
    binary = net(images)
    relax(net)
    net(images).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in binary_weights(net).values())
    restore(net)
    assert binary.isfinite().all()


def test_a_convolutional_teacher_refuses_tiny_images():
    with pytest.raises(UserError, match="too small"):
        ConvNet(CFG.model_copy(update={"image_size": 8}))
