"""Float parameters to fixed point: report, refusals, fine-tuning."""

import pytest
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig
from bhvit.model.deploy import deploy
from bhvit.model.network import BHViT

CFG = ModelConfig(name="stub", image_size=16, image_channels=1, classes=10, stem_patch=2, widths=(8, 8, 16, 16),
                  depths=(1, 1, 1, 1), heads=(2, 2), window=1, pool_padding=0)


def test_deploy_reports_and_saves(tmp_path):
    torch.manual_seed(0)
    report = deploy(CFG, BHViT(CFG).state_dict(), "digits@val", tmp_path / "w", calibration_images=16, quiet=True)
    assert report["images"] == 179 and 0 <= report["top1"] <= 100 and report["calibration_images"] == 16
    BHViT.from_deployed(CFG, weights.load(tmp_path / "w", CFG))
    unlabelled = deploy(CFG, BHViT(CFG).state_dict(), "random:1", tmp_path / "w", calibration_images=8, quiet=True)
    assert unlabelled["top1"] is None and unlabelled["images"] == 64


def test_deploy_refuses_foreign_parameters(tmp_path):
    other = BHViT(CFG.model_copy(update={"classes": 3})).state_dict()
    with pytest.raises(UserError, match="do not fit"):
        deploy(CFG, other, "digits", tmp_path / "w", quiet=True)
