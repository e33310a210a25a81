"""Training: a short run, its files, resuming after a kill, several processes, complaints."""

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

from bhvit.errors import UserError
from bhvit.model import data, train, weights
from bhvit.model.config import ModelConfig
from bhvit.model.evaluate import evaluate, ranks

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from stub import StubNet  # noqa: E402

CFG = ModelConfig(name="stub", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(8, 8, 16, 16),
                  depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0)
SHORT = dict(epochs=3, finetune_epochs=2, batch_size=64, warmup_epochs=1, learning_rate=1e-2)
pytestmark = pytest.mark.usefixtures("no_pictures")  # but for the run of the whole module: it has them
VARYING = {"cpu_seconds", "wall_seconds", "seconds", "images_per_second", "data_share"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():  # another number of threads adds in another order
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(out, **changes):
    return train.train(CFG, "digits", out, train.TrainConfig(**(SHORT | changes)), quiet=True, build=StubNet)


def stable(metrics):
    return {key: value for key, value in metrics.items() if key not in VARYING}


def history(out):
    with open(out / "metrics.csv") as file:
        return [{key: value for key, value in row.items() if key not in VARYING} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_thread):
    out = tmp_path_factory.mktemp("finished")
    return out, run(out)


def test_short_run_learns_and_writes_its_files(finished):
    out, metrics = finished
    assert metrics["test_top1"] > 60 and metrics["test_images"] == 359
    assert {path.name for path in out.iterdir()} == {
        "stub.safetensors", "stub_float.safetensors", "metrics.csv", "metrics.json", "curves.png", "checkpoint.pt",
        "flips.csv", "flips.png", "histograms.csv", "histograms.png"}
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert [(row["phase"], row["epoch"]) for row in history(out)] == [
        *(("float", str(i)) for i in range(4)), *(("fixed", str(i)) for i in range(3))]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    net = StubNet.from_deployed(CFG, weights.load(out / "stub.safetensors", CFG))
    assert evaluate(net, data.load("digits", 16, 1), quiet=True)["top1"] == metrics["test_top1"]
    assert weights.info(out / "stub.safetensors")["metrics"]["test_top1"] == metrics["test_top1"]


def test_same_seed_same_network_other_seed_another(finished, tmp_path):
    out, metrics = finished
    assert stable(run(tmp_path / "same")) == stable(metrics)
    assert (tmp_path / "same" / "stub.safetensors").read_bytes() == (out / "stub.safetensors").read_bytes()
    run(tmp_path / "other", seed=1)
    assert (tmp_path / "other" / "stub.safetensors").read_bytes() != (out / "stub.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [1, 3, 5, 6])  # number of checkpoints written before the end comes
def test_resume_equals_an_unbroken_run(finished, tmp_path, monkeypatch, stop):
    out, metrics = finished
    save, written = weights.save_checkpoint, []

    def dying(*arguments):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(save(*arguments))

    monkeypatch.setattr(weights, "save_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(weights, "save_checkpoint", save)
    assert stable(run(tmp_path)) == stable(metrics)
    assert history(tmp_path) == history(out)
    assert (tmp_path / "stub.safetensors").read_bytes() == (out / "stub.safetensors").read_bytes()


CHILD = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
from test_train import run
from pathlib import Path
metrics = run(Path(sys.argv[1]))
"""


def test_killed_process_continues(finished, tmp_path):
    metrics = finished[1]
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoint.pt").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert stable(run(tmp_path)) == stable(metrics)


@pytest.mark.full
def test_real_network_resumes_in_the_fixed_point_phase(tmp_path, monkeypatch):
    options = train.TrainConfig(epochs=1, finetune_epochs=2, batch_size=128, calibration_images=16)
    whole = train.train(CFG, "digits", tmp_path / "whole", options, quiet=True)
    save, written = weights.save_checkpoint, []

    def dying(*arguments):
        written.append(save(*arguments))
        if len(written) == 4:  # two of the float phase, epochs 0 and 1 of the fixed-point phase
            raise KeyboardInterrupt

    monkeypatch.setattr(weights, "save_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        train.train(CFG, "digits", tmp_path / "parts", options, quiet=True)
    monkeypatch.setattr(weights, "save_checkpoint", save)
    assert stable(train.train(CFG, "digits", tmp_path / "parts", options, quiet=True)) == stable(whole)
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    files = [(tmp_path / name / "stub.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_checkpoint_of_other_settings_is_refused(finished):
    with pytest.raises(UserError, match="other settings") as caught:
        run(finished[0], learning_rate=0.5)
    assert "options.learning_rate: 0.01 there, 0.5 here" in caught.value.why


def test_complaints(tmp_path):
    with pytest.raises(UserError, match=r"(?s)needs labels.*digits, cifar10:DIR"):
        train.train(CFG, "random:0", tmp_path, quiet=True, build=StubNet)
    with pytest.raises(UserError, match="more classes"):
        train.train(CFG.model_copy(update={"classes": 4}), "digits", tmp_path, quiet=True, build=StubNet)
    with pytest.raises(UserError, match="diverged"):
        run(tmp_path, learning_rate=1e38, max_gradient=1e30, epochs=2)
    with pytest.raises(UserError, match="fewer training images"):
        run(tmp_path, batch_size=5000)


def test_learning_rate():
    options = train.TrainConfig(learning_rate=1.0, finetune_learning_rate=0.5, warmup_epochs=2)
    rates = [train.learning_rate(options, "float", step, 100, 10) for step in range(100)]
    assert np.argmax(rates) in (19, 20) and max(rates) <= 1.0 and 0 < rates[-1] < 1e-3
    assert train.learning_rate(options, "fixed", 0, 100, 10) == 0.5


def test_augment():
    images = np.random.RandomState(0).randint(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    same = train.augment(images, np.random.RandomState(1), 0.0, False)
    assert np.array_equal(same, images)
    moved = train.augment(images, np.random.RandomState(1), 0.1, True)
    assert moved.shape == images.shape and moved.dtype == torch.uint8 and not np.array_equal(moved, images)
    assert np.array_equal(moved, train.augment(images, np.random.RandomState(1), 0.1, True))


def test_ranks_break_ties_like_argmax():
    logits = np.array([[1.0, 3.0, 3.0, 2.0], [1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    assert ranks(logits, np.array([1, 2, 3])).tolist() == [0, 1, 3]


def test_evaluate_complains():
    net = StubNet(CFG)
    with pytest.raises(UserError, match="needs labels"):
        evaluate(net, data.load("random:0", 16, 1, count=4), quiet=True)
    images = data.load("digits", 16, 1, count=4)
    images.labels[0] = 11
    with pytest.raises(UserError, match="more classes"):
        evaluate(net, images, quiet=True)
