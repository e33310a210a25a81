"""Small designs whose constants come from outside, compiled with their shell: streamed weights in the stem and loaded
ones behind it, or constant sets that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow import fetch, graph, ops, stitch
from bhvit.finn_flow.shell import check
from bhvit.finn_flow.shell.design import ShellParameters, design_sources
from bhvit.finn_flow.shell.driver import Outside
from bhvit.finn_flow.shell.sim import ShellSim, build_shell_simulator
from bhvit.finn_flow.stitch import Design
from tests.flow import networks

FOLDINGS = {"stem": {"PE": 10}, "mix": {"PE": 5, "SIMD": 10}}
#: words of 10 bytes from memory; words of 50 bits to load
BOTH = {"stem": "WEIGHT=stream", "mix": "WEIGHT=ultra"}
#: put into the DMA: a beat that waits for the accelerator stays until it is taken
STAYS = ("dma", "in_beat  <= m_axis_tvalid && m_axis_tready;", """in_beat  <= m_axis_tvalid && m_axis_tready;
    waits <= m_axis_tvalid && !m_axis_tready && !rst;
    if (waits && !m_axis_tvalid && !rst) $fatal(1, "TVALID was taken back");
  end
  logic waits;
  always_ff @(posedge clk) begin""")


class Shelled:
    """A compiled design with its frames.

    made: design and packed frames, of `fed` or `fetching`; mutations: NAME of bhvit_NAME.sv, text in it and what stands
    in its place, of each; slots: frames in memory; values: of ShellParameters.
    """

    def __init__(self, folder: Path, made: tuple[Design, np.ndarray, np.ndarray],
                 mutations: Sequence[tuple[str, str, str]] = (), slots: int = 20, **values: int) -> None:
        self.design, self.x, self.y = made
        self.p, self.slots = ShellParameters.of(self.design, 100.0, **values), slots
        self.outside = Outside.of(self.design)
        sources = design_sources(self.design)
        for file, old, new in mutations:
            changed = folder / f"bhvit_{file}.sv"
            text = next(f for f in sources if f.name == changed.name).read_text()
            assert text.count(old) == 1, f"the text of the mutation is there {text.count(old)} times"
            changed.write_text(text.replace(old, new))
            sources = [changed if f.name == changed.name else f for f in sources]
        self.exe = build_shell_simulator(self.design, self.p, folder / "sim", optimize="-O0", sources=sources)

    def run(self, seed: int) -> check.Outcome:
        rng = np.random.default_rng(seed)
        with ShellSim(self.exe, self.design.memories, seed) as sim:
            session = check.Session(sim, self.p, self.slots, 300_000, rng, self.outside)
            return check.run(session, self.x, self.y, frame_cycles=self.design.max_cycles)

    def exact(self, seeds: range) -> list[check.Outcome]:
        """Runs of these seeds, all of whose frames must be right."""
        outcomes = [self.run(seed) for seed in seeds]
        for o in outcomes:
            assert o.first_difference is None and o.exact == o.frames == len(self.x)
        return outcomes


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
