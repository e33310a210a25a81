"""A few nodes of an ONNX graph as a picture: data flow from left to right, constants above their users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

#: colour by meaning: integers are made, bits are made, everything else computes
COLOURS = {"Quant": "#cfe3f3", "BipolarQuant": "#fbe3b9"}
CONSTANT, PLAIN, LAYER = "#eeeeee", "#ffffff", "#cdebdd"


@dataclass
class Box:
    """A node or, with no operator, a tensor from outside; constants have rows above 0."""

    label: str
    colour: str
    column: int = 0
    row: int = 0


def layout(nodes: Sequence[NodeProto], captions: dict[str, str] | None = None) -> tuple[dict[str, Box], list[tuple]]:
    """Boxes by name (of the node, or of a tensor from outside), and edges (name, name).

    nodes: in topological order. captions: second line of a node's box by its name.
    """
    inside = {o: n for n in nodes for o in n.output}
    boxes: dict[str, Box] = {}
    edges: list[tuple[str, str]] = []
    constants = {n.name for n in nodes if n.op_type in COLOURS and n.input[0].endswith(".value")}
    for n in nodes:
        colour = CONSTANT if n.name in constants else COLOURS.get(n.op_type, LAYER if n.op_type.startswith("Bv")
                                                                  else PLAIN)
        boxes[n.name] = Box("\n".join([n.op_type, *filter(None, [(captions or {}).get(n.name)])]), colour)
    for n in nodes:
        if n.name in constants:
            continue
        first = n.input if n.op_type not in COLOURS else n.input[:1]
        column = 0
        for t in first:
            if t in inside:
                edges.append((inside[t].name, n.name))
                if inside[t].name not in constants:
                    column = max(column, boxes[inside[t].name].column + 1)
            elif (".const" not in t and not n.op_type.startswith("Bv")) or t in n.input[:1]:
                boxes.setdefault(t, Box(t.replace(".", ".\n", 1), "none", -1, 0))
                edges.append((t, n.name))
                column = max(column, 1)
        boxes[n.name].column = column
    taken = {(b.column, 0) for name, b in boxes.items() if name not in constants and b.colour != "none"}
    for name, box in boxes.items():
        users = [boxes[b].column for a, b in edges if a == name]
        if name in constants:
            box.column, box.row = min(users, default=0), 1
        elif box.colour == "none":  # from outside: before its first user, below where that place is taken
            box.column = min(users) - 1
            box.row = -1 if (box.column, 0) in taken else 0
        while name in constants and (box.column, box.row) in taken:
            box.row += 1
        taken.add((box.column, box.row))
    return boxes, edges


def draw(ax: Any, nodes: Sequence[NodeProto], captions: dict[str, str] | None = None, fontsize: float = 7,
         outside: bool = True) -> None:
    """Draw nodes on matplotlib axes; arguments as for :func:`layout`. outside: with the tensors that come in."""
    boxes, edges = layout(nodes, captions)
    if not outside:
        boxes = {name: b for name, b in boxes.items() if b.colour != "none"}
        edges = [e for e in edges if set(e) <= set(boxes)]

    def reach(box: Box, across: bool) -> float:
        """Points from the middle of a box to its edge."""
        lines = box.label.split("\n")
        return fontsize * (0.3 * max(map(len, lines)) if across else 0.75 * len(lines)) + 0.3 * fontsize

    for a, b in edges:
        p, q = boxes[a], boxes[b]
        far = p.row == q.row and q.column - p.column > 1
        ax.annotate("", (q.column, q.row), (p.column, p.row), zorder=1, arrowprops={
            "arrowstyle": "-|>", "color": "#555555", "linewidth": 0.8, "shrinkA": reach(p, p.row == q.row),
            "shrinkB": reach(q, p.row == q.row),
            "connectionstyle": "arc3,rad=0.25" if far else "arc3"})
    for box in boxes.values():
        edge = "#555555" if box.colour != "none" else "none"
        ax.text(box.column, box.row, box.label, ha="center", va="center", fontsize=fontsize, zorder=2,
                bbox={"boxstyle": "round,pad=0.35", "facecolor": box.colour if edge != "none" else "white",
                      "edgecolor": edge, "linewidth": 0.8})
    columns, rows = ([getattr(b, k) for b in boxes.values()] for k in ("column", "row"))
    ax.set_xlim(min(columns) - 0.6, max(columns) + 0.6)
    ax.set_ylim(min(rows) - 0.8, max(rows) + 0.6)
    ax.axis("off")
