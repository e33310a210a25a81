"""Accuracy of a network: top-1 and top-5 in percent, in batches."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch import nn

from bhvit.errors import UserError
from bhvit.model.data import Dataset
from bhvit.model.layers import fused
from bhvit.progress import Progress

MANY = 1000  # images that are worth compiling kernels for: seconds once, then a third of the time


def predict(net: nn.Module, images, batch_size: int = 128, title: str = "evaluating", quiet: bool | None = None
            ) -> np.ndarray:
    """Logits of uint8 images (N, H, W, C) in eval mode: float32 (N, classes).

    The network is called with float32 pixels 0..255, NHWC, on the device where it lives; its mode is restored. Many
    images go through a deployed network in the kernels of `layers.fused_fixed` where there is a C++ compiler: the
    same values bit by bit.
    """
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device("cpu"))
    training, parts = net.training, []
    net.eval()
    try:
        with (torch.inference_mode(), Progress(title, len(images), "images", quiet=quiet) as bar,
              _kernels(net, device, len(images))):
            for start in range(0, len(images), batch_size):
                batch = as_input(images[start:start + batch_size], device)
                parts.append(net(batch).detach().float().cpu().numpy())
                bar.advance(len(batch))
    finally:
        net.train(training)
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _kernels(net: nn.Module, device: torch.device, images: int) -> contextlib.AbstractContextManager:
    if getattr(net, "frozen", False) and device.type == "cpu" and images >= MANY:
        with contextlib.suppress(UserError):  # no compiler, or no place to keep what it makes: slower, no worse
            fused.library(torch.float32)
            return fused.active(torch.float32)
    return contextlib.nullcontext()


def as_input(images, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 images (N, H, W, C) as the tensor that the network takes: float32, values 0..255, NHWC."""
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).float()


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of the true class in each row, 0 = first. logits (N, classes), labels (N,). Between equal logits the
    lower class index comes first, as in the hardware's argmax. Rows with values that are not finite have no place:
    `classes`."""
    own = logits[np.arange(len(labels)), labels][:, None]
    before = np.arange(logits.shape[1]) < labels[:, None]
    place = ((logits > own) | ((logits == own) & before)).sum(1)
    return np.where(np.isfinite(logits).all(1), place, logits.shape[1])


def evaluate(net: nn.Module, dataset: Dataset, batch_size: int = 128, quiet: bool | None = None) -> dict:
    """Evaluate a deployed (or float) network on a labelled data set.

    Returns {"data", "images", "top1", "top5", "distinct_outputs"}: percent, and the number of distinct logit
    vectors. Raises UserError if there are no labels, or labels that the network does not have.
    """
    if dataset.labels is None:
        raise UserError("Evaluation needs labels.", dataset.name, "this data has none",
                        "use class folders, an npz file with `labels`, digits or cifar10")
    logits = predict(net, dataset.images, batch_size, quiet=quiet)
    if dataset.labels.max() >= logits.shape[1]:
        raise UserError("The data has more classes than the network.", dataset.name,
                        f"largest label {dataset.labels.max()}, network classes {logits.shape[1]}")
    place = ranks(logits, dataset.labels)
    return {"data": dataset.name, "images": len(dataset), "top1": percent(place < 1), "top5": percent(place < 5),
            "distinct_outputs": len(np.unique(logits, axis=0))}


def percent(hits: np.ndarray) -> float:
    """Share of true values in percent."""
    return 100.0 * float(np.mean(hits))
