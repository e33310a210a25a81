"""Float parameters to fixed point: calibration, a report of what it costs layer by layer, optional fine-tuning."""

from __future__ import annotations

import platform
import resource
import shutil
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bhvit.errors import UserError
from bhvit.model import data, weights
from bhvit.model.evaluate import as_input, percent, predict, ranks
from bhvit.model.fidelity import Fidelity
from bhvit.model.network import BHViT

if TYPE_CHECKING:
    from bhvit.model.train import TrainConfig

REQUIRED = 99.0  # percent of decisions that must agree when a layer sees the float network's tensors
IMAGES, FEWEST = 256, 16  # images of calibration and report, for small and for large images
PIXELS = FEWEST * 224 * 224  # between them: as many as have so many pixels
BATCH_PIXELS = 1 << 18  # pixels in a batch of the report, whose memory they decide
DETAILS = ("quantizers", "decisions", "layers", "provenance")  # of a report; the rest is its summary


def default_images(side: int) -> int:
    """Images of calibration and of the report when no number is given: 256 of small size, 16 of 224 x 224."""
    return min(IMAGES, max(FEWEST, PIXELS // side**2))


def deploy(cfg, float_state: dict, data_spec: str, out: str | Path, *, finetune_epochs: int = 0,
           calibration_images: int | None = None, report_images: int | None = None, seed: int = 0,
           options: TrainConfig | None = None, work_dir: str | Path | None = None, quiet: bool | None = None) -> dict:
    """Turn float parameters into a deployed weight file and say what that costs.

    cfg: ModelConfig; float_state: name -> tensor, as `weights.load(..., kind="float")` gives it; data_spec: the
    calibration images are taken from its training images if it has any, otherwise from all; out: the weight file.
    calibration_images, report_images: how many (default: `default_images`); the report's are taken from the data given,
    none of them used for calibration as long as there are others. finetune_epochs > 0 also trains the fixed-point
    network (labels needed; options, work_dir: see `train`).

    Returns the report (docs/deploying.md): "agreement" (percent of images of the split with the same first class before
    and after), "logit_error" (rms, in parts of the standard deviation of the logits), "float_top1", "top1" (null
    without labels), "signs", "levels", "below" (decisions under 99 %), and row by row "layers", "decisions" and
    "quantizers". After fine-tuning: what `train` returns, and the report of before as "before_finetuning".
    Raises UserError.
    """
    out, started = Path(out), time.monotonic()
    wanted = default_images(cfg.image_size)
    calibration_images, report_images = calibration_images or wanted, report_images or wanted
    spec = data.parse(data_spec)
    held_out = data.load(spec, cfg.image_size, cfg.image_channels)
    try:
        source = data.load(data.Spec(spec.kind, spec.arg, "train"), cfg.image_size, cfg.image_channels)
    except data.NoSplit:
        source = held_out
    chosen = np.sort(np.random.RandomState(seed).permutation(len(source))[:calibration_images])
    before, after = _both(cfg, float_state, as_input(source.images[chosen]))
    report = {"model": cfg.name, "config_hash": weights.config_hash(cfg), "weights": str(out), "data": held_out.name,
              "images": len(held_out), "calibration_images": len(chosen), "calibration_data": source.name}
    report |= _outputs(before, after, held_out, batch_of(cfg.image_size), quiet)
    others = np.setdiff1d(np.arange(len(held_out)), chosen) if source.name == held_out.name else \
        np.arange(len(held_out))
    fresh = len(others) > 0
    others = others if fresh else np.arange(len(held_out))
    looked = others[np.linspace(0, len(others) - 1, min(report_images, len(others))).round().astype(int)]
    report |= {"report_images": len(looked), "report_images_used_for_calibration": not fresh}
    fidelity = Fidelity(before, after.hw).run(held_out.images[looked], batch_of(cfg.image_size), quiet)
    report |= rows(fidelity)
    weights.save(out, after.deployed_state(), cfg, {k: v for k, v in report.items() if k not in DETAILS})
    report["provenance"] = provenance(time.monotonic() - started, seed)
    if not finetune_epochs:
        return report
    from bhvit.model.train import TrainConfig, train

    options = (options or TrainConfig()).model_copy(
        update={"epochs": 0, "finetune_epochs": finetune_epochs, "calibration_images": calibration_images,
                "seed": seed})
    folder = Path(work_dir) if work_dir else out.parent / f"{out.stem}_finetuning"
    metrics = train(cfg, data_spec, folder, options, start=float_state, quiet=quiet)
    if metrics:  # empty in the second and further processes
        shutil.copyfile(folder / f"{cfg.name}.safetensors", out)
        metrics |= {"weights": str(out), "before_finetuning": report}
    return metrics


def batch_of(side: int) -> int:
    """Images in a batch of the report."""
    return max(1, min(64, BATCH_PIXELS // side**2))


def _both(cfg, float_state: dict, images: torch.Tensor) -> tuple[BHViT, BHViT]:
    """The float network and the one deployed from it, calibrated on images (N, S, S, C)."""
    pair = BHViT(cfg), BHViT(cfg)
    for net in pair:
        try:
            net.load_state_dict(float_state)
        except RuntimeError as error:
            raise UserError("The float weights do not fit the configuration.", cfg.name, str(error)[:400]) from error
        net.eval()
    pair[1].freeze(images)
    return pair


def _outputs(before: BHViT, after: BHViT, held_out, batch: int, quiet: bool | None) -> dict:
    """What the logits of both say about the whole split."""
    old = predict(before, held_out.images, batch, title="float", quiet=quiet)
    new = predict(after, held_out.images, batch, title="fixed point", quiet=quiet)
    found = {"agreement": percent(old.argmax(1) == new.argmax(1)),
             "logit_error": float(np.sqrt(np.mean((new - old) ** 2)) / max(float(old.std()), 1e-30)),
             "float_top1": None, "top1": None}
    if held_out.labels is not None:
        found |= {"float_top1": percent(ranks(old, held_out.labels) < 1),
                  "top1": percent(ranks(new, held_out.labels) < 1)}
    return found


def rows(fidelity: Fidelity) -> dict:
    """The figures of the report by layer, decision and quantizer, and their summary."""
    quantizers = [{"name": n} | s.result() for n, s in fidelity.quantizers.items()]
    decisions = [{"name": n, "layer": s.layer} | s.result() for n, s in fidelity.decisions.items()]
    layers = []
    for layer in fidelity.layers:
        inside = [q for q in quantizers if q["name"].startswith(layer.name + ".")]
        seen = fidelity.positions[layer.name]
        row = {"layer": layer.name, "float_error": inside[-1]["float_error"],
               "saturation": max(q["saturation"] for q in inside),
               "first_difference": {n: 100 * c / seen for n, c in fidelity.first[layer.name].items()}}
        for kind in ("signs", "levels"):
            row[kind] = _total([d for d in decisions if d["layer"] == layer.name and d["kind"] == kind])
        layers.append(row)
    found = {"required": REQUIRED,
             "below": [d["name"] for d in decisions if d["forced"] < REQUIRED],
             "saturated": [q["name"] for q in quantizers if q["explanation"]]}
    for kind in ("signs", "levels"):
        found[kind] = _total([d for d in decisions if d["kind"] == kind])
    return found | {"layers": layers, "decisions": decisions, "quantizers": quantizers}


def _total(decisions: list[dict]) -> dict | None:
    """All decisions of several places together: counts, agreement in percent, and the place with the least."""
    if not decisions:
        return None
    count = sum(d["count"] for d in decisions)
    worst = min(decisions, key=lambda d: d["forced"])
    share = {mode: sum(d[mode] * d["count"] for d in decisions) / count for mode in ("forced", "block", "free")}
    return {"count": count, "wrong": sum(d["wrong"] for d in decisions), **share, "worst": worst["name"],
            "worst_forced": worst["forced"]}


def provenance(seconds: float, seed: int) -> dict:
    """When and with what a report was made."""
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "seed": seed, "seconds": round(seconds, 1),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "threads": torch.get_num_threads(), "python": platform.python_version(),
            **{p: metadata.version(p) for p in ("torch", "brevitas", "numpy")}}
