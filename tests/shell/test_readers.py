"""Start-up loader and constants port: AXI memory to stream, on their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.shell import sim as shell
from bhvit.finn_flow.shell.design import shell_sources
from bhvit.finn_flow.shell.loader import Segment, table
from bhvit.finn_flow.shell.sim import LineSim
from bhvit.finn_flow.sim.verilate import build_simulator

AXI = [f"m_axi_ar{n}" for n in ("addr", "len", "size", "burst", "cache", "prot", "valid", "ready")] \
    + [f"m_axi_r{n}" for n in ("data", "resp", "last", "valid", "ready")]
TOP = """module reader (input logic clk, rst, go, halt, input logic [63:0] addr, input logic [31:0] length,
    output logic [7:0] status, output logic quiet, output logic [{width}-1:0] out_data, output logic out_valid,
    input logic out_ready, output logic [63:0] m_axi_araddr, output logic [7:0] m_axi_arlen,
    output logic [2:0] m_axi_arsize, m_axi_arprot, output logic [1:0] m_axi_arburst, output logic [3:0] m_axi_arcache,
    output logic m_axi_arvalid, m_axi_rready, input logic m_axi_arready, m_axi_rlast, m_axi_rvalid,
    input logic [1:0] m_axi_rresp, input logic [{dw}-1:0] m_axi_rdata);
  {body}
endmodule
"""
LOADER = """assign status[7:2] = '0;
  bhvit_loader dut (.clk, .rst, .start(go), .halt, .table_addr(addr), .status(status[1:0]), .quiet,
      .load_data(out_data[63:0]), .load_head(out_data[64]), .load_last(out_data[65]), .load_valid(out_valid),
      .load_ready(out_ready), {axi});
  assign out_data[127:66] = '0;"""
CONSTANTS = """assign status[7:2] = '0;
  logic [{ob}*8-1:0] beat;
  assign out_data = 64'(beat);
  bhvit_constants #(.DW({dw}), .BURST(16), .OB({ob})) dut (.clk, .rst, .enable(go), .halt, .addr, .length, .quiet,
      .error(status[1:0]), .out0_data(beat), .out0_valid(out_valid), .out0_ready(out_ready), {axi});"""
BASE = 0x8_0000_0000


def compiled(folder: Path, body: str, kind: str, width: int, dw: int) -> Path:
    text = TOP.format(width=width, dw=dw, body=body.replace("{axi}", ", ".join(f".{n}" for n in AXI)))
    (folder / "reader.sv").write_text(text)
    return build_simulator("reader", [*shell_sources(kind), folder / "reader.sv"], 0, 0, folder / "sim",
                           optimize="-O0", harness=shell.HERE / "reader_sim.cpp")


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("loader"), LOADER, "loader", 128, 64)


@pytest.fixture(scope="module")
def constants(tmp_path_factory):
    body = CONSTANTS.replace("{ob}", "5").replace("{dw}", "128")
    return compiled(tmp_path_factory.mktemp("constants"), body, "constants", 64, 128)


def paced(sim: LineSim, rng: np.random.Generator) -> None:
    sim.set(stall=int(rng.choice([0, 30, 70])), gap=int(rng.choice([0, 30, 70])), queue=int(rng.choice([1, 4])),
            latency=int(rng.choice([0, 20, 300])), block=int(rng.choice([0, 30, 70])))


def segments(rng: np.random.Generator) -> list[Segment]:
    return [Segment(int(rng.integers(0, 1 << 16)), int(rng.integers(0, 1 << 32)),
                    rng.integers(0, 1 << 64, int(rng.integers(1, 300)), dtype=np.uint64))
            for _ in range(int(rng.integers(0, 6)))]


def load(sim: LineSim, memory: np.ndarray, wanted: list[Segment], out: Path, spoil: int | None = None) -> np.ndarray:
    """Write the table, run the loader; returns its beats (N, 2) of uint64."""
    image = table(wanted, BASE)
    memory[: len(image)] = np.frombuffer(image, np.uint8)
    if spoil is not None:
        memory[spoil] ^= 0x40
    beats = sum(len(s.words) + 1 for s in wanted)
    sim.set(addr=BASE, go=1)
    sim.ask("run", 1)
    sim.set(go=0)
    out.unlink(missing_ok=True)
    sim.ask("collect", beats + 20, out, 20 * beats + 20_000)
    return np.fromfile(out, np.uint64).reshape(-1, 2)


def test_loader_sends_every_segment(loader, tmp_path):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        with LineSim(loader, tmp_path, seed) as sim:
            memory = sim.memory(BASE, 65536)
            assert sim.ask("status") == 0
            for _again in range(2):
                paced(sim, rng)
                wanted = segments(rng)
                got = load(sim, memory, wanted, tmp_path / "out")
                want = []
                for s in wanted:
                    want.append([s.target << 32 | s.first, 1])
                    want += [[int(w), 2 * (i == len(s.words) - 1)] for i, w in enumerate(s.words)]
                assert got.tolist() == want, seed
                assert sim.ask("status") == 2 and sim.ask("quiet") == 1
                sim.ask("reset", 2)


def test_loader_reports_damage(loader, tmp_path):
    rng = np.random.default_rng(5)
    some = [Segment(3, 0, rng.integers(0, 1 << 64, 20, dtype=np.uint64))]
    spoiled = {"magic": 1, "number of segments": 13, "sum": 17, "size": 40, "first word": 48, "target": 44,
               "contents": 64 + 8 * 7}
    for what, at in spoiled.items():
        with LineSim(loader, tmp_path) as sim:
            load(sim, sim.memory(BASE, 65536), some, tmp_path / "out", at)
            assert sim.ask("status") == 3, what
    with LineSim(loader, tmp_path) as sim:
        memory = sim.memory(BASE, 65536)
        sim.set(read_fault_in=9)
        load(sim, memory, some, tmp_path / "out")
        assert sim.ask("status") == 3 and sim.ask("open") == 0, "error answer"
        sim.ask("reset", 2)
        assert len(load(sim, memory, some, tmp_path / "out")) == 21 and sim.ask("status") == 2


def test_table_refuses_what_does_not_fit():
    word = np.zeros(1, np.uint64)
    for bad in (Segment(1 << 16, 0, word), Segment(0, 1 << 32, word), Segment(0, 0, word[:0])):
        with pytest.raises(ValueError, match="segment"):
            table([bad], BASE)
    with pytest.raises(ValueError, match="multiple of 8"):
        table([], BASE + 4)


def test_constants_repeat_without_end(constants, tmp_path):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        with LineSim(constants, tmp_path, seed) as sim:
            memory = sim.memory(BASE, 65536)
            memory[:] = rng.integers(0, 256, 65536, dtype=np.uint8)
            paced(sim, rng)
            beats, at = int(rng.integers(1, 900)), 16 * int(rng.integers(0, 1000))
            sim.set(addr=BASE + at, length=5 * beats, go=1)
            n = 3 * beats + 7
            out = tmp_path / "out"
            out.unlink(missing_ok=True)
            assert sim.ask("collect", n, out, 100_000) == n
            got = np.fromfile(out, np.uint8).reshape(n, 8)[:, :5]
            once = memory[at: at + 5 * beats].reshape(beats, 5)
            assert np.array_equal(got, once[np.arange(n) % beats]), seed
            sim.set(halt=1, stall=0, gap=0)
            sim.ask("run", 2000)
            assert sim.ask("quiet") == 1 and sim.ask("open") == 0


def test_constants_keep_up(constants, tmp_path):
    """Beyond the first latency there is a beat per cycle, across the ends of passes as well."""
    with LineSim(constants, tmp_path) as sim:
        sim.memory(BASE, 65536)
        sim.set(addr=BASE, length=5 * 64, go=1, latency=20)
        out = tmp_path / "out"
        sim.ask("collect", 100, out, 1000)
        begun = sim.cycle
        sim.ask("collect", 2000, out, 4000)
        assert sim.cycle - begun <= 2050
