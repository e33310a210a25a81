"""Constant sets that the accelerator asks for: bytes in memory, random latencies, errors and resets; and defects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.shell import check
from bhvit.finn_flow.shell.design import ShellParameters, design_sources
from bhvit.finn_flow.shell.driver import Outside
from bhvit.finn_flow.shell.sim import ShellSim, build_shell_simulator
from bhvit.finn_flow.shell.wiring import feeding_streams, links, masters

from .fed import fetching

FRAMES = 60


class Fetching:
    """A compiled design with its frames. mutation: text of bhvit_sets.sv and what stands in its place."""

    def __init__(self, folder: Path, mutation: tuple[str, str] | None = None, **values: int) -> None:
        self.design, self.x, self.y = fetching(folder / "design", FRAMES)
        self.p = ShellParameters.of(self.design, 100.0, **values)
        sources = design_sources(self.design)
        if mutation:
            changed = folder / "bhvit_sets.sv"
            text = next(f for f in sources if f.name == changed.name).read_text()
            assert text.count(mutation[0]) == 1
            changed.write_text(text.replace(*mutation))
            sources = [changed if f.name == changed.name else f for f in sources]
        self.exe = build_shell_simulator(self.design, self.p, folder / "sim", optimize="-O0", sources=sources)

    def run(self, seed: int) -> check.Outcome:
        with ShellSim(self.exe, self.design.memories, seed) as sim:
            session = check.Session(sim, self.p, 12, 300_000, np.random.default_rng(seed), Outside.of(self.design))
            return check.run(session, self.x, self.y, frame_cycles=self.design.max_cycles)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetching:
    return Fetching(tmp_path_factory.mktemp("fetching"), axi_bits=128)


def test_wiring(built):
    assert built.p.asked == (0,) and built.p.weights[0][1] == 8 and masters(built.p) == ["m_axi_weight0"]
    assert feeding_streams(built.p) == ["weight0_V", "weight0_R"]
    assert ("accelerator/weight0_R", "feeder/weight0_R") in links(built.p)[1]


def test_bit_exact_after_errors_and_resets(built):
    total = check.Outcome()
    for seed in range(3):
        o = built.run(seed)
        assert o.first_difference is None and o.exact == o.frames == FRAMES
        total.resets += o.resets
        total.faults += o.faults
    assert total.resets and total.faults > 2


@pytest.mark.full
@pytest.mark.parametrize("values", [{}, {"outstanding": 2}, {"burst": 4, "axi_bits": 128}], ids=str)
def test_every_kind(tmp_path, values):
    design = Fetching(tmp_path, **values)
    for seed in range(4):
        o = design.run(seed)
        assert o.first_difference is None and o.exact == FRAMES, seed


def test_a_defect_is_noticed(tmp_path):
    """The offset of a request is lost: every set is that of the first block."""
    o = Fetching(tmp_path, ("addr + {32'd0, ask_data[31:0]}", "addr + 64'(ask_data[31:0] & 0)"), axi_bits=128).run(1)
    assert o.first_difference is not None
