"""Defects put into the RTL of the shell are noticed: by a protocol check, a wrong byte, a count, or a standstill."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.shell import check
from bhvit.finn_flow.shell.design import ShellParameters, design_sources
from bhvit.finn_flow.shell.driver import TransferFailed
from bhvit.finn_flow.shell.sim import ProtocolViolation, ShellSim, build_shell_simulator

from .toy import Toy

#: file, text, replacement, what the check says
MUTATIONS = {
    "4 KiB": ("bursts", "int'(page) < BURST ? 9'(page) : 9'(BURST)", "9'(BURST)", "cross 4 KiB"),
    "strobes": ("axi_write", "tail ? B'((1 << left_w[BW-1:0]) - 1) : '1", "'1", "outside of the answer"),
    "WLAST": ("axi_write", "m_axi_wlast = sent == len", "m_axi_wlast = sent == (len >> 1)", "for a burst of"),
    "AR moves": ("axi_read", "(!m_axi_arvalid || m_axi_arready) && ", "", "changed while it waited"),
    "room": ("axi_read", "int'(room) >= int'(burst_beats)", "1'b1", "read data is not taken"),
    "read error": ("axi_read", "if (beat && m_axi_rresp[1] && error == '0) error <= m_axi_rresp;", "",
                   "are to be set"),
    "write error": ("axi_write", "if (answered && m_axi_bresp[1] && error == '0) error <= m_axi_bresp;", "",
                    "are to be set"),
    "error kind": ("axi_read", "error <= m_axi_rresp;", "error <= 2'b10;", "DMADecErr"),
    "no drain": ("dma", "assign drained = drain && quiet_mm2s && quiet_s2mm;", "assign drained = drain;", ""),
    "accelerator not reset": ("control", "accel_rst_n <= !clear;", "accel_rst_n <= 1'b1;", "expected"),
    "gearbox not reset": ("bytes", "if (rst) begin", "if (0) begin", ""),
    "tail": ("bytes", "push ? CW'(in_bytes) : '0", "push ? CW'(IB) : '0", ""),
    "frame count": ("control", "int'(out_count) == OUT_BEATS - 1", "int'(out_count) == OUT_BEATS", "counted"),
    "upper address": ("dma_channel", "address[63:32] <= wr_data;", "address[63:32] <= '0;", ""),
    "RVALID": ("axil", "else if (s_axi_rready) s_axi_rvalid <= 1'b0;", "else s_axi_rvalid <= 1'b0;", "R changed"),
}
QUICK = ("4 KiB", "no drain")


def mutated(folder: Path, file: str, old: str, new: str) -> tuple[Toy, Path, ShellParameters, Path]:
    toy = Toy()
    design = toy.design(folder / "design")
    p = ShellParameters.of(design, 100.0)
    changed = folder / f"bhvit_{file}.sv"
    sources = [changed if f.name == changed.name else f for f in design_sources(design)]
    original = next(f for f in design_sources(design) if f.name == changed.name)
    text = original.read_text()
    assert text.count(old) == 1, f"the text of the mutation is there {text.count(old)} times"
    changed.write_text(text.replace(old, new))
    exe = build_shell_simulator(design, p, folder / "sim", optimize="-O0", sources=sources)
    return toy, exe, p, design.memories


def complaint(toy: Toy, exe: Path, p: ShellParameters, memories: Path) -> str | None:
    """What the check says about a simulator, over some seeds; None when it finds nothing."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 256, (400, toy.beats, toy.ib), dtype=np.uint8)
        y = toy.compute(x)
        try:
            with ShellSim(exe, memories, seed) as sim:
                session = check.Session(sim, p, 400, 20_000, rng)
                o = check.run(session, x.reshape(400, -1), y.reshape(400, -1), frame_cycles=2 * toy.beats, most=40)
                if o.first_difference is None:
                    session.batch(x.reshape(400, -1), y.reshape(400, -1))  # over several pages of memory
                    session.blocked(x.reshape(400, -1), 6000)
        except (ProtocolViolation, TransferFailed) as e:
            return str(e)
        if o.first_difference:
            return o.first_difference
    return None


@pytest.mark.parametrize("name", [pytest.param(m, marks=() if m in QUICK else pytest.mark.full) for m in MUTATIONS])
def test_a_defect_is_noticed(name, tmp_path):
    file, old, new, words = MUTATIONS[name]
    said = complaint(*mutated(tmp_path, file, old, new))
    shutil.rmtree(tmp_path / "sim")
    assert said is not None and words in said, said


@pytest.mark.full
def test_without_a_defect_nothing_is_said(tmp_path):
    assert complaint(*mutated(tmp_path, "bytes", "initial if (IB < 1", "initial if (IB < 1")) is None
