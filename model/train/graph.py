"""Forward and backward pass of a step as one CUDA graph.

A network of many small layers keeps a GPU waiting for Python: several thousand kernels a step, each of a few
microseconds. Recorded once, they are started by a single call. Gradients lie at the same place in every step from then
on; they are overwritten, never to be set to None.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UP = 2  # runs before the recording: libraries choose their kernels and reserve their memory in them


class StepGraph:
    """Records work(*tensors) -> Tensor, which also leaves gradients in the parameters of a network.

    net: its buffers are left as they were before the recording, which runs the work several times; examples: tensors of
    the shapes that every later call has, None where an argument is None. Raises whatever CUDA raises where the work
    cannot be recorded (it waits for the GPU, for example).
    """

    def __init__(self, net: nn.Module, work: Callable[..., Tensor], examples: list[Tensor | None]) -> None:
        self._inputs = [None if example is None else example.clone() for example in examples]
        kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                net.zero_grad(set_to_none=True)
                work(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        net.zero_grad(set_to_none=True)  # the backward pass in the graph allocates them
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = work(*self._inputs)
        for buffer, value in kept:
            buffer.copy_(value)

    def __call__(self, *tensors: Tensor | None) -> Tensor:
        """The work on other tensors; the result is overwritten by the next call."""
        for place, tensor in zip(self._inputs, tensors):
            if place is not None:
                place.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._result
