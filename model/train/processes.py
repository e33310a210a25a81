"""Several processes (torchrun): shares of a batch, averages of gradients and statistics."""

from __future__ import annotations

import itertools
import os
import re
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import nn

from bhvit.errors import UserError

_joins = itertools.count()
_WAIT = timedelta(days=7)


@cache
def _store() -> dist.Store:
    """Where processes find each other; the first one may be its server, so it stays as long as the process."""
    return next(dist.rendezvous("env://"))[0]


class Processes:
    """The process group that torchrun describes in the environment, or a single process.

    A process may join several times, one run after the other (the rows of an ablation).
    """

    def __init__(self, device: str) -> None:
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise UserError("This is not a device.", f"device {device}", do="use auto, cpu, cuda or cuda:N")
        cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
        if cuda and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
            raise UserError("There is no such CUDA device.", f"device {device}",
                            f"{torch.cuda.device_count()} are available", "use device cpu or auto")
        name = "cpu"
        if cuda:
            name = device if ":" in device else f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.benchmark = True  # every batch has the same size
        self.device = torch.device(name)
        self._joined = self.world > 1 and not dist.is_initialized()
        if self._joined:
            self._join("nccl" if cuda else "gloo")

    def _join(self, backend: str) -> None:
        # Under the names of the run before, one process would find addresses where the others listen no more. And the
        # first one ends a run long after the others, since it alone looks at the test images: they wait here.
        store = dist.PrefixStore(f"bhvit_{next(_joins)}", _store())
        store.set(f"here_{self.rank}", "yes")
        store.wait([f"here_{rank}" for rank in range(self.world)], _WAIT)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world)

    def close(self) -> None:
        """Leave the group, if it was joined here."""
        if self._joined:
            dist.destroy_process_group()

    def average_gradients(self, parameters: list[nn.Parameter], flag: bool) -> bool:
        """Average the gradients in place; returns whether any process raised its flag (in the same message)."""
        if self.world == 1:
            return flag
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        word = torch.full((1,), float(flag), device=self.device)
        flat = torch.cat([*(parameter.grad.reshape(-1) for parameter in parameters), word])
        dist.all_reduce(flat)
        raised = bool(flat[-1] > 0)
        flat /= self.world
        for parameter, part in zip(parameters, flat[:-1].split([p.numel() for p in parameters])):
            parameter.grad.copy_(part.view_as(parameter))
        return raised

    def any(self, flag: bool) -> bool:
        """Whether some process raises its flag."""
        if self.world == 1:
            return flag
        word = torch.full((1,), float(flag), device=self.device)
        dist.all_reduce(word)
        return bool(word > 0)

    def average_buffers(self, *nets: nn.Module) -> None:
        """Average the floating-point buffers (batch-norm statistics) of networks in place."""
        if self.world > 1:
            for net in nets:
                self.average([buffer for buffer in net.buffers() if buffer.is_floating_point()])

    def first(self, results: list[tuple]) -> list[tuple]:
        """Tuples of numbers as the first process has them."""
        if self.world == 1:
            return results
        values = torch.tensor(results, dtype=torch.float64, device=self.device)
        dist.broadcast(values, 0)
        return [(loss, top1, bool(averaged)) for loss, top1, averaged in values.tolist()]

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Average tensors over the processes in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.world
