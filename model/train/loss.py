"""Losses: soft cross-entropy, weight regularization, equation 14 of the paper and the released code's mixes."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from bhvit.model.train.options import TrainConfig

REGULARIZED = re.compile(r"(^|\.)(cov\d|dense|query|key|value)\.weight$")  # as the released code chooses by name


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Labels (B,) as smoothed probabilities (B, classes): (1 - s) one-hot + s / classes."""
    return functional.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def regularized_weights(net: nn.Module) -> list[nn.Parameter]:
    """Latent weights that L_re draws to +-1: binary convolutions and linears, without the down-samplings."""
    return [p for name, p in net.named_parameters() if REGULARIZED.search(name)]


def weight_regularization(weights: list[Tensor]) -> Tensor:
    """L_re: average over the tensors of mean(| |w| - 1 |), a scalar; 0 if there are none."""
    if not weights:
        return torch.zeros(())
    return torch.stack([(w.abs() - 1).abs().mean() for w in weights]).mean()


def coefficients(options: TrainConfig, late: bool) -> tuple[float, float, float]:
    """Factors of (cross-entropy, distillation, L_re).

    Paper, equation 14: 1 - lambda - beta, lambda, beta, with beta = 0 before the last tenth of the epochs
    (`late`), and lambda = 0 without a teacher. Released code: 0.9 distillation + 0.1 L_re from the first epoch, or
    0.9 distillation + 0.1 cross-entropy when mixing was asked for (its images are not mixed), else distillation.
    """
    if options.loss == "code":
        if options.regularization > 0:
            return 0.0, 0.9, 0.1
        return (0.1, 0.9, 0.0) if options.mixup > 0 or options.cutmix > 0 else (0.0, 1.0, 0.0)
    taught = options.distillation if options.teacher else 0.0
    drawn = options.regularization if late else 0.0
    return 1 - taught - drawn, taught, drawn


def total_loss(logits: Tensor, target: Tensor, taught: Tensor | None, weights: list[Tensor],
               factors: tuple[float, float, float]) -> Tensor:
    """The weighted sum. logits (B, classes); target, taught: probabilities (B, classes), taught None without a
    teacher; weights: see `regularized_weights`; factors: see `coefficients`."""
    logits = logits.float()
    loss = logits.new_zeros(())
    if factors[0]:
        loss = loss + factors[0] * functional.cross_entropy(logits, target)
    if factors[1]:
        loss = loss + factors[1] * functional.cross_entropy(logits, taught)
    if factors[2]:
        loss = loss + factors[2] * weight_regularization(weights).to(logits.device)
    return loss
