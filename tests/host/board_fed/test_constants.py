"""These run in .venv-host, on the package of a design whose constants come from outside (BHVIT_PACKAGE);
tests/host/test_feeder.py starts them."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest

warnings.simplefilter("ignore")

from bhvit_host import Accelerator, DmaError, HostError, WrongBitfile  # noqa: E402
from bhvit_host import feeder as feeders  # noqa: E402
from bhvit_host import package as packages  # noqa: E402
from bhvit_host.data import test_vectors as vectors_of  # noqa: E402

MODELS = ("rtl", "golden")


@pytest.fixture(scope="module")
def vectors():
    """images, expected outputs, labels."""
    return vectors_of(packages.find())


def open_(model: str, folder=None) -> Accelerator:
    return Accelerator(folder, device="sim", model=model, batch_size=5, timeout=0.5)


@pytest.fixture(scope="module", params=MODELS)
def accelerator(request):
    with open_(request.param) as a:
        yield a


@pytest.fixture
def changed(tmp_path):
    """changed(edit) -> a copy of the package whose settings were edited."""
    def make(edit=None):
        copy = tmp_path / "copy"
        shutil.copytree(packages.find(), copy)
        if edit:
            data = json.loads((copy / "settings.json").read_text())
            edit(data)
            (copy / "settings.json").write_text(json.dumps(data))
        return copy

    return make


def exact(accelerator, vectors, n: int = 12) -> bool:
    return np.array_equal(accelerator.execute(vectors[0][:n]), vectors[1][:n])


def test_exact_also_after_resets_without_a_new_load(accelerator, vectors):
    c = accelerator.settings.constants
    assert c["load"]["memories"] == 1 and [w["node"] for w in c["weights"]] == ["stem"]
    assert exact(accelerator, vectors)
    accelerator.device.log = log = []
    accelerator.reset()
    assert exact(accelerator, vectors)
    accelerator.device.log = None
    base = accelerator.settings.instances["feeder"]["base"]
    writes = [a - base for kind, a, _ in log if kind == "W" and base <= a < base + 4096]
    assert writes == [], "a reset needs no new load and no new start"
    assert accelerator.control.field("LOADER_STATUS", "state") == feeders.DONE


def test_addresses_reach_the_registers(accelerator):
    f, r = accelerator.feeder, accelerator.settings.feeder
    ip = accelerator.overlay.feeder_0
    assert ip.read(r["WEIGHT0"]) == f._buffers[0].device_address and ip.read(r["WEIGHT0_MSB"]) == 0
    assert r.field("STATE", "ready", ip.read(r["STATE"])) and r.field("STATE", "weights", ip.read(r["STATE"]))


@pytest.fixture
def exact_again(accelerator, vectors):
    """After the test: whatever happened, with the right constants everything is right."""
    yield
    restart(accelerator)
    assert exact(accelerator, vectors)


def restart(accelerator) -> None:
    """Bring the constants in anew."""
    accelerator.feeder.close()
    accelerator.feeder.start()
    accelerator.reset()


def test_a_forgotten_flush_shows(accelerator, exact_again, monkeypatch):
    from bhvit_host.sim.memory import SimBuffer

    with monkeypatch.context() as m, pytest.raises(HostError, match="were not loaded"):
        m.setattr(SimBuffer, "flush", lambda self: None)
        restart(accelerator)


def test_weights_out_of_step_give_wrong_results(accelerator, vectors, exact_again):
    buffer = accelerator.feeder._buffers[0]
    buffer[:] = np.roll(np.array(buffer), accelerator.settings.constants["weights"][0]["bytes"])  # by a word
    buffer.flush()
    accelerator.reset()
    assert not exact(accelerator, vectors)


def test_other_constants_give_wrong_results(accelerator, vectors, exact_again, monkeypatch):
    original = feeders.table

    def other(contents, base):
        contents = contents.copy()
        contents[2] ^= np.uint64(1)
        return original(contents, base)

    with monkeypatch.context() as m:
        m.setattr(feeders, "table", other)
        restart(accelerator)
    assert not exact(accelerator, vectors)


def test_damage_of_the_table_is_told(accelerator, exact_again, monkeypatch):
    original = feeders.table

    def damaged(contents, base):
        words = original(contents, base)
        words[2] += np.uint64(1)
        return words

    with monkeypatch.context() as m, pytest.raises(HostError, match="were not loaded") as e:
        m.setattr(feeders, "table", damaged)
        restart(accelerator)
    assert "self_test.py" in str(e.value)


def moved(monkeypatch, name: str) -> None:
    """An address register gets an address that is no memory."""
    original = feeders.Feeder._address
    monkeypatch.setattr(feeders.Feeder, "_address", lambda self, register, address: original(
        self, register, address + (1 << 40 if register == name else 0)))


def test_a_table_outside_of_memory_is_told(accelerator, exact_again, monkeypatch):
    with monkeypatch.context() as m, pytest.raises(HostError, match="were not loaded"):
        moved(m, "LOAD_TABLE")
        restart(accelerator)


def test_weights_outside_of_memory_are_told(accelerator, vectors, exact_again, monkeypatch):
    with monkeypatch.context() as m:
        moved(m, "WEIGHT0")
        restart(accelerator)
    with pytest.raises(DmaError, match=r"Weights could not be read[\s\S]*port 0 \(stem\): DECERR"):
        accelerator.execute(vectors[0][:5])


def test_a_load_that_does_not_end(monkeypatch):
    monkeypatch.setattr(feeders.Feeder, "_write", lambda self, name, value: None)
    monkeypatch.setattr(feeders.Feeder, "_wait", lambda self, words, wait=feeders.Feeder._wait: (
        setattr(self, "timeout", 0.05), wait(self, words)))
    with pytest.raises(HostError, match="are not loaded") as e:
        open_("rtl")
    assert "state 0 after" in str(e.value)


def test_files_must_be_there_and_whole(changed):
    folder = changed()
    file = folder / "constants" / "weight0_V.bin"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(HostError, match="is damaged"):
        open_("rtl", folder)
    file.write_bytes(data)
    (folder / "constants" / "load.bin").unlink()
    with pytest.raises(HostError, match=r"cannot be read[\s\S]*load.bin"):
        open_("rtl", folder)


def test_settings_of_another_design(changed):
    def edit(data):
        data["constants"]["weights"][0]["words"] += 1

    with pytest.raises(WrongBitfile, match="takes other constants"):
        open_("rtl", changed(edit))


def test_no_memory_is_told(monkeypatch):
    from bhvit_host.sim.memory import Memory

    def none(self, nbytes):
        raise MemoryError("the contiguous memory of the simulated device is exhausted")

    monkeypatch.setattr(Memory, "allocate", none)
    with pytest.raises(HostError, match="not enough contiguous memory for the constants"):
        open_("rtl")


def test_memory_is_given_back():
    a = open_("rtl")
    memory = a.device.memory
    assert len(memory.live) == 1 + 2 * 2, "the weights, and two buffers of two batches: the table is not needed"
    a.close()
    assert not memory.live


def test_a_file_that_ends_early_is_told():
    for words in ([1], [1, 2, 3], [1, 0]):
        with pytest.raises(ValueError, match="ends within segment 0"):
            feeders.table(np.array(words, "<u8"), 0)
