"""Integers at every quantizer of a frozen network, and the identity of its state."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import brevitas.nn as qnn
import numpy as np
import torch
from torch import Tensor, nn

from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.network import BHViT
from bhvit.model.quantizers import FixedConst, FixedQuant


def quantizers(hw: nn.Module) -> dict[str, nn.Module]:
    """Activation quantizers in module order: name (= tensor name in the exported graph) -> FixedQuant or sign."""
    constants = {f"{n}.q" for n, m in hw.named_modules() if isinstance(m, FixedConst)}
    found: dict[str, nn.Module] = {}
    for name, module in hw.named_modules():
        fixed = isinstance(module, FixedQuant) and name not in constants
        if fixed or (isinstance(module, qnn.QuantIdentity) and name.rpartition(".")[2] == "sign"):
            found[name] = module
    return found


def exponents(hw: nn.Module) -> dict[str, int]:
    """Exponent of every activation quantizer (0 for +-1)."""
    return {n: m.exponent if isinstance(m, FixedQuant) else 0 for n, m in quantizers(hw).items()}


def _integers(x: Tensor, exponent: int, bits: int) -> np.ndarray:
    kind = np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32
    return np.rint(x.detach().double().numpy() * 2.0**-exponent).astype(kind)


def run_integers(net: BHViT, images: np.ndarray | Tensor, batch: int = 64,
                 trace: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Deployed logits as integers, and with `trace` every quantizer's output.

    Args: net: frozen; images: (N, S, S, Cin) uint8 values.
    Returns: logits (N, classes) int32 in units of 2**net.logit_exponent; {tensor name: integers (N, ...)}.
    """
    if net.hw is None:
        raise RuntimeError("the network is not frozen: integers exist in the deployed phase only; call freeze first")
    net.eval()
    images = torch.as_tensor(np.asarray(images)).to(torch.float32)
    logits: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {}
    hooks = []

    def keep(name: str, exponent: int, bits: int):
        def hook(_m, _i, out):
            parts.setdefault(name, []).append(_integers(out, exponent, bits))
        return hook

    if trace:
        for name, module in quantizers(net.hw).items():
            fixed = isinstance(module, FixedQuant)
            hooks.append(module.register_forward_hook(
                keep(name, module.exponent if fixed else 0, module.bits if fixed else 2)))
    try:
        with torch.no_grad():
            for i in range(0, len(images), batch):
                logits.append(_integers(net(images[i:i + batch]), net.logit_exponent, 32))
    finally:
        for h in hooks:
            h.remove()
    return np.concatenate(logits), {k: np.concatenate(v) for k, v in parts.items()}


@contextlib.contextmanager
def counting_levels(net: BHViT) -> Iterator[np.ndarray]:
    """While it is open, every run of the frozen network adds to the yielded counts of attention levels 0..3."""
    counts = np.zeros(4, np.int64)

    def hook(module: QDAttention, inputs: tuple[Tensor, ...]) -> None:
        levels = module.levels(*map(module._heads, inputs[:2])).to(torch.int64)
        counts[:] += np.bincount(levels.numpy().ravel(), minlength=4)

    hooks = [m.register_forward_pre_hook(hook) for m in net.hw.modules() if isinstance(m, QDAttention)]
    try:
        yield counts
    finally:
        for h in hooks:
            h.remove()


def state_digest(net: BHViT) -> str:
    """sha256 (hex) of the deployed state: names, shapes and integers."""
    h = hashlib.sha256()
    for key, value in sorted(net.deployed_state().items()):
        array = value.to(torch.int64).numpy().astype("<i8")
        h.update(f"{key}:{array.shape};".encode())
        h.update(array.tobytes())
    return h.hexdigest()
