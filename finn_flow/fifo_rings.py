"""Room for all frames of an engine: what its gate lets in must fit behind it.

The gate of an engine (layer `loop`) takes a returning frame only between two frames. While it lets a new one in, the
engine's exit waits; if the engine is full before that frame is completely inside, both wait for ever. Elsewhere a
design that runs once runs always, since what layers do does not depend on time; but the gate's order does, so that no
simulation of a few frames can exclude it. Two things do, each of them alone:

* `in_flight` frames fit into the engine with its exit closed: the first beat of a frame stands there then, as in a
  standstill.
* The FIFO in front of the exit holds a frame. Let A(n) be the beats that the engine without that FIFO can have taken in
  when n have come out; a frame later it is the same engine, A(n + F) = A(n) + F. With m taken in so far, a new frame is
  let in when nothing waits at the exit, so that m <= A(n): F beats more come out into the FIFO, and
  m + F <= A(n) + F = A(n + F). Or it is let in beside a frame that leaves, and only one beside each: with D the depth
  of the FIFO, m <= A(n + D) when that began to leave, and when it has left, m + F <= A(n + D) + F = A(n + F + D).

So the exit is closed in simulation, and the FIFO in front of it gets the beats that found no room, or holds a frame.

This is about a new frame going in. That those inside can go round once it is in, at every beat of a frame, follows
from neither: it shows in a simulation in which `in_flight` frames are under way while one goes round, since what an
engine can take depends on how much has come out and not on when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from . import graph, ops
from .sim.design import FifoState

#: beats beside a frame in the FIFO in front of the exit: those that are on their way through it do not wait yet
SPARE = 8


def secure(model: ModelWrapper, depths: Mapping[str, int], run: Callable[[dict[str, int], str, int], list[FifoState]],
           rounded: Callable[[int], int]) -> dict[str, int]:
    """Depths with which every engine of a streaming graph has room for a new frame, as given or greater.

    Args:
        depths: by FIFO. run: simulates depths with the output of the FIFO named closed and a number of frames at the
            input, until nothing moves any more. rounded: depth for a high-water mark.
    """
    found = dict(depths)
    for gate in (n for n in model.graph.node if graph.is_loop(n)):
        layer = ops.layer_from_node(gate)
        first, last = ends(model, gate)
        beats = layer.inputs()[0].beats
        while found[last] < beats + SPARE:
            states = {s.name: s for s in run(found, last, layer.in_flight + 2)}
            missing = layer.in_flight * beats - states[first].beats_in
            if missing <= 0:
                break
            found[last] = rounded(min(found[last] + missing, beats + SPARE))
    return found


def ends(model: ModelWrapper, gate: NodeProto) -> tuple[str, str]:
    """Names of the FIFOs behind the gate's output into the engine and in front of its input from there."""
    fifos = graph.fifos(model)
    first = next(n.name for n in fifos if n.input[0] == gate.output[0])
    last = next(n.name for n in fifos if n.output[0] == gate.input[1])
    return first, last
