"""The driver on pynq's own code, the RTL of shell and accelerator behind it."""

from __future__ import annotations

import sys

import numpy as np
import pynq
import pynq.lib.dma
import pytest
from bhvit_host import Accelerator, HostError


def test_it_is_pynqs_own_code(accelerator):
    ov = accelerator.overlay
    assert type(ov) is pynq.Overlay and ov.is_loaded()
    assert isinstance(ov.dma_0, pynq.lib.dma.DMA) and type(ov.dma_0.sendchannel) is pynq.lib.dma._SDMAChannel
    assert type(ov.control_0) is pynq.DefaultIP and isinstance(ov.dma_0.mmio, pynq.MMIO)
    assert {n: d["phys_addr"] for n, d in ov.ip_dict.items() if "phys_addr" in d} == {
        i["name"]: i["base"] for i in accelerator.settings.instances.values()}
    assert int(ov.control_0.register_map.MAGIC) == accelerator.settings.registers["magic"]
    assert ov.control_0.register_map.VERSION.major == accelerator.settings.registers["version"]["major"]
    assert "dma_0" in ov.__doc__
    from bhvit_host.dma import BhvitDma

    assert BhvitDma.bindto == [accelerator.settings.dma.vlnv]


@pytest.mark.parametrize("batch, count", [(5, 24), (5, 5), (5, 1), (5, 6), (1, 3), (24, 24), (16, 24)])
def test_every_output_is_pytorchs(accelerator, vectors, batch, count):
    images, expected, _ = vectors
    accelerator.batch_size = batch
    got = accelerator.execute(images[:count])
    assert np.array_equal(got, expected[:count]) and got.dtype.kind == "i"
    assert np.array_equal(accelerator.execute(images[:count], "classes"), expected[:count].argmax(1))


def test_one_image_and_none(accelerator, vectors):
    images, expected, _ = vectors
    assert np.array_equal(accelerator.execute(images[0]), expected[:1])
    assert np.array_equal(accelerator.execute(list(images[:2])), expected[:2])
    assert accelerator.execute(images[:0]).shape == (0, expected.shape[1])


def test_finns_names(accelerator):
    accelerator.batch_size = 5
    i, o = accelerator.settings.input, accelerator.settings.output
    assert accelerator.idt() == "UINT8" and accelerator.ishape_normal() == (5, *i.dims)
    assert np.prod(accelerator.ishape_folded()) == 5 * np.prod(i.dims)
    assert np.prod(accelerator.oshape_packed()) == 5 * o.frame_bytes
    assert accelerator.fclk_mhz == pytest.approx(1500 / 8, rel=0.001)  # for 200 MHz; pynq's nearest is 1500 / 7


def test_packing_goes_on_while_the_accelerator_works(accelerator, vectors, monkeypatch):
    """Batches after the first are packed while results are still to come; buffers are allocated once."""
    accelerator.batch_size = 5
    dma, regs = accelerator.overlay.dma_0, accelerator.settings.dma
    length = regs["S2MM_LENGTH"]  # reads the bytes that have arrived
    busy, pack = [], accelerator._pack

    def watched(images, batch):
        busy.append(dma.read(length) < 5 * accelerator.settings.output.frame_bytes)
        pack(images, batch)

    monkeypatch.setattr(accelerator, "_pack", watched)
    before = sorted(accelerator.device.memory.live)
    accelerator.execute(vectors[0])
    assert len(busy) == 5 and all(busy[1:]), busy
    assert sorted(accelerator.device.memory.live) == before and len(before) == 4


def test_the_next_batch_is_sent_before_the_results_of_the_one_before_are_there(accelerator, vectors):
    accelerator.batch_size = 5
    base = accelerator.settings.instances["dma"]["base"]
    start = {base + accelerator.settings.dma[f"{c}_LENGTH"]: c for c in ("MM2S", "S2MM")}
    accelerator.device.log = []
    try:
        accelerator.execute(vectors[0][:15])
        log = [(start[a], v) for kind, a, v in accelerator.device.log if kind == "W" and a in start]
    finally:
        accelerator.device.log = None
    i, o = (5 * s.frame_bytes for s in (accelerator.settings.input, accelerator.settings.output))
    assert log == [("S2MM", o), ("MM2S", i), ("MM2S", i), ("S2MM", o), ("MM2S", i), ("S2MM", o)]


def test_stopping_in_the_middle(accelerator, vectors):
    images, expected, _ = vectors
    accelerator.batch_size = 5
    batches = accelerator.stream(images)
    assert np.array_equal(next(batches).reshape(5, -1), expected[:5])
    batches.close()
    assert np.array_equal(accelerator.execute(images), expected)


def test_what_stops_a_stream(accelerator, vectors):
    """Another call or a new batch size while transfers are under way: nothing writes into freed buffers, and who goes
    on with the old stream is told."""
    images, expected, _ = vectors
    accelerator.batch_size = 5
    before = accelerator.stream(images)
    next(before)
    assert np.array_equal(accelerator.execute(images[3:9]), expected[3:9])
    with pytest.raises(HostError, match=r"(?s)stopped.*after batch 1 of 5"):
        next(before)
    batches = accelerator.stream(images)
    next(batches)
    accelerator.batch_size = 4
    assert not accelerator._running
    with pytest.raises(HostError, match="stopped"):
        next(batches)
    assert np.array_equal(accelerator.execute(images), expected)
    accelerator.batch_size = 5


def test_closing_in_the_middle(folder, vectors, monkeypatch, capsys):
    for fails in (False, True):
        a = Accelerator(folder, device="sim", batch_size=5)
        batches = a.stream(vectors[0])
        next(batches)
        order = []
        reset, free = a.reset, a._free

        def stop(fails=fails, reset=reset, order=order):
            order.append("reset")
            if fails:
                raise HostError("It does not stop.")
            reset()

        monkeypatch.setattr(a, "reset", stop)
        monkeypatch.setattr(a, "_free", lambda free=free, order=order, a=a: (order.append(len(a._buffers)), free()))
        a.close()
        assert order == ["reset", 0 if fails else 2]
        assert ("not freed" in capsys.readouterr().err) == fails
        batches.close()


def test_buffers(accelerator):
    """Small ones are made larger, and the processor's cache is used."""
    accelerator.batch_size = 1
    for pair in accelerator._buffers:
        for b in pair:
            assert b.nbytes >= 8192 and not b.coherent
    accelerator.batch_size = 5


def test_pictures_go_in(accelerator, vectors, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(1)
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (30, 41, 3), np.uint8)).save(files[-1])
    pixels = np.stack([accelerator.preprocess.photograph(f) for f in files])
    assert np.array_equal(accelerator.execute(files), accelerator.execute(pixels))
    assert accelerator.execute(str(files[0]), "classes").shape == (1,)


@pytest.mark.parametrize("platform, arch", [("zynq-7000", "armv7l"), ("zynq-ultrascale", "aarch64")])
def test_both_platforms_and_their_clocks(changed, vectors, platform, arch, monkeypatch):
    """Zynq-7000 shows that pynq 4.0.0's missing clock frequency is worked round."""
    monkeypatch.delattr(pynq.ps.Clocks, "_real_instance", raising=False)  # pynq keeps it for the life of a process
    def edit(d):
        d.update(platform=platform, clock_mhz=100.0)
    copy = changed(edit, hwh=True)
    bit = copy / "simulation" / "simulated.bit"
    with Accelerator(copy, device="sim") as a:
        read = a.device.get_bitfile_metadata(str(bit)).clock_dict[0]["frequency"]
        assert (read is None) == (platform == "zynq-7000")  # what the driver works round
        assert a.device.arch == arch and a.fclk_mhz == pytest.approx(100, rel=0.01)
        assert np.array_equal(a.execute(vectors[0][:3]), vectors[1][:3])
    with Accelerator(copy, bit, device="sim", clock_mhz=50) as a:
        assert a.fclk_mhz == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize("images, message", [
    (np.zeros((2, 9, 9, 3), np.uint8), "wrong shape"), (np.zeros((5,), np.uint8), "wrong shape"),
    (np.zeros((2, 4, 4, 3), np.float32), "no uint8 pixels"), ("nowhere.png", "cannot be read")])
def test_wrong_images(accelerator, images, message):
    with pytest.raises(HostError, match=message):
        accelerator.execute(images)


def test_wrong_arguments(accelerator, folder):
    with pytest.raises(HostError, match="1 to"):
        accelerator.batch_size = 0
    with pytest.raises(HostError, match="1 to"):
        accelerator.batch_size = 1 << 24
    with pytest.raises(HostError, match="no such output"):
        accelerator.execute(np.zeros((1, 4, 4, 3), np.uint8), "labels")
    with pytest.raises(HostError, match="no such device"):
        Accelerator(folder, device="moon")
    with pytest.raises(HostError, match="no such model"):
        Accelerator(folder, device="sim", model="spice")
    with pytest.raises(HostError, match="There is no board"):
        Accelerator(folder, device="board")


def test_a_board_comes_first(folder, monkeypatch):
    from bhvit_host.overlay import choose_device
    from bhvit_host.settings import Settings

    settings, board = Settings.load(folder), object()
    monkeypatch.setattr(settings, "simulation", None)
    with pytest.raises(HostError, match="no board, and the package has no simulation"):
        choose_device(settings)
    monkeypatch.setattr(pynq.Device, "_devices", [board])
    assert choose_device(settings) is board and choose_device(settings, "board") is board
    with pytest.raises(HostError, match="no bitfile for a board"):
        Accelerator(folder, device="board")


def test_a_board_without_its_environment(folder, monkeypatch, tmp_path):
    """pynq finds no device without XILINX_XRT: no reason to simulate on a board."""
    from bhvit_host import overlay
    from bhvit_host.settings import Settings

    monkeypatch.setattr(pynq.Device, "_devices", [])
    monkeypatch.setattr(overlay, "FPGA_MANAGER", tmp_path)
    for value, why in ((None, "only where XILINX_XRT is set"), ("/usr", "XILINX_XRT is set")):
        monkeypatch.delenv("XILINX_XRT", raising=False) if value is None else monkeypatch.setenv("XILINX_XRT", value)
        for wanted in ("auto", "board"):
            with pytest.raises(HostError, match=rf"(?s)no device on this board.*{why}.*sudo -i"):
                overlay.choose_device(Settings.load(folder), wanted)
    overlay.choose_device(Settings.load(folder), "sim", say=lambda text: None).close()


def test_a_bitfile_that_cannot_be_loaded(folder, monkeypatch):
    def refused(*_):
        raise RuntimeError("Root permissions required")

    monkeypatch.setattr(pynq.Overlay, "download", refused)
    with pytest.raises(HostError, match=r"(?s)bitfile cannot be loaded.*Root permissions.*sudo -i"):
        Accelerator(folder, device="sim")


@pytest.mark.parametrize("asked, achieved", [(None, 187.5), (231, 214.286), (200, 187.5), (100, 100), (33, 32.6)])
def test_the_clock_is_at_most_what_was_asked_for(folder, asked, achieved, capsys):
    """1,500 MHz through whole dividers. None: the 200 MHz of the hwh, of which pynq's own nearest is 214 MHz."""
    with Accelerator(folder, device="sim", clock_mhz=asked) as a:
        assert a.fclk_mhz == pytest.approx(achieved, rel=0.002)
    assert ("above the 200 MHz that timing was met with" in capsys.readouterr().err) == (achieved > 200)


def test_not_enough_memory(folder):
    from bhvit_host.overlay import choose_device
    from bhvit_host.settings import Settings

    device = choose_device(Settings.load(folder), "sim", say=lambda text: None)
    device.memory.size = 1 << 14
    with pytest.raises(HostError, match="not enough contiguous memory"):
        Accelerator(folder, device=device, batch_size=1000)
    assert not device.memory.live
    device.close()


def test_the_host_needs_neither_torch_nor_finn(accelerator):
    assert not {"torch", "finn", "qonnx", "onnx", "bhvit", "brevitas"} & set(sys.modules)
