"""Two processes under torchrun: one launch for all that is trained here."""

import json
import os
import subprocess
import sys

import pytest
import test_train_runs as runs
import torch

from bhvit.model import weights
from bhvit.model.network import BHViT

CFG, run, history, spec, one_thread = runs.CFG, runs.run, runs.history, runs.spec, runs.one_thread
pytestmark = pytest.mark.usefixtures("no_pictures")
EQUAL = runs.EVERYTHING | {"epochs": 2, "decay": 0.5, "deploy": False, "checkpoint_seconds": 1e-9}
KEPT = dict(epochs=1, finetune_epochs=1, batch_size=80, calibration_images=16, ema=0.9)
CHILD = f"""
import os, sys, time
sys.path.insert(0, {str(runs.HERE)!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
import test_train_runs as t
from bhvit.model.train import records
from bhvit.model.train.loop import Loop
from bhvit.model.train.run import Run

records._picture = lambda *_: None
finish = Run._finish  # only the first process has this to do: the second one is at the next run before
Run._finish = lambda *args: (time.sleep(1), finish(*args))[1]
spec, out = sys.argv[1], Path(sys.argv[2])
t.run(spec, out / "equal", t.NormFree, **{EQUAL!r})
Run._finish = finish

close = Loop._close
def spy(self, entry, epoch, *rest):
    state = {{name: value.clone() for name, value in self.net.named_parameters()}}
    torch.save(state, out / f"{{self.name}}_{{epoch}}_{{os.environ['RANK']}}.pt")
    return close(self, entry, epoch, *rest)
Loop._close = spy
t.run(spec, out / "kept", **{KEPT!r})
"""


@pytest.fixture(scope="module")
def two(spec, tmp_path_factory):
    """Folder of what two processes have trained."""
    out = tmp_path_factory.mktemp("two")
    (out / "child.py").write_text(CHILD)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(out / "child.py"),
         spec, str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return out


def test_a_process_can_join_again(two):
    assert (two / "equal" / "metrics.json").exists() and (two / "kept" / "metrics.json").exists()


def test_two_processes_equal_one(two, spec, tmp_path):
    """Without batch statistics, which are those of half a batch."""
    run(spec, tmp_path, runs.NormFree, **EQUAL)
    ours, theirs = history(tmp_path), history(two / "equal")
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours[1:], theirs[1:]):
        assert a["learning_rate"] == b["learning_rate"]
        for key in ("train_loss", "train_top1", "val_loss", "val_top1", "ema_val_top1"):
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4)
    a, b = (weights.load(out / "mini_float.safetensors", CFG, "float") for out in (tmp_path, two / "equal"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


def test_processes_keep_the_same_network(two):
    for phase in ("float_1", "fixed_1"):
        a, b = (torch.load(two / f"{phase}_{rank}.pt") for rank in (0, 1))
        assert a and all(torch.equal(a[name], b[name]) for name in a), phase


def test_the_first_process_writes_the_files(two):
    metrics = json.loads((two / "kept" / "metrics.json").read_text())
    assert metrics["phase"] == "fixed" and metrics["test_images"] == 80
    assert [row["phase"] for row in history(two / "kept")] == ["float"] * 2 + ["fixed"] * 2
    BHViT.from_deployed(CFG, weights.load(two / "kept" / "mini.safetensors", CFG))
