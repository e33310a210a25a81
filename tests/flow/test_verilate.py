"""The cache of what every simulator shares."""

from __future__ import annotations

import tempfile

import pytest

from bhvit.finn_flow.sim import verilate


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
