"""What a training step asks of memory: operations and bytes, counted while it runs on a CPU.

    python -m bhvit.model.train.traffic MODEL.yaml

Where layers are small and many, as here, these two and not the multiplications bound a GPU: every operation is a kernel
of its own unless a compiler fuses them. Evidence: counted, nothing is timed.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bhvit.model.config import ModelConfig, load_config
from bhvit.model.network import BHViT


class Traffic(TorchDispatchMode):
    """Counts the operations that read or write memory, and the bytes of their operands and results.

    Views count nothing; of broadcast tensors only what is stored counts; caches are not thought of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        operands, results = tensors((args, kwargs)), tensors(out)
        places = {t.untyped_storage().data_ptr() for t in operands}
        view = not func._schema.is_mutable and any(t.untyped_storage().data_ptr() in places for t in results)
        if results and not view and "empty" not in func._schema.name:
            self.operations += 1
            self.bytes += sum(map(stored, operands + results))
        return out


def tensors(values: object) -> list[Tensor]:
    """The tensors in arguments or results."""
    return [v for v in tree_leaves(values) if isinstance(v, Tensor)]


def stored(tensor: Tensor) -> int:
    """Bytes of a tensor, those that a broadcast repeats counted once."""
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride()):
        count *= size if stride else min(size, 1)
    return count


def step_traffic(cfg: ModelConfig, batch_size: int = 8) -> dict:
    """One step of the float phase: forward, cross-entropy, backward, without optimizer and teacher.

    Returns {"operations", "megabytes_per_image", "batch_size"}; weights are read once per step, so a larger
    batch moves a little less per image. Numbers are float32.
    """
    torch.manual_seed(0)
    net = BHViT(cfg).train()
    images = 255 * torch.rand(batch_size, cfg.image_size, cfg.image_size, cfg.image_channels)
    labels = torch.arange(batch_size) % cfg.classes
    net(images)  # quantizers take their start from the first images
    with Traffic() as counter:
        nn.functional.cross_entropy(net(images), labels).backward()
    return {"operations": counter.operations, "megabytes_per_image": counter.bytes / batch_size / 1e6,
            "batch_size": batch_size}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(file, step_traffic(load_config(file), batch_size=64))
