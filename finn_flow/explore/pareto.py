"""Frame rate against resources on a device: a curve of foldings, the fastest that fits, the smallest for a frame rate.

Designs need not become smaller with every longer target: the search for the fastest that fits takes it for granted, and
what it finds is the fastest of all designs that were looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import ops
from ..config import BuildConfig
from ..fold_search import candidates
from ..prices import DEFAULT
from .design import FIFOS, KINDS, Estimate, conditions, estimated, target_of

#: factors of the build's target that the curve takes, half an octave apart
FACTORS = tuple(2 ** (k / 2) for k in range(-4, 7))
#: intervals between which the fastest that fits lies, as a ratio, before the search ends; searches at most
NEAR, HALVINGS = 1.03, 6


def fastest(model: ModelWrapper) -> tuple[int, str]:
    """Least interval that the fastest folding of every layer reaches, and the layer that sets it."""
    least = {n.name: min(c[0] for c in candidates(ops.layer_from_node(n), DEFAULT)) for n in model.graph.node}
    name = max(least, key=least.__getitem__)
    return least[name], name


def series(target: int, least: int) -> list[int]:
    """Targets around that of the build, none shorter than ``least``, the shortest first."""
    return sorted({max(least, round(target * f)) for f in FACTORS})


def front(points: Sequence[Estimate]) -> list[Estimate]:
    """Those that no other beats or equals in everything; of equals the first."""
    def better(a: Estimate, b: Estimate) -> bool:
        no_worse = a.fps >= b.fps and all(getattr(a, k) <= getattr(b, k) for k in KINDS)
        return no_worse and (a.fps > b.fps or any(getattr(a, k) < getattr(b, k) for k in KINDS))

    alike = {(p.fps, *(getattr(p, k) for k in KINDS)): p for p in reversed(points)}  # of equals the first stays
    return [p for p in points if any(p is q for q in alike.values()) and not any(better(q, p) for q in points)]


def explore(model: ModelWrapper, config: BuildConfig, *, targets: Sequence[int] | None = None,
            fps: float | None = None, progress: Callable[[Estimate], None] | None = None) -> dict[str, Any]:
    """The curve and its answers.

    Args:
        model: of :func:`.design.with_engines`; not changed. config: its ``optimize`` says how foldings are chosen.
        targets: intervals in cycles per frame (default: :func:`series`). fps: a frame rate that is wanted.
    Returns:
        :func:`.design.conditions`, "points" by interval, "best": the fastest that fits or None, "wanted_fps" and
        "smallest": of those that reach it and fit that with the least mean share of the limits, where none fits that
        which exceeds them least; "fastest": least interval of any folding and the layer that sets it, "seconds".
    Raises:
        UserError: a target, or the frame rate, is beyond the fastest folding of a layer.
    """
    begun = time.monotonic()
    least, slowest = fastest(model)
    wanted = None if fps is None else int(config.clock_mhz * 1e6 / fps)
    if wanted is not None and wanted < least:
        raise UserError(f"{fps:g} frames/s at {config.clock_mhz:g} MHz cannot be met.", "--fps",
                        f"layer {slowest} takes {least} cycles per frame in its fastest folding, and {wanted} are left",
                        f"ask for {config.clock_mhz * 1e6 / least:,.0f} frames/s at most")
    points: list[Estimate] = []

    def look(target: int) -> Estimate:
        points.append(estimated(model, config, target))
        if progress:
            progress(points[-1])
        return points[-1]

    for t in sorted(set(targets or series(target_of(config), least)) | ({wanted} if wanted else set())):
        look(t)
    best = _fastest_that_fits(points, look)
    points.sort(key=lambda p: (p.interval, p.target))
    ahead = front(points)
    reach = [p for p in points if fps is not None and p.fps >= fps]
    smallest = min(reach, key=lambda p: (max(1.0, p.fullest_share), p.mean_share), default=None)
    return {**conditions(config), "points": [{**p.row(), "front": p in ahead} for p in points],
            "best": best and best.row(), "wanted_fps": fps, "smallest": smallest and smallest.row(),
            "fastest": {"interval": least, "layer": slowest}, "seconds": round(time.monotonic() - begun, 1)}


def _fastest_that_fits(points: list[Estimate], look: Callable[[int], Estimate]) -> Estimate | None:
    """Halves, on a logarithmic scale, what lies between the shortest target that fits and the next that does not."""
    good = [p for p in points if p.fits]
    if not good:
        return None
    high = min(p.interval for p in good)
    low = max((p.target for p in points if not p.fits and p.target < high), default=high)
    for _ in range(HALVINGS):
        if high <= low * NEAR:
            break
        middle = look(round(math.sqrt(low * high)))
        if middle.fits:
            high = min(high, middle.interval)
        else:
            low = middle.target
    return min((p for p in points if p.fits), key=lambda p: p.interval)


def _row(p: dict[str, Any]) -> str:
    use = " | ".join(f"{p[k]:,} ({100 * p['share'][k]:.0f} %)" for k in KINDS)
    return (f"| {p['target']:,} | {p['interval']:,} | {p['fps']:,.0f} | {use} | {p['memory_mbit']:.1f} | "
            f"{p['fullest']} {100 * p['fullest_share']:.1f} % | {'yes' if p['fits'] else 'no'} |")


def markdown(data: dict[str, Any]) -> str:
    """The answers and the curve as text and a table."""
    limit = ", ".join(f"{v:,.0f} {k}" for k, v in data["limits"].items())
    lines = [f"{data['network']} on {data['board'] or data['device']} at {data['clock_mhz']:g} MHz (assumed clock; "
             f"every figure: {data['source']}).", f"Limits: {limit}. FIFOs: {FIFOS}.", ""]
    best, smallest = data["best"], data["smallest"]
    lines.append("No design of the curve fits." if best is None else
                 f"Fastest that fits: {best['fps']:,.0f} frames/s, an interval of {best['interval']:,} cycles, set by "
                 f"{best['slowest']}; fullest: {best['fullest']}, {100 * best['fullest_share']:.1f} % of its limit.")
    if smallest is not None:
        lines.append(f"Smallest for {data['wanted_fps']:g} frames/s: " + ", ".join(
            f"{smallest[k]:,} {k}" for k in KINDS) + (", which fits." if smallest["fits"] else
                                                    f": {smallest['fullest']} is over its limit."))
    lines += ["", "| target | interval | frames/s | LUT | BRAM18 | URAM | DSP | memory Mbit | fullest, of its limit | "
              "fits |", "|---:|---:|---:|---:|---:|---:|---:|---:|---|---|"]
    return "\n".join(lines + [_row(p) for p in data["points"]])
