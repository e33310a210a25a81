"""What goes wrong on hardware goes wrong here, and the driver says what it was."""

from __future__ import annotations

import numpy as np
import pytest
from bhvit_host import Accelerator, DeviceTimeout, DmaError, HostError, WrongBitfile
from bhvit_host.overlay import load
from bhvit_host.settings import Settings
from bhvit_host.sim.memory import BusError
from pynq import MMIO, allocate


@pytest.fixture
def exact_again(accelerator, vectors):
    """After the test: whatever happened, the next frames are right."""
    accelerator.batch_size = 5
    yield
    accelerator.reset()
    assert np.array_equal(accelerator.execute(vectors[0]), vectors[1])


def test_a_forgotten_flush_shows(accelerator, vectors, exact_again):
    accelerator.execute(vectors[0][5:10])  # device memory holds other images now
    send = accelerator.overlay.dma_0.sendchannel
    send._flush_before = False
    try:
        got = accelerator.execute(vectors[0][:5])
    finally:
        send._flush_before = True
    assert not np.array_equal(got, vectors[1][:5])


def test_a_forgotten_invalidate_shows(accelerator, vectors, exact_again):
    receive = accelerator.overlay.dma_0.recvchannel
    receive._flush_before = True
    try:
        got = accelerator.execute(vectors[0][:5])
    finally:
        receive._flush_before = False
    assert not np.array_equal(got, vectors[1][:5])


def test_an_uncached_buffer_needs_neither(accelerator):
    with allocate((64,), np.uint8, target=accelerator.device, cacheable=0) as b:
        b[:] = 7
        assert (accelerator.device.memory.view(b.device_address, 64) == 7).all() and not b.cacheable


def test_half_a_frame_is_stuck(accelerator, vectors, exact_again):
    accelerator.control.clear_counters()
    source, target = accelerator._buffers[0]
    accelerator.settings.input.pack(vectors[0][:1], np.asarray(source)[:1])
    accelerator._expect(1)
    accelerator._receive.start(target, accelerator.settings.output.frame_bytes)
    accelerator._send.start(source, accelerator.settings.input.frame_bytes // 2)
    accelerator._send.wait()
    with pytest.raises(DeviceTimeout, match=r"stuck[\s\S]*0 frames entered, 0 came out"):
        accelerator._receive.wait()


def test_too_few_output_bytes_shift_the_next_frame(accelerator, vectors, exact_again):
    def run(out_bytes):
        source, target = accelerator._buffers[0]
        accelerator.settings.input.pack(vectors[0][:1], np.asarray(source)[:1])
        accelerator._expect(1)
        accelerator._receive.start(target, out_bytes)
        accelerator._send.start(source, accelerator.settings.input.frame_bytes)
        accelerator._receive.wait()
        return np.asarray(target)[0].copy()

    size = accelerator.settings.output.frame_bytes
    right = run(size)
    run(size - 8)
    assert not np.array_equal(run(size), right)


def test_a_reset_of_the_dma_alone_leaves_the_frame_in_the_accelerator(accelerator, vectors, exact_again):
    source, target = accelerator._buffers[0]
    size = accelerator.settings.input.frame_bytes
    accelerator.settings.input.pack(vectors[0][:1], np.asarray(source)[:1])
    accelerator._expect(1)
    accelerator._send.start(source, size // 2)
    accelerator._send.wait()
    dma, regs = accelerator.overlay.dma_0, accelerator.settings.dma
    dma.write(regs["MM2S_DMACR"], regs.mask("MM2S_DMACR", "Reset"))
    for _ in range(100):
        if not dma.read(regs["MM2S_DMACR"]) & regs.mask("MM2S_DMACR", "Reset"):
            break
    accelerator._send.restart()
    accelerator._receive.restart()
    accelerator._receive.start(target, accelerator.settings.output.frame_bytes)
    accelerator._send.start(source, size)
    accelerator._receive.wait()
    got = accelerator.settings.output.unpack(np.asarray(target)[:1]).reshape(-1)
    assert not np.array_equal(got, vectors[1][0])


@pytest.mark.parametrize("prefix", ["MM2S", "S2MM"])
@pytest.mark.parametrize("address, length, error", [
    (0, 0, "DMAIntErr"), (4, 64, "DMAIntErr"), (1 << 40, 64, "DMADecErr")])
def test_wrong_register_writes(accelerator, exact_again, prefix, address, length, error):
    """Length 0, an address that is no multiple of the width, one that is no memory: the channel's error bit."""
    dma, regs = accelerator.overlay.dma_0, accelerator.settings.dma
    at = accelerator._buffers[0][0].device_address + address
    name = "SA" if prefix == "MM2S" else "DA"
    dma.write(regs[f"{prefix}_{name}"], at & 0xFFFFFFFF)
    dma.write(regs[f"{prefix}_{name}_MSB"], at >> 32)
    dma.write(regs[f"{prefix}_LENGTH"], length)
    channel = accelerator._send if prefix == "MM2S" else accelerator._receive
    if prefix == "S2MM" and length:  # writing begins when there is something to write
        accelerator._pack(np.zeros((1, *accelerator.settings.input.dims), np.uint8), 1)
        accelerator._send.start(accelerator._buffers[1][0], accelerator.settings.input.frame_bytes)
    accelerator._expect(1)
    with pytest.raises(DmaError, match=error):
        channel.wait()
    with pytest.raises(DmaError, match=error):  # it stays until a reset
        channel.start(accelerator._buffers[0][0], 64)


def test_a_freed_buffer_is_no_memory_any_more(accelerator, exact_again):
    b = allocate((64,), np.uint8, target=accelerator.device)
    at = b.device_address
    b.freebuffer()
    dma, regs = accelerator.overlay.dma_0, accelerator.settings.dma
    dma.write(regs["MM2S_SA"], at)
    dma.write(regs["MM2S_LENGTH"], 64)
    with pytest.raises(DmaError, match="DMADecErr"):
        accelerator._send.wait()


def test_pynq_refuses_a_busy_channel(accelerator, exact_again):
    accelerator._receive.start(accelerator._buffers[0][1], 64)
    with pytest.raises(RuntimeError, match="not idle"):
        accelerator._receive.start(accelerator._buffers[0][1], 64)


def test_addresses_without_a_slave(accelerator):
    with pytest.raises(BusError, match="no slave at 0x50000000"):
        MMIO(0x50000000, 16, device=accelerator.device).read(0)


def test_a_clock_that_stands_still(accelerator, exact_again, monkeypatch):
    accelerator._receive.start(accelerator._buffers[0][1], 64)
    accelerator._expect(1)
    monkeypatch.setattr(type(accelerator.control), "cycles", property(lambda c: accelerator._begun))
    with pytest.raises(DeviceTimeout, match="clock of the accelerator stands still"):
        accelerator._receive.wait()


# ---- wrong files -------------------------------------------------------------------------------------------------
def open_sim(copy, **more):
    with Accelerator(copy, device="sim", **more):
        pass


def test_another_builds_bitfile(changed):
    with pytest.raises(WrongBitfile, match="another build"):
        open_sim(changed(lambda d: d.update(build_hash="f" * 32)))


def test_another_register_map(changed):
    with pytest.raises(WrongBitfile, match="another register map"):
        open_sim(changed(lambda d: d["registers"]["version"].update(major=9)))


def test_no_accelerator(changed):
    with pytest.raises(WrongBitfile, match="no BHViT accelerator"):
        open_sim(changed(lambda d: d["registers"].update(magic=1)))


def test_frames_of_another_size(changed):
    def edit(d):
        d["streams"]["input"]["dims"][0] *= 2
    with pytest.raises(WrongBitfile, match="another size"):
        open_sim(changed(edit))


def test_another_design(changed):
    def edit(d):
        d["instances"]["control"]["name"] = "axi_gpio_0"
    with pytest.raises(WrongBitfile, match="no design of this project"):
        open_sim(changed(edit))


def test_missing_and_damaged_files(changed):
    copy = changed()
    hwh, bit = (copy / "simulation" / f"simulated.{k}" for k in ("hwh", "bit"))
    text = hwh.read_text()
    hwh.write_text("<no hwh>")
    with pytest.raises(HostError, match="hwh file cannot be read"):
        open_sim(copy)
    hwh.unlink()
    with pytest.raises(HostError, match="hwh file is missing"):
        open_sim(copy)
    hwh.write_text(text)
    data = bit.read_bytes()
    bit.write_bytes(data[:-20])
    with pytest.raises(HostError, match="simulated bitfile is damaged"):
        open_sim(copy)
    bit.write_bytes(b"\x00\x09real")
    with pytest.raises(HostError, match="not for the simulated device"):
        open_sim(copy)
    bit.write_bytes(data.replace(b'"machine": "', b'"machine": "no'))
    with pytest.raises(HostError, match="another processor"):
        open_sim(copy)
    bit.write_bytes(data)
    (copy / "simulation" / "accelerator").unlink()
    with pytest.raises(HostError, match="does not start"):
        open_sim(copy)
    bit.unlink()
    with pytest.raises(HostError, match="bitfile does not exist"):
        open_sim(copy)


def test_a_simulated_bitfile_on_a_board(folder):
    settings = Settings.load(folder)
    with pytest.raises(HostError, match="only for the simulated device"):
        load(folder / settings.simulation["bitfile"], settings, device=object())


def test_settings(changed, tmp_path):
    with pytest.raises(HostError, match="another format"):
        Settings.load(changed(lambda d: d.update(format=99)))
    copy = tmp_path / "copy"
    (copy / "settings.json").write_text("{")
    with pytest.raises(HostError, match="settings are damaged"):
        Settings.load(copy)
    (copy / "settings.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(HostError, match="incomplete"):
        Settings.load(copy)
    with pytest.raises(HostError, match="cannot be read"):
        Settings.load(tmp_path / "nowhere")


def test_a_simulation_that_dies(folder, vectors):
    with Accelerator(folder, device="sim") as a:
        a.device.process._process.kill()
        with pytest.raises(HostError, match="simulation of the accelerator failed"):
            a.execute(vectors[0])
