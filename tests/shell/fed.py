"""A small design whose constants come from outside: streamed weights in the stem, loaded ones behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow import fetch, graph, ops, stitch
from bhvit.finn_flow.stitch import Design
from tests.flow import networks

FOLDINGS = {"stem": {"PE": 10}, "mix": {"PE": 5, "SIMD": 10}}
#: words of 10 bytes from memory; words of 50 bits to load
BOTH = {"stem": "WEIGHT=stream", "mix": "WEIGHT=ultra"}


def fed(folder: Path, styles: dict[str, str] = BOTH, frames: int = 0) -> tuple[Design, np.ndarray, np.ndarray]:
    """(design, packed inputs (F, bytes), packed outputs) of :func:`networks.residual` with memories of these styles."""
    model = networks.residual(tokens=8, channels=10)
    x = networks.pixels(model, frames or 1)
    y = ops.execute(model, {"pixels": x})["logits"]
    ops.to_integers(model)
    for n in model.graph.node:
        if n.name in FOLDINGS:
            changes = FOLDINGS[n.name] | ({"styles": styles[n.name]} if n.name in styles else {})
            layer = ops.layer_from_node(n)
            ops.set_layer(n, type(layer)(**{**layer.model_dump(), **changes}))
    model = graph.specialize(model, networks.PART)
    graph.insert_duplicates(model)
    graph.insert_width_converters(model)
    design = stitch.stitch(graph.insert_fifos(model, 8), folder)
    return packed(design, x, y)


def fetching(folder: Path, frames: int) -> tuple[Design, np.ndarray, np.ndarray]:
    """The same of an engine of three blocks whose sets are asked for, both layers on one port."""
    model = networks.engine(rounds=3)
    x = networks.pixels(model, frames)
    y = ops.execute(model, {"pixels": x})["logits"]
    ops.to_integers(model)
    for n in model.graph.node:
        layer = ops.layer_from_node(n)
        if layer.sets > 2 and layer.fetchable:
            ops.set_layer(n, layer.model_copy(update={"held": 2}))
    graph.insert_duplicates(model)
    graph.insert_width_converters(model)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(fetch, "PORTS", 1)
        return packed(stitch.stitch(graph.insert_fifos(model, 32), folder), x, y)


def packed(design: Design, x: np.ndarray, y: np.ndarray) -> tuple[Design, np.ndarray, np.ndarray]:
    i, o = design.inputs[0], design.outputs[0]
    y = np.asarray(y).astype(np.int64).reshape(len(x), *o.dims)
    return design, i.pack(x).reshape(len(x), -1), o.pack(y).reshape(len(x), -1)
