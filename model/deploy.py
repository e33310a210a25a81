"""Float parameters to fixed point: calibration, a report of what it costs, optional fine-tuning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bhvit.errors import UserError
from bhvit.model import data, weights
from bhvit.model.evaluate import as_input, percent, predict, ranks
from bhvit.model.network import BHViT
from bhvit.model.train import TrainConfig, train


def deploy(cfg, float_state: dict, data_spec: str, out: str | Path, *, finetune_epochs: int = 0,
           calibration_images: int = 256, seed: int = 0, options: TrainConfig | None = None,
           work_dir: str | Path | None = None, quiet: bool | None = None) -> dict:
    """Turn float parameters into a deployed weight file.

    cfg: ModelConfig; float_state: name -> tensor, as `weights.load(..., kind="float")` gives it; data_spec: the
    calibration images are taken from its training images if it has any, otherwise from all; out: the weight file.
    finetune_epochs > 0 also trains the fixed-point network (labels needed; options, work_dir: see `train`).
    Returns {"weights", "calibration_images", "agreement" (percent of images with the same first class before and
    after), "logit_error" (rms, relative to the spread of the logits), "float_top1", "top1" (null without labels)};
    after fine-tuning what `train` returns. Raises UserError.
    """
    out = Path(out)
    if finetune_epochs:
        options = (options or TrainConfig()).model_copy(
            update={"epochs": 0, "finetune_epochs": finetune_epochs, "calibration_images": calibration_images,
                    "seed": seed})
        folder = Path(work_dir) if work_dir else out.parent / f"{out.stem}_finetuning"
        metrics = train(cfg, data_spec, folder, options, start=float_state, quiet=quiet)
        if metrics:  # empty in the second and further processes
            shutil.copyfile(folder / f"{cfg.name}.safetensors", out)
            metrics |= {"weights": str(out)}
        return metrics
    spec = data.parse(data_spec)
    held_out = data.load(spec, cfg.image_size, cfg.image_channels)
    try:
        source = data.load(data.Spec(spec.kind, spec.arg, "train"), cfg.image_size, cfg.image_channels)
    except UserError:
        source = held_out
    chosen = np.sort(np.random.RandomState(seed).permutation(len(source))[:calibration_images])
    net = BHViT(cfg)
    try:
        net.load_state_dict(float_state)
    except RuntimeError as error:
        raise UserError("The float weights do not fit the configuration.", cfg.name, str(error)[:400]) from error
    before = predict(net, held_out.images, title="float", quiet=quiet)
    net.freeze(as_input(source.images[chosen]))
    after = predict(net, held_out.images, title="fixed point", quiet=quiet)
    report = {"weights": str(out), "data": held_out.name, "images": len(held_out),
              "calibration_images": len(chosen), "agreement": percent(before.argmax(1) == after.argmax(1)),
              "logit_error": float(np.sqrt(np.mean((after - before) ** 2)) / max(float(before.std()), 1e-30)),
              "float_top1": None, "top1": None}
    if held_out.labels is not None:
        report |= {"float_top1": percent(ranks(before, held_out.labels) < 1),
                   "top1": percent(ranks(after, held_out.labels) < 1)}
    weights.save(out, net.deployed_state(), cfg, report)
    return report
