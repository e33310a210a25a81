"""Frame rate against resources: one network folded for several target intervals, by formulas, without simulation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from .. import estimate, folding, graph, memory_plan
from ..config import MemoryConfig


@dataclass(frozen=True)
class Point:
    """One folding of the network (evidence level: estimate). Resources without FIFOs: only a simulation finds how deep
    they must be. ``slowest``: the layer that sets the interval."""

    target: int
    interval: int
    fps: float
    slowest: str
    lut: float
    bram18: int
    uram: int
    dsp: int


def sweep(model: ModelWrapper, targets: Iterable[int], *, part: str, clock_mhz: float,
          progress: Callable[[Point], None] | None = None) -> list[Point]:
    """Fold a network for each target.

    Args:
        model: graph of the step ``step_specialize_layers`` (:func:`.build.graph_after`); it is not changed.
        targets: intervals in clock cycles per frame. part: device, for the plan of the memories.
    Raises:
        UserError: a target is shorter than the fastest folding of a layer.
    """
    points = []
    for target in targets:
        m = copy.deepcopy(model)
        folding.apply(m, folding.choose(m, target))
        graph.insert_width_converters(m)
        m = memory_plan.plan(m, part, MemoryConfig())
        points.append(point(m, target, part, clock_mhz))
        if progress:
            progress(points[-1])
    return points


def point(model: ModelWrapper, target: int, part: str, clock_mhz: float) -> Point:
    """What the formulas say about a folded graph; its FIFOs are left out, so that graphs compare."""
    p = estimate.performance(model, clock_mhz)
    fifos = {n.name for n in graph.fifos(model)}
    found = {name: r for name, r in estimate.layer_resources(model, part).items() if name not in fifos | {"total"}}
    lut, bram, uram, dsp = (sum(r[k] for r in found.values()) for k in ("LUT", "BRAM_18K", "URAM", "DSP"))
    return Point(target, p["max_cycles"], p["estimated_throughput_fps"], p["max_cycles_node_name"], lut, int(bram),
                 int(uram), int(dsp))
