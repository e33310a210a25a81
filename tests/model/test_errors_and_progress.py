"""What users see: error blocks and progress."""

import io
import pickle

import pytest

from bhvit.errors import CheckFailed, UserError
from bhvit.progress import Progress, duration, track


def test_error_block():
    error = UserError("The file does not exist.", "a/b.npz", "it was moved", "move it back")
    assert str(error).split("\n") == [
        "The file does not exist.", "  where: a/b.npz", "  why: it was moved", "  what to do: move it back"]
    assert error.exit_code == 2 and CheckFailed("x").exit_code == 1 and not isinstance(CheckFailed("x"), UserError)
    assert error.as_dict()["do"] == "move it back"
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and type(copy) is UserError


def test_plain_progress():
    stream = io.StringIO()
    with Progress("work", total=4, unit="items", stream=stream, every=0.0) as bar:
        for i in range(4):
            bar.advance(info=f"now {i}")
        bar.say("a note")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("work: 1/4 items (25 %)") and lines[0].endswith("now 0")
    assert lines[3].startswith("work: 4/4 items (100 %)") and lines[-1] == "a note"


def test_progress_is_rare_and_can_be_silenced(monkeypatch):
    stream = io.StringIO()
    assert list(track(range(100), "fast", stream=stream)) == list(range(100))
    assert len(stream.getvalue().splitlines()) == 1
    monkeypatch.setenv("BHVIT_QUIET", "1")
    assert list(track(range(3), "silent", stream=stream)) == [0, 1, 2]
    assert "silent" not in stream.getvalue()


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress("bar", total=2, stream=stream) as bar:
        bar.advance(2, info="done")
    assert "bar" in stream.getvalue() and "2/2" in stream.getvalue()


@pytest.mark.parametrize("seconds, text", [(3, "3 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text
