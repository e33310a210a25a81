"""Constants from outside: loaded at start-up, streamed from memory, under latencies, errors and resets; and defects."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow.shell import check
from bhvit.finn_flow.shell.design import ShellParameters
from bhvit.finn_flow.shell.driver import (
    DONE,
    LOAD,
    LOADING,
    SOFT_RESET,
    WEIGHTS,
    Feeder,
    Host,
    TransferFailed,
    place,
)
from bhvit.finn_flow.shell.loader import table
from bhvit.finn_flow.shell.sim import ProtocolViolation, ShellSim
from bhvit.finn_flow.sim.verilate import SimulationError
from bhvit.finn_flow.stitch import Design

from .fed import BOTH, STAYS, Shelled, fed

FRAMES = 120


class Fed(Shelled):
    def __init__(self, folder: Path, styles: dict[str, str] = BOTH, mutations: Sequence[tuple[str, str, str]] = (),
                 **values: int) -> None:
        super().__init__(folder, fed(folder / "design", styles, FRAMES), (*mutations, STAYS), **values)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Fed:
    return Fed(tmp_path_factory.mktemp("fed"), axi_bits=128)


def test_bit_exact_after_errors_and_resets(both):
    assert [w["bytes"] for w in both.design.weights] == [10] and len(both.design.loads) == 1
    outcomes = both.exact(range(6))
    assert all(o.loads == 3 for o in outcomes), "a table with a wrong bit, an error answer, and one that succeeds"
    assert sum(o.resets for o in outcomes) > 6 and sum(o.faults for o in outcomes) > 12


@pytest.mark.full
@pytest.mark.parametrize("styles, values", [({"mix": BOTH["mix"]}, {}), ({"stem": BOTH["stem"]}, {"outstanding": 2}),
                                            ({n: "WEIGHT=stream" for n in BOTH}, {"burst": 4}),
                                            ({n: "WEIGHT=ultra" for n in BOTH}, {"axi_bits": 128})], ids=str)
def test_every_kind(tmp_path, styles, values):
    design = Fed(tmp_path, styles, **values)
    for seed in range(8):
        o = design.run(seed)
        assert o.first_difference is None and o.exact == FRAMES, seed


@pytest.fixture
def running(both):
    """(simulation, host, feeder), nothing loaded yet."""
    with ShellSim(both.exe, both.design.memories, 3) as sim:
        memory = sim.memory(0, 1 << 16)
        place(memory, 0, both.x.tobytes())
        yield sim, Host(sim, 30_000), Feeder(sim, both.outside, check.CONSTANTS, 16, np.random.default_rng(3)), memory


def frames(running, both, n: int = 6) -> None:
    _sim, host, _feeder, memory = running
    memory[0x8000:] = 0
    host.begin(0, n * both.x.shape[1], 0x8000, n * both.y.shape[1])
    host.finish()
    assert np.array_equal(memory[0x8000:][: n * both.y.shape[1]], both.y[:n].ravel())


def test_registers(running, both):
    sim, host, feeder, _ = running
    assert sim.read("feeder", "PORTS") == 0x101 and sim.read("feeder", "WEIGHT0_BYTES") == 30
    assert [sim.read("feeder", f"WEIGHT1{s}") for s in ("", "_MSB", "_BYTES")] == [0, 0, 0]
    assert sim.read("feeder", "STATE") == sim.read("control", "LOADER_STATUS") == 0
    for register, value, reads in (("LOAD_TABLE", 0xFFFFFFFF, 0xFFFFFFF8), ("LOAD_TABLE_MSB", 7, 7),
                                   ("PORTS", 0, 0x101), ("WEIGHT0", 0x12345678, 0x12345670), ("WEIGHT0_MSB", 9, 9),
                                   ("WEIGHT1", 5, 0)):
        sim.write("feeder", register, value)
        assert sim.read("feeder", register) == reads, register
    assert feeder.load(20_000, False) == DONE and sim.read("feeder", "STATE") == DONE
    feeder.start_weights()
    sim.ask("run", 4)
    assert sim.read("feeder", "STATE") == 0b1100 | DONE and sim.read("feeder", "START") == WEIGHTS
    low = sim.read("feeder", "WEIGHT0")
    sim.write("feeder", "WEIGHT0", low + 64)
    assert sim.read("feeder", "WEIGHT0") == low, "the address of weights that have begun stays"
    frames(running, both)
    sim.write("feeder", "START", 0)
    frames(running, both)  # switched off with the next reset
    host.soft_reset()
    assert sim.read("feeder", "STATE") == DONE and sim.get("weight0_open") == 0
    read = sim.get("weight0_beats")
    host.begin(0, both.x.shape[1], 0x8000, both.y.shape[1])
    sim.ask("run", 3000)
    assert sim.get("weight0_beats") == read and sim.read("control", "FRAMES_OUT") == 12, "nothing enters any more"
    feeder.start_weights()
    host.finish()


def test_a_soft_reset_leaves_a_load_alone(running, both):
    sim, host, feeder, _ = running
    sim.set(latency=800, queue=1)
    feeder._address("LOAD_TABLE", feeder.table_at)
    sim.write("feeder", "START", LOAD)
    sim.ask("run", 40)
    assert feeder.state == LOADING
    sim.write("feeder", "START", LOAD)  # ignored
    sim.write("control", "CONTROL", SOFT_RESET)
    sim.ask("run", 20_000)
    assert feeder.state == DONE and sim.read("control", "CONTROL") == 0
    beats = sim.get("load_beats")
    assert beats == (feeder.table.stop - feeder.table.start) // 8, "once"
    host.start()
    feeder.start_weights()
    frames(running, both)
    for cycles in (5, 90, 400):
        host.begin(0, 60 * both.x.shape[1], 0x8000, 60 * both.y.shape[1])
        sim.ask("run", cycles)
        host.soft_reset()
        frames(running, both)
    assert sim.get("load_beats") == beats and feeder.state == DONE, "constants survive resets"
    sim.ask("reset", 8)
    assert feeder.state == 0 and sim.read("feeder", "STATE") == 0


def test_a_second_load(running, both):
    """Other constants, then the right ones again."""
    _, _, feeder, _ = running
    right = feeder.constants.segments
    other = [type(s)(s.target, s.first, s.words ^ np.uint64(2)) for s in right]
    feeder.start_weights()
    for segments in (other, right):
        place(feeder.memory, feeder.table.start, table(segments, feeder.table_at))
        assert feeder.load(20_000, True) == DONE
        if segments is other:
            with pytest.raises(AssertionError):
                frames(running, both)
        else:
            frames(running, both)


def load_while_frames_move(running, both) -> None:
    sim, host, feeder, _ = running
    feeder.start_weights()
    assert feeder.load(20_000, True) == DONE
    for cycles in range(60, 400, 17):  # whatever the input is at: most beats wait, since each is multiplied often
        frames(running, both, 1)
        host.begin(0, 60 * both.x.shape[1], 0x8000, 60 * both.y.shape[1])
        sim.ask("run", cycles)
        assert feeder.load(20_000, True) == DONE
        host.finish()  # those frames may be wrong: constants were written under them
        host.soft_reset()


def test_a_load_while_frames_move_takes_no_beat_back(running, both):
    load_while_frames_move(running, both)


@pytest.mark.full
def test_a_beat_taken_back_is_noticed(tmp_path):
    """`hold` at once; what stops the simulation is STAYS, and only that differs from the test before."""
    design = Fed(tmp_path, mutations=[("dma", "else if (!m_axis_tvalid || m_axis_tready) open", "else open")])
    with ShellSim(design.exe, design.design.memories, 3) as sim:
        place(memory := sim.memory(0, 1 << 16), 0, design.x.tobytes())
        feeder = Feeder(sim, design.outside, check.CONSTANTS, 8, np.random.default_rng(3))
        with pytest.raises(SimulationError, match="it ended"):
            load_while_frames_move((sim, Host(sim, 30_000), feeder, memory), design)


def test_too_many_streams_are_refused(both):
    d = both.design
    weights = [{**d.weights[0], "port": f"weight{i}_V"} for i in range(9)]
    with pytest.raises(UserError, match="ports for 8 streams") as e:
        ShellParameters.of(Design(d.folder, d.inputs, d.outputs, d.fifos, d.nodes, d.loads, weights), 100.0)
    assert "memory.styles" in e.value.do


#: file, text, replacement, what the check says
MUTATIONS = {
    "the last word of a load": ("loader", "load_valid = load_head || (state == CONTENTS && valid)",
                                "load_valid = load_head || (state == CONTENTS && valid && !last)", "expected"),
    "a word too many in a pass": ("constants", ".addr, .length, .busy", ".addr, .length(length + OB), .busy",
                                  "expected"),
    "a pass begins a word late": ("constants", ".start(enable && !begun && !rst), .halt, .addr,",
                                  ".start(enable && !begun && !rst), .halt, .addr(addr + DW / 8),", "expected"),
    "weights go on after a reset": ("feeder", "assign weights_rst = rst || clear;", "assign weights_rst = rst;", ""),
    "a reset does not wait for weights": ("control", "clear <= drained && !weights_open;", "clear <= drained;", ""),
    "frames come too early": ("feeder", "hold <= rst || (LOAD && loader_status != 2'd2) || (PORTS > 0 && !begun);",
                              "hold <= 1'b0;", "before the constants"),
    "errors of weights": ("control", "rd_data[STATUS_WEIGHT_ERROR_BIT] = weights_failed;", "", "STATUS"),
    "the sum": ("loader", "sum + word == want_sum ? DONE : FAILED", "DONE", "LOADER_STATUS is 2"),
    "errors of a load": ("loader", "if (error != '0 && state != DONE) state <= FAILED;", "", ""),
    "a failed load cannot be repeated": ("feeder", "loader_rst <= asked && loader_quiet && !loader_rst;",
                                         "loader_rst <= 1'b0;", ""),
    "the first word": ("loader", "record[1][47:32], record[2][31:0]}", "record[1][47:32], 32'd1}", "expected"),
    "the target": ("loader", "{16'd0, record[1][47:32],", "{16'd0, 16'd1,", "expected"),
}
QUICK = ("the last word of a load", "a word too many in a pass")


@pytest.mark.parametrize("name", [pytest.param(m, marks=() if m in QUICK else pytest.mark.full) for m in MUTATIONS])
def test_a_defect_is_noticed(name, tmp_path):
    *mutation, words = MUTATIONS[name]
    design = Fed(tmp_path, mutations=[tuple(mutation)])
    said = None
    for seed in range(6):
        try:
            said = design.run(seed).first_difference
        except (ProtocolViolation, TransferFailed) as e:
            said = str(e)
        if said:
            break
    shutil.rmtree(tmp_path / "sim")
    assert said is not None and words in said, said
