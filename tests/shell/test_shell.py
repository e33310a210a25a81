"""Bytes in memory to bytes in memory through the shell, under random latencies, stalls, errors and resets."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.shell import check
from bhvit.finn_flow.shell.driver import IDLE, IRQS, RESET, RS, Channel, Host, TransferFailed, place
from bhvit.finn_flow.shell.sim import ShellSim
from bhvit.finn_flow.sim.verilate import SimulationError

from .toy import Toy

#: beats wider and narrower than the memory's, prime numbers of bytes, one-beat frames, more frames in flight than
#: start times are kept
SHAPES = [(Toy(), {}), (Toy(20, 3, 10, 5, 2), {"axi_bits": 128, "burst": 64})]
MORE = [(Toy(8, 8, 4, 1, 2), {"burst": 64}), (Toy(1, 16, 32, 4, 100), {"burst": 32, "outstanding": 2}),
        (Toy(1, 1, 1, 1, 2), {}), (Toy(33, 47, 3, 3, 300), {"axi_bits": 128}),
        (Toy(2, 1, 2, 2, 64), {"outstanding": 8})]


def run(compiled, toy: Toy, values: dict, seed: int, frames: int = 200) -> check.Outcome:
    exe, memories, p = compiled(toy, **values)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (frames, toy.beats, toy.ib), dtype=np.uint8)
    y = toy.compute(x)
    with ShellSim(exe, memories, seed) as sim:
        session = check.Session(sim, p, 30, 50_000, rng)
        check.run(session, x.reshape(frames, -1), y.reshape(frames, -1), frame_cycles=2 * toy.beats)
        session.blocked(x[:30].reshape(30, -1), 6000)
        session.batch(x[:30].reshape(30, -1), y[:30].reshape(30, -1))
        return session.outcome


@pytest.mark.parametrize("shape, values", [*SHAPES, *(pytest.param(*m, marks=pytest.mark.full) for m in MORE)], ids=str)
def test_bit_exact_after_errors_and_resets(compiled, shape, values):
    total = check.Outcome()
    for seed in range(6):
        o = run(compiled, shape, values, seed)
        assert o.first_difference is None and o.exact == o.frames == 230
        assert o.figures["longest_read"] <= values.get("burst", 16)
        assert o.figures["most_reads"] <= values.get("outstanding", 4)
        total.resets += o.resets
        total.faults += o.faults
        total.figures = {k: max(v, total.figures.get(k, 0)) for k, v in o.figures.items()}
    assert total.resets > 10 and total.faults > 10, "both happened between the batches"
    if 30 * shape.beats * shape.ib > 500:  # batches of several bursts
        assert total.figures["most_reads"] > 1 and total.figures["most_writes"] > 1, "several bursts were open"


@pytest.mark.full
@pytest.mark.parametrize("seed", range(8))
def test_drawn_shapes(compiled, seed):
    rng = np.random.default_rng(1000 + seed)
    keep = int(rng.integers(1, 6))
    toy = Toy(int(rng.integers(1, 40)), int(rng.integers(1, 40)), keep * int(rng.integers(1, 9)), keep,
              int(rng.integers(2, 200)))
    values = {"axi_bits": int(rng.choice([64, 128])), "burst": int(rng.choice([16, 32, 64])),
              "outstanding": int(rng.integers(2, 9))}
    for s in range(4):
        o = run(compiled, toy, values, s)
        assert o.first_difference is None and o.exact == 230, (toy, values, s)


def frames_of(toy: Toy, n: int, seed: int = 0):
    x = np.random.default_rng(seed).integers(0, 256, (n, toy.beats, toy.ib), dtype=np.uint8)
    return x.reshape(n, -1), toy.compute(x).reshape(n, -1)


def test_counters_and_times(toy_sim):
    sim, toy, _p = toy_sim
    memory = sim.memory(0, 65536)
    sim.set(stall=0, gap=0, latency=2)
    host = Host(sim, 5000)
    x, y = frames_of(toy, 40)
    place(memory, 0, x.tobytes())
    host.begin(0, x.size, 0x8000, y.size)
    host.finish()
    assert sim.read("control", "FRAMES_IN") == sim.read("control", "FRAMES_OUT") == 40
    # the toy takes a beat per cycle: 6 cycles a frame; 2 more than its beats until a sum has passed both FIFOs
    assert sim.read("control", "LAST_INTERVAL") == toy.beats and sim.read("control", "LAST_LATENCY") == toy.beats + 3
    low, high, cycle = sim.read("control", "CYCLES_LOW"), sim.read("control", "CYCLES_HIGH"), sim.cycle
    assert high == 0 and 0 <= cycle - low <= 40
    sim.write("control", "CONTROL", 2)
    assert [sim.read("control", r) for r in ("FRAMES_IN", "FRAMES_OUT", "LAST_INTERVAL", "LAST_LATENCY")] == [0] * 4
    assert sim.read("control", "CYCLES_LOW") < 100
    host.begin(0, x.size, 0x8000, y.size)
    host.finish()
    assert sim.read("control", "FRAMES_OUT") == 40 and sim.read("control", "LAST_LATENCY") == toy.beats + 3


@pytest.mark.parametrize("toy, values", [
    (Toy(8, 8, 64, 1, 2), {"burst": 64}),
    pytest.param(Toy(16, 16, 64, 1, 2), {"axi_bits": 128}, marks=pytest.mark.full),
    pytest.param(Toy(12, 7, 64, 1, 2), {"axi_bits": 128}, marks=pytest.mark.full)])
def test_memory_keeps_up_with_a_beat_per_cycle(compiled, toy, values):
    """Beats as wide as memory, or of odd widths below it: no cycle is lost, whatever the latency within reason."""
    exe, memories, p = compiled(toy, **values)
    with ShellSim(exe, memories, 1) as sim:
        memory = sim.memory(0, 1 << 17)
        sim.set(stall=0, gap=0, latency=20)
        host = Host(sim, 9000)
        x, y = frames_of(toy, 40)
        place(memory, 0, x.tobytes())
        host.begin(0, x.size, 0x10000, y.size)
        host.finish()
        assert np.array_equal(memory[0x10000: 0x10000 + y.size], y.ravel())
        assert sim.read("control", "LAST_INTERVAL") == p.in_beats == 64


def test_more_frames_in_flight_than_start_times(compiled):
    toy = Toy(1, 1, 1, 1, 200)  # up to 200 frames wait in its FIFO
    exe, memories, _p = compiled(toy)
    with ShellSim(exe, memories, 1) as sim:
        memory = sim.memory(0, 65536)
        host = Host(sim, 5000)
        x, y = frames_of(toy, 150)
        place(memory, 0, x.tobytes())
        host.send.start(0, x.size)  # nobody takes the results yet
        sim.ask("run", 600)
        assert sim.field("control", "STATUS", "latency_lost") and sim.field("control", "STATUS", "busy")
        host.receive.start(0x8000, y.size)
        host.finish()
        assert np.array_equal(memory[0x8000: 0x8000 + y.size], y.ravel())
        assert sim.read("control", "LAST_LATENCY") == 0xFFFFFFFF
        sim.write("control", "CONTROL", 2)
        host.begin(0, 4, 0x8000, 4)
        host.finish()
        assert not sim.field("control", "STATUS", "latency_lost") and 0 < sim.read("control", "LAST_LATENCY") < 50


def test_what_is_reported_without_memory_traffic(toy_sim):
    """Length 0, misaligned addresses: DMAIntErr, halted, nothing read or written; a DMA reset clears it."""
    sim, _, _ = toy_sim
    for prefix, address, length in (("MM2S", 0, 0), ("MM2S", 4, 18), ("S2MM", 0, 0), ("S2MM", 0x1001, 15)):
        c = Channel(sim, prefix)
        c.run()
        assert not c.status() & 1
        c.start(address, length)
        with pytest.raises(TransferFailed, match="error"):
            c.finish(100)
        assert c.status() & 0x4011 == 0x4011, "DMAIntErr, Err_Irq, Halted"
        assert sim.ask("wait", 10) == (1 if prefix == "MM2S" else 2)
        c.run()
        assert c.status() & 1, "an error is left by a reset alone"
        c.register("DMACR", RESET)
        sim.ask("run", 20)
        assert c.status() == 0x10001 and c.register("DMACR") == 0x10002 and sim.ask("wait", 10) == 0
    assert sim.get("read_bursts") == sim.get("write_bursts") == 0


def test_interrupts_and_stop(toy_sim):
    sim, toy, _p = toy_sim
    memory = sim.memory(0, 65536)
    host = Host(sim, 5000)
    x, y = frames_of(toy, 3)
    place(memory, 0, x.tobytes())
    host.begin(0, x.size, 0x8000, y.size)
    assert sim.ask("wait", 5000) in (1, 3) and host.send.status() & IDLE
    host.receive.finish(5000)
    host.send.register("DMASR", 0xFFFFFFFF)
    assert sim.ask("wait", 5) == 0, "acknowledged"
    for c, size in ((host.send, x.size), (host.receive, y.size)):
        assert c.register("LENGTH") == size, "bytes that were moved"
        c.register("DMACR", 0)
        sim.ask("run", 2)
        assert c.status() & 1
        c.start(0, 15)  # not running: no transfer
    sim.ask("run", 200)
    assert host.send.status() & 1 and sim.get("open_reads") == 0
    host.start()
    assert not host.send.status() & 1
    host.begin(0, x.size, 0x9000, y.size)
    host.receive.register("DMACR", IRQS)  # stop (RS = 0) is graceful: the transfer goes on to its end
    host.finish()
    assert np.array_equal(memory[0x9000: 0x9000 + y.size], y.ravel()) and host.receive.status() & 1
    host.receive.register("DMACR", RS)


def test_stops_and_goes_on_between_transfers(toy_sim):
    """A result may be fetched in pieces that are no whole frames: bytes wait inside."""
    sim, toy, _p = toy_sim
    memory = sim.memory(0, 65536)
    host = Host(sim, 5000)
    x, y = frames_of(toy, 8)
    place(memory, 0, x.tobytes())
    host.send.start(0, x.size)
    got = b""
    for n in (1, 7, 8, 9, 31, y.size - 56):
        host.receive.start(0x8000, n)
        host.receive.finish(5000)
        got += memory[0x8000: 0x8000 + n].tobytes()
    host.send.finish(5000)
    assert got == y.tobytes()


def test_memory_that_does_not_exist(toy_sim):
    sim, _toy, _p = toy_sim
    sim.memory(0x1000, 4096)
    host = Host(sim, 5000)
    host.begin(0x5000, 18, 0x1000, 15)
    with pytest.raises(TransferFailed):
        host.send.finish(5000)
    assert sim.field("dma", "MM2S_DMASR", "DMADecErr") and sim.field("control", "STATUS", "mm2s_error")
    host.soft_reset()
    assert sim.read("control", "STATUS") == 0


def test_the_program_answers_what_it_does_not_understand(toy_sim):
    sim, _, _ = toy_sim
    for words in (("fly",), ("set", "wings", 2), ("get", "wings"), ("map", 0, 4096, "/nowhere"), ("unmap", 7)):
        with pytest.raises(SimulationError, match="failed"):
            sim.ask(*words)
    assert sim.read("control", "MAGIC") == 0x54564842


def test_hard_reset_in_the_middle(toy_sim):
    sim, toy, _p = toy_sim
    memory = sim.memory(0, 65536)
    x, y = frames_of(toy, 30)
    place(memory, 0, x.tobytes())
    host = Host(sim, 5000)
    for cycles in (3, 40, 77):
        host.begin(0, x.size, 0x8000, y.size)
        sim.ask("run", cycles)
        sim.ask("reset", 8)
        assert sim.read("dma", "MM2S_DMASR") == 0x10001
        host.start()
        host.begin(0, x.size, 0x8000, y.size)
        host.finish()
        assert np.array_equal(memory[0x8000: 0x8000 + y.size], y.ravel())
