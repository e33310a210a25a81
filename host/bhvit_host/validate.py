"""Top-1 (and top-5) of the accelerator over a data set."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from .data import Data
from .progress import Progress


def validate(accelerator, data: Data, limit: int | None = None) -> dict[str, Any]:
    """Run a data set and count.

    Args: limit: only the first images.
    Returns:
        FINN's figures (`ok`, `nok`, `total`, `accuracy` in percent) and more; on the simulated device no rate.
        The class is the first of the largest logits, as in hardware and in the evaluation of the network.
    """
    total = len(data) if limit is None else min(limit, len(data))
    top1 = top5 = done = 0
    logits_known = accelerator.settings.network["output"] != "top1"
    begun = perf_counter()
    with Progress("validating", total) as bar:
        for images in data.batches(4 * accelerator.batch_size):
            images = images[:total - done]
            labels = data.labels[done:done + len(images)]
            if logits_known:
                logits = accelerator.execute(images)
                own = logits[np.arange(len(labels)), labels][:, None]
                earlier = np.arange(logits.shape[1]) < labels[:, None]
                rank = ((logits > own) | ((logits == own) & earlier)).sum(1)
                top1, top5 = top1 + int((rank < 1).sum()), top5 + int((rank < 5).sum())
            else:
                top1 += int((accelerator.execute(images, "classes") == labels).sum())
            done += len(images)
            bar.update(done, f"{100 * top1 / done:.2f} %")
            if done == total:
                break
    seconds = perf_counter() - begun
    return {"dataset": data.name, "total": total, "ok": top1, "nok": total - top1, "accuracy": 100 * top1 / total,
            "top5": 100 * top5 / total if logits_known else None, "batch_size": accelerator.batch_size,
            "images/s": None if accelerator.simulated else total / seconds, "evidence": accelerator.evidence,
            "build_hash": accelerator.settings.build_hash}
