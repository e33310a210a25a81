"""Float parameters to fixed point as a whole: report, files, refusals, fine-tuning, command line."""

import json

import numpy as np
import pytest
import torch

from bhvit.cli.main import main
from bhvit.errors import UserError
from bhvit.model import data, weights
from bhvit.model.config import ModelConfig
from bhvit.model.deploy import default_images, deploy
from bhvit.model.evaluate import predict, ranks
from bhvit.model.network import BHViT

pytestmark = pytest.mark.usefixtures("no_pictures")
CFG = ModelConfig(name="stub", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(8, 8, 16, 16),
                  depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return BHViT(CFG).state_dict()


def test_report_and_weights(state, tmp_path):
    report = deploy(CFG, state, "digits@val", tmp_path / "w", calibration_images=16, report_images=8, quiet=True)
    assert report["images"] == 179 and report["calibration_images"] == 16 and report["report_images"] == 8
    assert not report["report_images_used_for_calibration"]
    net = BHViT.from_deployed(CFG, weights.load(tmp_path / "w", CFG))
    # once more, from the file
    digits = data.load("digits@val", 16, 1)
    old = BHViT(CFG)
    old.load_state_dict(state)
    before, after = (predict(n, digits.images, quiet=True) for n in (old, net))
    assert report["top1"] == pytest.approx(100 * np.mean(ranks(after, digits.labels) < 1))
    assert report["float_top1"] == pytest.approx(100 * np.mean(ranks(before, digits.labels) < 1))
    assert report["agreement"] == pytest.approx(100 * np.mean(before.argmax(1) == after.argmax(1)))
    error = np.sqrt(np.mean((after - before) ** 2)) / before.std()
    assert report["logit_error"] == pytest.approx(error, rel=1e-4)
    # what the file remembers is the summary
    metrics = weights.info(tmp_path / "w")["metrics"]
    assert metrics["signs"] == report["signs"] and "quantizers" not in metrics
    json.dumps(report, allow_nan=False)


def test_unlabelled_images(state, tmp_path):
    report = deploy(CFG, state, "random:1", tmp_path / "w", calibration_images=8, report_images=4, quiet=True)
    assert report["top1"] is None and report["images"] == 64


def test_images_that_calibrate_are_not_reported(state, tmp_path):
    np.savez(tmp_path / "few.npz", images=np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), np.uint8))
    spec = f"npz:{tmp_path / 'few.npz'}"
    report = deploy(CFG, state, spec, tmp_path / "w", calibration_images=8, quiet=True)
    assert report["report_images"] == 4 and not report["report_images_used_for_calibration"]
    report = deploy(CFG, state, spec, tmp_path / "w", quiet=True)
    assert report["report_images"] == 12 and report["report_images_used_for_calibration"]


def test_default_numbers_of_images():
    assert [default_images(s) for s in (16, 48, 64, 224, 448)] == [256, 256, 196, 16, 16]


def test_foreign_parameters_are_refused(tmp_path):
    other = BHViT(CFG.model_copy(update={"classes": 3})).state_dict()
    with pytest.raises(UserError, match="do not fit"):
        deploy(CFG, other, "digits", tmp_path / "w", quiet=True)


def test_training_images_that_cannot_be_read_are_an_error(state, tmp_path):
    """Test images take their place only where there are none."""
    digits = data.load("digits@val", 16, 1)
    x, y = digits.images, digits.labels
    np.savez(tmp_path / "bad.npz", train_images=x[:8, :4], train_labels=y[:8], test_images=x, test_labels=y)
    with pytest.raises(UserError) as e:
        deploy(CFG, state, f"npz:{tmp_path / 'bad.npz'}", tmp_path / "w", quiet=True)
    assert not isinstance(e.value, data.NoSplit)
    np.savez(tmp_path / "test.npz", images=x, labels=y)
    told = deploy(CFG, state, f"npz:{tmp_path / 'test.npz'}", tmp_path / "w", calibration_images=8, report_images=4,
                  quiet=True)
    assert told["calibration_data"] == told["data"]


def test_fine_tuning(state, tmp_path):
    from bhvit.model.train import TrainConfig

    digits = data.load("digits@val", 16, 1)
    x, y = digits.images, digits.labels
    np.savez(tmp_path / "d.npz", train_images=x[:120], train_labels=y[:120], test_images=x[120:], test_labels=y[120:])
    result = deploy(CFG, state, f"npz:{tmp_path / 'd.npz'}", tmp_path / "w.safetensors", finetune_epochs=1,
                    calibration_images=16, report_images=4, options=TrainConfig(batch_size=32), quiet=True)
    assert result["test_images"] == 59 and result["before_finetuning"]["report_images"] == 4
    net = BHViT.from_deployed(CFG, weights.load(tmp_path / "w.safetensors", CFG))
    hits = ranks(predict(net, x[120:], quiet=True), y[120:]) < 1
    assert result["test_top1"] == pytest.approx(100 * hits.mean())


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BHVIT_QUIET", "1")
    (tmp_path / "m.yaml").write_text(json.dumps(CFG.model_dump(mode="json")))
    line = ["deploy-model", str(tmp_path / "m.yaml"), "--random-weights", "1", "--data", "random:1", "-o",
            str(tmp_path / "w.safetensors"), "--report", str(tmp_path / "r.json"), "--report-images", "4",
            "--calibration-images", "8"]

    def run(*more) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*line, *more])
        return caught.value.code, *capsys.readouterr()

    code, out, _ = run()
    assert code == 0 and "stages.2.0" in out and "first class unchanged" in out and "below 99 %" in out
    saved = json.loads((tmp_path / "r.json").read_text())
    page = (tmp_path / "r.md").read_text()
    assert all(q["name"] in page for q in saved["quantizers"]) and all(d["name"] in page for d in saved["decisions"])
    assert saved["provenance"]["command"].startswith(f"bhvit deploy-model {line[1]} --random-weights 1 --data")
    code, out, _ = run("--json")
    assert code == 0 and json.loads(out)["quantizers"] == saved["quantizers"]  # the same run gives the same numbers
    code, _, err = run("--weights", str(tmp_path / "w.safetensors"))
    assert code == 2 and "both are given" in err
    line[line.index("--report") + 1] = str(tmp_path / "r.txt")
    code, _, err = run()
    assert code == 2 and "no .json file" in err
