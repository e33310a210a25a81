"""What must not go wrong in hours of training: networks that diverge, files that change, processes that part."""

from __future__ import annotations

import numpy as np
import pytest
import test_train_runs as runs
import torch
from torch import nn

from bhvit.errors import UserError
from bhvit.model import data, deploy_text, weights
from bhvit.model.evaluate import ranks
from bhvit.model.layers import fused
from bhvit.model.layers.shapes import window_sum
from bhvit.model.network import BHViT
from bhvit.model.train import TrainConfig
from bhvit.model.train.ablation import ablate
from bhvit.model.train.full_precision import binary_weights
from bhvit.model.train.loop import Loop
from bhvit.model.train.processes import Processes
from bhvit.model.train.run import load_sets
from bhvit.model.train.teacher import load_teacher

CFG, run, spec, one_thread = runs.CFG, runs.run, runs.spec, runs.one_thread
pytestmark = pytest.mark.usefixtures("no_pictures")
SHORT = dict(epochs=2, finetune_epochs=1, batch_size=80, calibration_images=16)


def test_values_that_are_not_finite_hit_nothing():
    logits = np.array([[0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan], [np.inf, 0.0]])
    assert ranks(logits, np.array([1, 1, 0, 0])).tolist() == [0, 2, 2, 2]


class Cliff(runs.NormFree):
    """Its loss is finite where its gradient is not: the root at 0."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.edge = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return super().forward(images) + 0 * (self.edge - 1).abs().sqrt()


def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(spec, tmp_path):
    with pytest.raises(UserError, match="a gradient is not a finite number") as caught:
        run(spec, tmp_path, Cliff, checkpoint_seconds=1e-9, **SHORT)
    assert "another folder or with --fresh" in caught.value.do
    saved = weights.load_checkpoint(tmp_path / "checkpoint.pt", CFG)["phases"]["float"]
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_maps_are_summed_where_they_are():
    assert window_sum(torch.empty(1, 4, 4, 2, device="meta"), 2, 0).device.type == "meta"


def test_a_start_that_changed_under_its_name_is_another_run(spec, tmp_path):
    start = tmp_path / "start.safetensors"
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.save(start, BHViT(CFG).state_dict(), CFG, kind="float")
        if seed == 1:
            run(spec, tmp_path / "run", start=str(start), deploy=False, epochs=1, batch_size=80)
    with pytest.raises(UserError, match="other settings") as caught:
        run(spec, tmp_path / "run", start=str(start), deploy=False, epochs=1, batch_size=80)
    assert "contents.start" in caught.value.why


def test_a_teacher_that_changed_under_its_name_is_another_run(spec, tmp_path):
    path = tmp_path / "t.npz"
    options = dict(teacher=f"logits:{path}", deploy=False, epochs=1, batch_size=80)
    np.savez(path, logits=np.zeros((160, 10), np.float32))
    run(spec, tmp_path / "run", **options)
    run(spec, tmp_path / "run", **options)
    np.savez(path, logits=np.ones((160, 10), np.float32))
    with pytest.raises(UserError, match="other settings"):
        run(spec, tmp_path / "run", **options)


def test_a_freeze_that_fails_loses_nothing(spec, tmp_path, monkeypatch):
    def freeze(self, images):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(BHViT, "freeze", freeze)
        run(spec, tmp_path, **SHORT)
    path = tmp_path / "mini_float.safetensors"
    kept = weights.load(path, CFG, "float")
    narrower = CFG.model_copy(update={"bits": CFG.bits.model_copy(update={"multiplier": CFG.bits.multiplier - 1})})
    assert weights.load(path, narrower, "float").keys() == kept.keys()
    with pytest.raises(UserError, match="another configuration"):
        weights.load(path, CFG.model_copy(update={"heads": (1, 1)}), "float")
    phases = weights.load_checkpoint(tmp_path / "checkpoint.pt", CFG)["phases"]["float"]
    metrics = run(spec, tmp_path, **SHORT | {"calibration_images": 8})  # fewer, and no epoch again
    assert metrics["phase"] == "fixed" and metrics["float_epoch"] == phases["best_epoch"]
    again = weights.load(path, CFG, "float")
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_deployed_teacher_computes_with_integers_beside_bf16(spec, tmp_path):
    run(spec, tmp_path, **SHORT)
    import yaml

    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(CFG.model_dump(mode="json")))
    teacher = load_teacher(f"net:{tmp_path / 'mini.yaml'}:{tmp_path / 'mini.safetensors'}", 10, 1, 1,
                           torch.device("cpu"))
    images = torch.from_numpy(data.load(f"{spec}@test", 16, 1, 8).images).float()
    plain = teacher.logits(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher.logits(images), plain)
    with fused.active(torch.bfloat16):
        assert torch.equal(teacher.logits(images), plain)


def test_a_network_without_attention_has_a_summary():
    report = {"agreement": 100.0, "images": 1, "data": "x", "logit_error": 0.0, "top1": None, "signs": None,
              "levels": None, "below": [], "required": 99.0, "quantizers": [],
              "report_images_used_for_calibration": False}
    assert not any("levels" in line for line in deploy_text.summary(report))


@pytest.mark.parametrize("count", [60, 130])
def test_labels_are_counted_before_images_are_held_out(tmp_path, count):
    np.savez(tmp_path / "d.npz", train_images=np.zeros((100, 16, 16, 1), np.uint8), train_labels=np.arange(count) % 10)
    with pytest.raises(UserError, match="one non-negative integer per image"):
        data.load(f"npz:{tmp_path / 'd.npz'}@train", 16, 1)


def test_crops_come_from_whole_photographs(tmp_path):
    from PIL import Image

    for split in ("train", "val"):
        for label in ("a", "b"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for number in range(10):
                Image.new("L", (40, 20)).save(folder / f"{number}.png")
    folders = data.parse(f"imagefolder:{tmp_path}")
    assert isinstance(load_sets(folders, CFG, whole=True)["train"].images, data.FolderImages)
    assert isinstance(load_sets(folders, CFG)["train"].images, np.ndarray)


def test_every_dilated_branch_is_binary():
    four = CFG.model_copy(update={"dilations": (1, 2, 3, 4), "widths": (16, 16, 16, 16)})
    assert any(name.endswith("cov4.weight") for name in binary_weights(BHViT(four)))


@pytest.mark.parametrize("device", ["gpu", "cud", "cuda:x", "cuda:99"])
def test_devices_that_do_not_exist_are_refused(device):
    with pytest.raises(UserError, match="device"):
        Processes(device)


def test_a_run_that_was_cut_short_at_its_stable_part_can_be_made_longer(spec, tmp_path, monkeypatch):
    options = dict(batch_size=80, schedule="wsd", deploy=False, warmup_epochs=0)
    save = weights.save_checkpoint

    def dying(path, content, cfg):
        save(path, content, cfg)
        entry = content["phases"]["float"]
        if entry and entry["epoch"] == 2 and entry["step"] == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(weights, "save_checkpoint", dying)
        run(spec, tmp_path, epochs=8, decay=0.5, **options)
    run(spec, tmp_path, epochs=3, decay=0.34, **options)  # stable to epoch 2, where it stands
    metrics = run(spec, tmp_path, epochs=5, decay=0.4, **options)
    assert metrics["options"]["epochs"] == 5


def test_rows_of_an_ablation_are_checked_first(tmp_path):
    def never(*_args, **_options):
        raise AssertionError("trained before all rows were looked at")

    with pytest.raises(UserError, match="contradicts"):
        ablate("lambda", CFG, "digits", tmp_path, TrainConfig(teacher="logits:x", regularization=0.15, deploy=False),
               run=never)


def test_fused_kernels_leave_small_numbers_alone():
    fused.library(torch.float32)
    assert float(torch.tensor([1e-40]) * 2) > 0


def test_gradients_are_clipped(spec, tmp_path, monkeypatch):
    """Their norm over all parameters, after the processes have averaged them."""
    step, norms = Loop._step, []

    def watched(self, *arguments):
        told = step(self, *arguments)
        norms.append(float(torch.stack([p.grad.norm() for p in self.parameters]).norm()))
        return told

    monkeypatch.setattr(Loop, "_step", watched)
    for name, limit in (("free", 1e9), ("clipped", 0.01)):
        norms.clear()
        run(spec, tmp_path / name, runs.NormFree, max_gradient=limit, deploy=False, **SHORT)
        assert len(norms) > 1 and (min(norms) > 0.01) == (name == "free") and max(norms) < limit * 1.001
