"""Learning rates: half a cosine, or warm-up, stable, decay (wsd)."""

from __future__ import annotations

import math

from bhvit.model.train.options import TrainConfig


def learning_rate(options: TrainConfig, phase: str, step: int, total: int, per_epoch: int) -> float:
    """Learning rate of step 0..total-1 of a phase.

    Linear warm-up (not in phase `fixed`), then half a cosine to zero; with schedule wsd the peak until the last
    `decay` of the epochs, then a straight line to zero. per_epoch: steps of one epoch.
    """
    if phase == "fixed":
        return options.finetune_learning_rate * _cosine(step / max(1, total))
    warmup = options.warmup_epochs * per_epoch
    if options.schedule == "wsd":  # the warm-up must not depend on `total`, which may grow
        start = options.stable_epochs(total // per_epoch) * per_epoch
        rate = (total - step) / max(1, total - start) if step >= start else 1.0
        return options.learning_rate * min(rate, (step + 1) / (warmup + 1))
    warmup = min(warmup, total / 2)
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    return options.learning_rate * _cosine((step - warmup) / max(1.0, total - warmup))


def _cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part))
