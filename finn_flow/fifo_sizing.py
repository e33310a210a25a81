"""FIFO depths by simulation.

All FIFOs start deeper than any of them can need, the input is throttled to the interval of the slowest layer, and the
high-water marks of several frames are read. A FIFO one beat deeper than its mark never stops its producer, so the sized
design runs exactly like the unlimited one. Depths then become those that cheaper memories have (:mod:`.fifo_snap`),
which is confirmed with the input unthrottled, and depths grow until the interval is kept. One compiled simulator
(``sim/fifo_model.sv``) serves all of these runs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import CheckFailed

from . import fifo_rings, graph, ops
from .fifo_snap import Snapper
from .fifo_trim import Trimmer
from .memory_plan import least_price
from .sim.design import SHORT, DesignSim, FifoState
from .sim.remembered import Remembered
from .sim.verilate import STANDSTILL, SimResult
from .stitch import stitch

#: more frames than any FIFO should ever hold
BOUND_FRAMES = 4
#: frames of the first run, enough for most pipelines, and how many sizing usually simulates in all
FIRST_FRAMES, EXPECTED_FRAMES = 12, 40
#: how much longer than the unlimited design's a sized design's interval may be
TOLERANCE = 0.01
#: growth of a FIFO cut below its mark, up to the mark
BACK = 8
#: FIFOs of fewer beats are made deeper before others: their memories have 32 beats anyway
SMALL = 32
#: beats of a row of look-up table memory; deeper FIFOs are a cycle slower
ROW = 64
#: trials of depths, and after how many a per cent more than the wanted interval will do
ROUNDS, STRICT = 12, 8


class SizingFailed(CheckFailed):
    """No depths were found with which the design runs."""


@dataclass
class Sizing:
    """Outcome: depths by FIFO name and how they were found."""

    depths: dict[str, int]
    high_water: dict[str, int]
    interval: float
    latency: int
    frames: int
    simulated_cycles: int
    rounds: int
    states: list[FifoState] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)  # cycles between frames, all of them


def round_depth(high_water: int) -> int:
    """The depth of a FIFO for a high-water mark: one spare beat, then a whole row of look-up table memory.

    What its memory has anyway, a FIFO gets when the memories are planned and it is known what they are made of.
    """
    need = high_water + 1
    return next((d for d in (2, 4, 8, 16, 32, 64) if need <= d), math.ceil(need / ROW) * ROW)


def size_fifos(model: ModelWrapper, work: Path, *, jobs: int = 2, log: Callable[[str], None] = lambda _: None,
               seed: int = 0, hls_rtl: Mapping[str, Path] | None = None,
               small: bool = False, snap: bool = True, wanted: int | None = None, ultra: bool = True,
               kept: Path | None = None) -> tuple[ModelWrapper, Sizing]:
    """Set the depth of every FIFO of a streaming graph.

    Args:
        model: streaming graph with FIFOs (see :func:`graph.insert_fifos`). work: folder for the simulator.
        hls_rtl: see :func:`.stitch.stitch`. small: look for smaller FIFOs (see :mod:`.fifo_trim`).
        kept: folder in which the result of every simulation is kept, and looked for (see :mod:`.sim.remembered`); those
            of other designs go once depths are found. None: nothing is kept.
        snap: look for depths that cheaper memories have (see :mod:`.fifo_snap`).
        wanted: interval that smaller FIFOs may not exceed where larger ones keep it. ultra: the device has UltraRAM.
    Raises:
        SizingFailed: the design stalls even with FIFOs of several frames, or the sized design cannot be confirmed.
    """
    bounds = {}
    for n in graph.fifos(model):
        bounds[n.name] = max(64, BOUND_FRAMES * ops.layer_from_node(n).inputs()[0].beats)
    big = graph.set_depths(copy.deepcopy(model), bounds)
    design = stitch(big, Path(work) / "stitched_unlimited", hls_rtl)
    short = EXPECTED_FRAMES * design.max_cycles < SHORT
    sim: DesignSim | Remembered
    sim = DesignSim(design, Path(work) / "sim", "sizing", optimize="-O0" if short else "-O1", jobs=jobs,
                    later=kept is not None)
    if kept is not None:
        sim = Remembered(sim, kept, log)
    rng = np.random.default_rng(seed)
    st = design.inputs[0]
    cycles = rounds = 0
    patience: int | None = None  # cycles without output after which a run is given up

    under_way = max((ops.layer_from_node(n).in_flight for n in model.graph.node if graph.is_loop(n)), default=0)

    def pace(r: SimResult) -> float:  # frames in engines start slowly, and leave in groups; 0: not known
        return (r.least_mean(2 * under_way) if under_way else r.pace) or 0.0

    def run(frames: int, throttle: int, depths: dict[str, int] | None, what: str) -> tuple[SimResult, list[FifoState]]:
        nonlocal cycles, rounds
        x = st.dtype.random(rng, (frames, *st.dims))
        result, states = sim.run(x, throttle=throttle, depths=depths, patience=patience)
        cycles, rounds = cycles + result.cycles, rounds + 1
        log(f"FIFO sizing: {what}: {frames} frames, {result.cycles} cycles"
            + (f", interval {found:.0f} (at the input {result.input_interval or 0:.0f})"
               if (found := pace(result)) else "") + f", status {result.status}")
        return result, states

    target = design.max_cycles
    frames = FIRST_FRAMES
    for _ in range(8):
        result, states = run(frames, target, None, "unlimited depths")
        if result.status:
            raise SizingFailed(
                "The design stalls with FIFOs of several frames.", where=_where(states),
                why="a layer waits for data that never comes: a kernel is wrong, or the graph's branches do not match",
                do="run `bhvit cosim` on the build for the failing layer, or report this network")
        # wanted: a pipeline filled by the first frames and then at least four in steady state; in engines the frames
        # that the pipeline holds take turns, and show their pace only when each has had several
        fill = math.ceil(result.latency / target)
        need = 2 * fill + 5 if under_way else fill + 5
        if frames < need:
            frames = need
        elif pace(result) > target * (1 + TOLERANCE) + 2:  # a layer is slower than it declares
            target = math.ceil(pace(result))
        else:
            break
    interval, latency = max(pace(result), float(design.max_cycles)), result.latency
    patience = 3 * result.latency + 4 * target  # a design that FIFOs block is soon known to be
    high = {s.name: s.max_count for s in states}
    fifos = {n.name: ops.layer_from_node(n) for n in graph.fifos(model)}
    widths = {n: f.inputs()[0].width for n, f in fifos.items()}
    depths = {n: round_depth(h) for n, h in high.items()}
    bound = interval * (1 + TOLERANCE) + 2
    strict = bound if wanted is None or wanted < interval else min(bound, wanted + 2)

    def keeps(r: SimResult) -> bool:
        return r.status == 0 and reached(r) <= bound

    def keeps_on(r: SimResult) -> bool:
        return keeps(r) and reached(r) <= strict

    def reached(r: SimResult) -> float:  # at the input while the pipeline is full: what leaves at the end leaves faster
        return max(pace(r) or math.inf, r.input_interval or math.inf)

    def mbit(d: Mapping[str, int]) -> float:
        return sum(d[n] * widths[n] for n in d) / 1e6

    def fill(d: dict[str, int], closed: str, count: int) -> list[FifoState]:
        nonlocal cycles, rounds
        x = st.dtype.random(rng, (count, *st.dims))
        result, states = sim.run(x, depths=d, closed=closed, patience=2 * latency + (count + 2) * target)
        cycles, rounds = cycles + result.cycles, rounds + 1
        log(f"FIFO sizing: {closed} closed: {result.cycles} cycles")
        if result.status != STANDSTILL:
            raise SizingFailed("The simulation of a closed FIFO did not end with a standstill.", closed,
                               result.log[:500], do="report this network")
        return states

    marks = depths
    if small:
        trimmer = Trimmer(model, depths, high, bounds, lambda d, what: run(frames, math.ceil(interval), d, what), keeps,
                          round_depth)
        trimmer.trim()
        log(f"FIFO sizing: {mbit(depths):.2f} Mbit become {mbit(trimmer.depths):.2f} Mbit")
        depths, high = trimmer.depths, trimmer.high
    needed = keeps_on  # until more depth would cost a lot
    untried = None if snap else []
    for attempt in range(ROUNDS):
        snapper = Snapper(depths, high, lambda d, what: run(frames, 0, d, what), needed, keeps_on,
                          lambda n, d: least_price(fifos[n].model_copy(update={"depth": d}), ultra), round_depth,
                          {n: g for n, g in graph.gates(model).items() if n in depths}, untried)
        snapper.snap()
        untried = snapper.todo
        if snapper.last:
            if depths != snapper.depths:
                log(f"FIFO sizing: {mbit(depths):.2f} Mbit become {mbit(snapper.depths):.2f} Mbit in cheaper memories")
            result, states = snapper.last
            depths = fifo_rings.secure(model, snapper.depths, fill, round_depth)
            if depths != snapper.depths:
                log(f"FIFO sizing: {mbit(snapper.depths):.2f} Mbit become {mbit(depths):.2f} Mbit, so that engines "
                    "have room for new frames")
            quicker = {n for n, d in depths.items() if d <= ROW < snapper.ran[n]}
            if depths != snapper.depths or quicker:
                result, states = run(frames, 0, depths, "as they will be")
                if quicker and not needed(result):  # branches that meet now run further apart
                    depths = {n: ROW + 1 if n in quicker else d for n, d in depths.items()}
                    result, states = run(frames, 0, depths, f"{len(quicker)} FIFOs as slow as they were")
                steady = reached(result)
                if not keeps(result):
                    break
            if isinstance(sim, Remembered):
                sim.tidy()
            return graph.set_depths(model, depths), Sizing(
                depths, high, reached(result), result.latency, frames, cycles, rounds, states,
                np.diff(result.output_frame_cycles[0]).tolist())
        assert snapper.failed
        result, states = snapper.failed
        steady = reached(result)
        full = {s.name for s in states if s.max_count >= s.depth}
        if needed is keeps_on and keeps(result) and (
                attempt >= STRICT or not any(depths[n] < max(SMALL, marks[n]) for n in full)):
            needed = keeps
            continue
        grown = grow(depths, marks, bounds, full)
        if grown == depths:
            break
        depths = grown
    raise SizingFailed("The sized design does not keep the interval of the unlimited one.", where=_where(states),
                       why=f"interval {steady} against {interval} cycles, status {result.status}",
                       do="report this network")


def grow(depths: Mapping[str, int], marks: Mapping[str, int], bounds: Mapping[str, int],
         full: set[str]) -> dict[str, int]:
    """Greater depths for FIFOs that were full: those cut below their marks, or else the smallest, or else all.

    The marks of small ones are those of an input that is throttled; where branches meet, a beat more can decide.
    """
    cut = {n for n in full if depths[n] < marks[n]}
    some = cut or {n for n in full if depths[n] < SMALL} or full
    return {n: min(marks[n], BACK * d) if n in cut else min(bounds[n], 2 * d) if n in some else d
            for n, d in depths.items()}


def _where(states: list[FifoState]) -> str:
    full = [s.name for s in states if s.full]
    starving = [s.name for s in states if s.starving]
    return f"full: {', '.join(full) or 'none'}; empty and waited for: {', '.join(starving) or 'none'}"


def report(model: ModelWrapper, sizing: Sizing | None = None) -> dict[str, Any]:
    """Contents of ``fifo_sizing.json``, FINN's keys, and ours under ``bhvit``."""
    out: dict[str, Any] = {"fifo_depths": {}, "fifo_sizes": {}, "fifo_sizes_effective": {}, "impl_style": {},
                           "ram_style": {}}
    for n in graph.fifos(model):
        layer = ops.layer_from_node(n)
        width = layer.inputs()[0].width
        out["fifo_depths"][n.name] = layer.depth
        out["fifo_sizes"][n.name] = width * layer.depth
        out["fifo_sizes_effective"][n.name] = width * math.ceil(layer.depth / 32) * 32
        out["impl_style"][n.name] = "rtl"
        out["ram_style"][n.name] = next((s.chosen for s in layer.styled_stores()), "registers")
    out["total_fifo_size_kiB"] = sum(out["fifo_sizes"].values()) / 8.0 / 1024.0
    out["total_fifo_size_effective_kiB"] = sum(out["fifo_sizes_effective"].values()) / 8.0 / 1024.0
    if sizing:
        out["bhvit"] = {"source": "RTL simulation", "high_water": sizing.high_water, "frames": sizing.frames,
                        "interval_cycles": sizing.interval, "cycles_between_frames": sizing.leaving,
                        "latency_cycles": sizing.latency,
                        "simulated_cycles": sizing.simulated_cycles, "rounds": sizing.rounds}
    return out
