"""How fast training is: images per second and the share of the time spent on data, measured by the training itself."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np

from bhvit.model.config import ModelConfig
from bhvit.model.layers import fused as kernels
from bhvit.model.train.options import TrainConfig
from bhvit.model.train.run import train


def throughput(cfg: ModelConfig, *, images: int = 640, batch_size: int = 64, threads: int | None = None,
               fused: bool = False) -> dict:
    """Train two epochs of random images with random crops, flips and erasing, and read the second one's records.

    fused: with the fused kernels. Returns {"images_per_second", "data_share", "images", "batch_size",
    "threads", "precision"}. Validation is not in the time. The speed of a step does not depend on what the images show.
    """
    draw = np.random.default_rng(0)
    side, channels = cfg.image_size, cfg.image_channels
    arrays = {}
    for split, count in (("train", images), ("val", batch_size), ("test", batch_size)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % cfg.classes
    options = TrainConfig(epochs=2, deploy=False, batch_size=batch_size, threads=threads, warmup_epochs=0, flip=True,
                          erase=0.25, device="cpu", fused=fused)
    with tempfile.TemporaryDirectory(prefix="bhvit-throughput-") as tmp:
        np.savez(Path(tmp) / "random.npz", **arrays)
        train(cfg, f"npz:{tmp}/random.npz", Path(tmp) / "run", options, quiet=True)
        with (Path(tmp) / "run" / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
    import torch

    return {"images_per_second": float(last["images_per_second"]), "data_share": float(last["data_share"]),
            "images": images, "batch_size": batch_size, "threads": threads or torch.get_num_threads(),
            "precision": f"{kernels.map_type()}, fused kernels".removeprefix("torch.") if fused else options.precision}
