"""Charts of a build for matplotlib axes, each with its evidence level; data as :func:`..report.collect` gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..report import ESTIMATE, PLUMBING
from .tradeoff import Point

#: colours that remain apart without colour vision (Okabe and Ito), and greys for the rest
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
REST, MOVING = "#999999", "#d9d9d9"
#: resource -> key of a row of the report
RESOURCES = {"LUTs": "lut", "BRAM18": "bram18", "DSPs": "dsp"}


def blocks(layers: Sequence[dict[str, Any]]) -> list[str]:
    """The part of the network that each layer belongs to: stem, stage1 block1, down1, head; "input" before all of
    them. A layer whose name does not tell belongs where the one before does."""
    found: list[str] = []
    for x in layers:
        m = re.match(r"(stage\d+_block\d+|down\d+|stem|head)", x["name"])
        found.append(m[1].replace("_", " ") if m else found[-1] if found else "input")
    return found


def _kinds(layers: Sequence[dict[str, Any]], key: str, count: int) -> list[str]:
    """The kinds of layers that have most of something."""
    total: dict[str, float] = {}
    for x in layers:
        if x["op"] not in PLUMBING:
            total[x["op"]] = total.get(x["op"], 0) + (x[key] or 0)
    return sorted(total, key=lambda k: -total[k])[:count]


def cycles(ax: Any, data: dict[str, Any], interval: float | None = None) -> None:
    """Cycles per frame of every computing layer, block by block. interval: of the whole design in RTL simulation."""
    layers = [x for x in data["layers"] if x["op"] not in PLUMBING]
    block = blocks(layers)
    order = list(dict.fromkeys(block))
    layers = [layers[i] for i in sorted(range(len(layers)), key=lambda i: order.index(block[i]))]
    kinds = _kinds(layers, "lut", len(COLOURS))
    for kind in (*kinds, None):
        at = [i for i, x in enumerate(layers) if (x["op"] if x["op"] in kinds else None) == kind]
        ax.bar(at, [layers[i]["cycles"] for i in at], width=0.9, label=kind or "other",
               color=COLOURS[kinds.index(kind)] if kind else REST)
    last = 0
    for name in order:
        first, last = last, last + block.count(name)
        ax.axvline(last - 0.5, color="black", linewidth=0.4)
        ax.text((first + last - 1) / 2, 1.01, name.replace(" ", "\n"), ha="center", va="bottom", fontsize=7,
                transform=ax.get_xaxis_transform())
    if interval is not None:
        ax.axhline(interval, color="black", linestyle="--", linewidth=1)
        ax.text(len(layers) / 2, interval * 1.02, f"whole design: {interval:,.0f} (RTL simulation)", va="bottom",
                ha="center", fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set(xlim=(-1, len(layers)), xlabel=f"{len(layers)} layers, in dataflow order within each block",
           ylabel=f"cycles per frame ({ESTIMATE})")
    ax.set_ylim(top=1.15 * max(x["cycles"] for x in layers))
    ax.set_xticks([])
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False)


def resources(axes: Sequence[Any], data: dict[str, Any]) -> None:
    """LUTs, block RAMs and DSPs (three axes) by part of the network, stacked by kind of layer."""
    layers = data["layers"]
    block = blocks(layers)
    order = list(dict.fromkeys(block))
    kinds = _kinds(layers, "lut", len(COLOURS))
    groups = [*kinds, "other layers", "FIFOs and stream plumbing"]
    colours = [*COLOURS[: len(kinds)], REST, MOVING]

    def group(op: str) -> str:
        return op if op in kinds else groups[-1] if op in PLUMBING else groups[-2]

    for ax, (title, key) in zip(axes, RESOURCES.items(), strict=True):
        left = [0.0] * len(order)
        for g, colour in zip(groups, colours):
            part = [sum(x[key] or 0 for x, of in zip(layers, block) if of == b and group(x["op"]) == g) for b in order]
            ax.barh(order, part, left=left, color=colour, label=g)
            left = [a + b for a, b in zip(left, part)]
        for b, v in zip(order, left):
            ax.text(v, b, f" {v:,.0f}", va="center", fontsize=7)
        ax.set(xlabel=f"{title} ({ESTIMATE}), total {sum(left):,.0f}", xlim=(0, 1.17 * max(*left, 1)))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.invert_yaxis()
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


def tradeoff(axes: Sequence[Any], points: Sequence[Point], built: Point | None = None) -> None:
    """Frame rate against LUTs, block RAMs and DSPs (three axes). built: a point to mark."""
    fps = [p.fps for p in points]
    for ax, (title, key) in zip(axes, RESOURCES.items(), strict=True):
        values = [getattr(p, key) for p in points]
        ax.plot(fps, values, "o-", color=COLOURS[0], markersize=4)
        if built is not None:
            ax.plot(built.fps, getattr(built, key), "o", color=COLOURS[5], markersize=9, fillstyle="none",
                    markeredgewidth=2, label="this build")
            ax.legend(fontsize=8, loc="lower right", frameon=False)
        ax.set(xscale="log", xlabel=f"frames/s at an assumed clock ({ESTIMATE})",
               ylabel=f"{title} without FIFOs ({ESTIMATE})")
        ax.set_ylim(0, 1.15 * max(*values, 1))
        low, high = ax.get_xlim()
        ax.set_xticks([t for e in range(9) for t in (10**e, 2 * 10**e, 5 * 10**e) if low <= t <= high])
        ax.minorticks_off()
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.grid(alpha=0.3, linewidth=0.5)


def pareto(axes: Sequence[Any], data: dict[str, Any]) -> None:
    """Frame rate against LUTs, block RAM, UltraRAM, DSPs (four axes) and limits; data of :func:`.pareto.explore`.

    Designs that fit are filled; a ring marks the fastest of them.
    """
    points, best = data["points"], data["best"]
    for ax, (key, title) in zip(axes, {"lut": "LUTs", "bram18": "BRAM18", "uram": "UltraRAM", "dsp": "DSPs"}.items(),
                                strict=True):
        ax.plot([p["fps"] for p in points], [p[key] for p in points], "-", color=REST, linewidth=1, zorder=1)
        for fits, face in ((True, COLOURS[0]), (False, "white")):
            some = [p for p in points if p["fits"] == fits]
            ax.scatter([p["fps"] for p in some], [p[key] for p in some], s=22, facecolor=face, edgecolor=COLOURS[0],
                       zorder=2, label="fits" if fits else "does not fit")
        if best is not None:
            ax.plot(best["fps"], best[key], "o", color=COLOURS[5], markersize=11, fillstyle="none", markeredgewidth=2,
                    label="fastest that fits")
        ax.axhline(data["limits"][key], color="black", linestyle="--", linewidth=1, label="limit")
        ax.set(xlabel=f"frames/s at an assumed {data['clock_mhz']:g} MHz ({ESTIMATE})", ylabel=f"{title} ({ESTIMATE})")
        ax.set_ylim(0, 1.1 * max(1, data["limits"][key], *(p[key] for p in points)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:,.0f}")
        ax.grid(alpha=0.3, linewidth=0.5)
    axes[0].legend(fontsize=7, frameon=False)
