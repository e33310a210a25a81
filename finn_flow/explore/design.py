"""A whole design by formulas: what a build makes of a network for a target interval, without simulation.

FIFOs are the one thing that formulas cannot tell: here each has depth 2, and the share ``memory.fifo_share`` of look-up
tables, block RAM and UltraRAM that the build file allows is left free for the depths that simulation finds.
"""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import estimate, fetch, folding, graph, memory_plan
from .. import fit as fitting
from ..config import BuildConfig, MemoryConfig
from ..devices import Device, device_of
from ..passes.share import share_stages

#: said wherever such figures are printed
FIFOS = ("every FIFO has depth 2; memory.fifo_share of LUT, BRAM18 and URAM stays free for the depths that simulation "
         "finds")
KINDS = ("lut", "bram18", "uram", "dsp")


@dataclass(frozen=True)
class Estimate:
    """A folded, planned design (evidence level: estimate).

    ``slowest``: the layer that sets the interval. ``logic_lut``: without memories; ``lut``: with those that are look-up
    tables. ``memory_mbit``: constants and buffers, those in the memory of the system included. ``share``: of the
    device, by kind. ``fullest``: the kind nearest to its limit, ``fullest_share``: its part of the limit;
    ``mean_share``: the mean of these parts.
    """

    target: int
    interval: int
    fps: float
    slowest: str
    optimize: str
    logic_lut: float
    lut: float
    bram18: int
    uram: int
    dsp: int
    memory_mbit: float
    share: dict[str, float]
    fullest: str
    fullest_share: float
    mean_share: float
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether every resource is within its limit."""
        return self.fullest_share <= 1

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits}


def device(config: BuildConfig) -> Device:
    """Resources of the build's device. Raises UserError when they are not known."""
    found = device_of(config.device)
    if found is None:
        raise UserError("The device's resources are not known.", "board or part", config.device,
                        "choose a part that finn_flow/devices.py lists, or add it there")
    return found


def room(config: BuildConfig) -> MemoryConfig:
    """Shares of the device that a design with FIFOs of depth 2 may use."""
    left, m = 1 - config.memory.fifo_share, config.memory
    return m.model_copy(update={"share": m.share * left, "lut_share": m.lut_share * left})


def limits(config: BuildConfig) -> dict[str, float]:
    """The limits by kind: of the device's look-up tables, block RAMs of 18 kbit, UltraRAMs and DSPs."""
    have, m = device(config), room(config)
    shares = {"lut": m.lut_share, "bram18": m.share, "uram": m.share, "dsp": config.memory.lut_share}
    return {k: shares[k] * getattr(have, k) for k in KINDS}


def with_engines(model: ModelWrapper, config: BuildConfig) -> ModelWrapper:
    """A copy of a specialized graph with the engines that the build's blocks share, weights outside marked."""
    model = share_stages(copy.deepcopy(model), config.share, config.in_flight)
    memory = config.memory.model_copy(update={"fetch": [s for s in config.memory.fetch if s in config.share]})
    return fetch.keep(memory_plan.keep_outside(model, memory), memory)


def fold(model: ModelWrapper, config: BuildConfig, target: int, tokens: int | None = None) -> ModelWrapper:
    """A copy of a graph with engines, folded for a target, with width converters, FIFOs of depth 2 and memory plan.

    tokens: at most so many tokens per beat, where the target allows.
    Raises:
        UserError: the target is shorter than the fastest folding of a layer.
    """
    model = copy.deepcopy(model)
    if config.optimize == "fit":
        found = fitting.fit(model, target, device(config), config.memory, tokens=tokens).foldings
    else:
        found = folding.choose(model, target, tokens=tokens)
    graph.insert_fifos(graph.insert_width_converters(folding.apply(model, found)))
    return memory_plan.plan(model, config.device, room(config), sized=False)


def measure(model: ModelWrapper, config: BuildConfig, target: int, begun: float, extra_lut: float = 0) -> Estimate:
    """What the formulas say about a planned graph. begun: ``time.monotonic()`` at the start of the work."""
    have, limit = device(config), limits(config)
    speed = estimate.performance(model, config.clock_mhz)
    memory = memory_plan.report(model, config.device, room(config))
    use = {"lut": memory["logic_lut"] + memory["total"]["lut"] + extra_lut, "bram18": memory["total"]["bram18"],
           "uram": memory["total"]["uram"], "dsp": int(estimate.layer_resources(model, config.device)["total"]["DSP"])}
    of_limit = {k: use[k] / limit[k] if limit[k] else float(use[k]) for k in KINDS}  # none there: every one is too many
    fullest = max(KINDS, key=of_limit.__getitem__)
    return Estimate(
        target, speed["max_cycles"], speed["estimated_throughput_fps"], speed["max_cycles_node_name"], config.optimize,
        round(memory["logic_lut"] + extra_lut), round(use["lut"]), use["bram18"], use["uram"], use["dsp"],
        memory_mbit=round(memory["total"]["bits"] / 1e6, 2),
        share={k: round(use[k] / max(getattr(have, k), 1), 4) for k in KINDS}, fullest=fullest,
        fullest_share=round(of_limit[fullest], 4), mean_share=round(sum(of_limit.values()) / len(KINDS), 4),
        seconds=round(time.monotonic() - begun, 2))


def estimated(model: ModelWrapper, config: BuildConfig, target: int) -> Estimate:
    """:func:`fold` and :func:`measure`; model: of :func:`with_engines`."""
    begun = time.monotonic()
    return measure(fold(model, config, target), config, target, begun)


def conditions(config: BuildConfig) -> dict[str, Any]:
    """What figures of a design rest on, for reports."""
    return {"network": config.model.stem, "device": config.device, "board": config.board,
            "clock_mhz": config.clock_mhz, "clock_source": "assumed", "source": "estimate", "fifos": FIFOS,
            "fifo_share": config.memory.fifo_share, "limits": {k: round(v, 1) for k, v in limits(config).items()},
            "has": {k: getattr(device(config), k) for k in KINDS}}


def target_of(config: BuildConfig) -> int:
    """Target interval of a build. Raises UserError where a folding file takes its place."""
    if config.cycles is None:
        raise UserError("The build has a folding file instead of a target.", "folding_file",
                        "exploring chooses foldings itself", "add `--set target_cycles=N` or `--set target_fps=N`")
    return config.cycles
