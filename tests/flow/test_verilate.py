"""The cache of what every simulator shares."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from bhvit.finn_flow.sim import verilate
from bhvit.finn_flow.streams import DType, Stream


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary directory of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    verilate._cache_root.cache_clear()
    yield tmp_path
    verilate._cache_root.cache_clear()


def shared(folder):
    return folder / f"bhvit-verilated-{verilate.os.getuid()}"


def test_cache_is_the_users_own(temporary):
    root = verilate._cache_root()
    assert root == shared(temporary) and root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["writable by all", "link", "file", "somebody else's"])
def test_a_cache_that_others_could_fill_is_not_used(temporary, tmp_path_factory, monkeypatch, trap):
    place = shared(temporary)
    if trap == "writable by all":
        place.mkdir()
        place.chmod(0o777)
    elif trap == "link":
        place.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    elif trap == "file":
        place.write_text("")
    else:
        place.mkdir(mode=0o700)
        user = verilate.os.getuid()
        monkeypatch.setattr(verilate.os, "getuid", lambda: user + 1)
        place.rename(shared(temporary))
    root = verilate._cache_root()
    assert root != place and root.parent == temporary and root.stat().st_mode & 0o777 == 0o700
    assert root == verilate._cache_root(), "one for the whole process"


def test_a_run_of_many_frames_says_more_than_a_pipe_holds(tmp_path):
    """The simulator writes a line per FIFO and a number per frame before it ends."""
    exe = tmp_path / "sim"
    exe.write_text("#!/bin/sh\n"
                   "yes 'BV_FIFO 0 1 2 3 4 5 6 7' | head -n 20000\n"
                   "while [ \"$1\" != --out ]; do shift; done\n"
                   "printf '\\001\\002\\003' > \"$3\"\n"
                   "echo 'a word' >&2\n"
                   "echo '{\"status\": 0, \"cycles\": 9, \"seconds\": 1.0, "
                   "\"inputs\": [{\"frame_cycles\": [0, 3, 6]}], "
                   "\"outputs\": [{\"frame_cycles\": [2, 5, 8]}], \"weights\": []}'\n")
    exe.chmod(0o755)
    stream = Stream((1, 1), DType(8, signed=False), 1)
    got = verilate.run_simulator(exe, [(stream, np.zeros((3, 1, 1), int))], [stream], 3, cwd=tmp_path)
    assert got.outputs[0].ravel().tolist() == [1, 2, 3] and got.log.count("BV_FIFO") == 20000
    assert got.input_interval == 3 and got.latency == 3


def test_the_slower_end_of_a_long_run_is_its_pace():
    """Frames leave faster while a run ends; with many, those that go in show what the design keeps up."""
    def run(into, out, frames):
        times = [[int(n * step) for n in range(frames)] for step in (into, out)]
        return verilate.SimResult(0, 0, 1.0, [], times[:1], times[1:], "")

    assert run(110, 100, 30).pace == pytest.approx(110) and run(90, 100, 30).pace == 100
    assert run(110, 100, 12).pace == 100, "few frames: the pipeline is being filled"
