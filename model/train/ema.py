"""An average of the network over the steps, with weights that fall exponentially."""

from __future__ import annotations

import torch
from torch import nn


class Ema:
    """average <- d * average + (1 - d) * network after each step, d = min(decay, (1 + n) / (10 + n)) after n steps.

    Covers parameters and floating-point buffers (batch-norm statistics); everything else is the network's own.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.steps = net, decay, 0
        self.average = {name: value.detach().clone() for name, value in self._live()}

    def _live(self) -> list[tuple[str, torch.Tensor]]:
        return [*self.net.named_parameters(),
                *((name, value) for name, value in self.net.named_buffers() if value.is_floating_point())]

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present values in."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        live = [value.detach() for _, value in self._live()]
        torch._foreach_lerp_(list(self.average.values()), live, 1 - decay)
        self.steps += 1

    def state(self) -> dict:
        """A whole state dict of the averaged network."""
        own = self.net.state_dict()
        return {name: self.average.get(name, value) for name, value in own.items()}

    def dump(self) -> dict:
        """What a checkpoint needs."""
        return {"steps": self.steps, "average": self.average}

    def restore(self, saved: dict) -> None:
        """Continue from a checkpoint."""
        self.steps = saved["steps"]
        for name, value in saved["average"].items():
            self.average[name].copy_(value)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the network's values and the averages; twice is as before."""
        for name, value in self._live():
            kept = value.detach().clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)
