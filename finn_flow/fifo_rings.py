"""Room for all frames of an engine: what its gate lets in must fit behind it.

The gate of an engine (layer `loop`) takes a returning frame only between two frames. While it lets a new one in, the
engine's exit waits; if the engine is full before that frame is completely inside, both wait for ever. Elsewhere a
design that runs once runs always, since what layers do does not depend on time; but the gate's order does, so that no
simulation of a few frames can exclude it. It is excluded if `in_flight` frames fit into the engine with its exit
closed: the first beat of a frame stands there then, as in a standstill.

So the exit is closed in simulation, and the FIFO in front of it gets the beats that found no room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import CheckFailed

from . import graph, ops
from .sim.design import FifoState

#: simulations of one engine at most
ROUNDS = 3


class NoRoom(CheckFailed):
    """An engine cannot hold the frames that its gate lets in."""


def secure(model: ModelWrapper, depths: Mapping[str, int], run: Callable[[dict[str, int], str, int], list[FifoState]],
           rounded: Callable[[int], int]) -> dict[str, int]:
    """Depths with which every engine of a streaming graph holds all its frames, as given or greater.

    Args:
        depths: by FIFO. run: simulates depths with the output of the FIFO named closed and a number of frames at the
            input, until nothing moves any more. rounded: depth for a high-water mark.
    Raises:
        NoRoom: more depth does not help.
    """
    found = dict(depths)
    for gate in (n for n in model.graph.node if graph.is_loop(n)):
        layer = ops.layer_from_node(gate)
        first, last = ends(model, gate)
        wanted = layer.in_flight * layer.inputs()[0].beats
        for _ in range(ROUNDS):
            states = {s.name: s for s in run(found, last, layer.in_flight + 2)}
            missing = wanted - states[first].beats_in
            if missing <= 0:
                break
            found[last] = rounded(found[last] + missing)
        else:
            raise NoRoom("An engine that blocks share cannot hold the frames that its gate lets in.", gate.name,
                         f"{missing} of {wanted} beats find no room, with a FIFO of {found[last]} beats at its end",
                         "set a smaller `in_flight` for its stage in the build file")
    return found


def ends(model: ModelWrapper, gate: NodeProto) -> tuple[str, str]:
    """Names of the FIFOs behind the gate's output into the engine and in front of its input from there."""
    fifos = graph.fifos(model)
    first = next(n.name for n in fifos if n.input[0] == gate.output[0])
    last = next(n.name for n in fifos if n.output[0] == gate.input[1])
    return first, last
