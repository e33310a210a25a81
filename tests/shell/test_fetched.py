"""Constant sets that the accelerator asks for: bytes in memory, random latencies, errors and resets; and defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bhvit.finn_flow.shell.wiring import feeding_streams, links, masters

from .fed import Shelled, fetching

FRAMES = 60


class Fetching(Shelled):
    def __init__(self, folder: Path, mutations: Sequence[tuple[str, str, str]] = (), **values: int) -> None:
        super().__init__(folder, fetching(folder / "design", FRAMES), mutations, slots=12, **values)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetching:
    return Fetching(tmp_path_factory.mktemp("fetching"), axi_bits=128)


def test_wiring(built):
    assert built.p.asked == (0,) and built.p.weights[0][1] == 8 and masters(built.p) == ["m_axi_weight0"]
    assert feeding_streams(built.p) == ["weight0_V", "weight0_R"]
    assert ("accelerator/weight0_R", "feeder/weight0_R") in links(built.p)[1]


def test_bit_exact_after_errors_and_resets(built):
    outcomes = built.exact(range(3))
    assert sum(o.resets for o in outcomes) and sum(o.faults for o in outcomes) > 2


@pytest.mark.full
@pytest.mark.parametrize("values", [{}, {"outstanding": 2}, {"burst": 4, "axi_bits": 128}], ids=str)
def test_every_kind(tmp_path, values):
    Fetching(tmp_path, **values).exact(range(4))


def test_a_defect_is_noticed(tmp_path):
    """The offset of a request is lost: every set is that of the first block."""
    lost = ("sets", "addr + {32'd0, ask_data[31:0]}", "addr + 64'(ask_data[31:0] & 0)")
    assert Fetching(tmp_path, [lost], axi_bits=128).run(1).first_difference is not None
