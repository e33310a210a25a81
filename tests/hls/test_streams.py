"""The stream of C simulation: underflow, leftovers, bounded streams between threads, deadlocks with names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bhvit.finn_flow.hls.generate import SIM
from bhvit.tools import compiler


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def program(request, tmp_path_factory):
    exe = tmp_path_factory.mktemp("streams") / "streams"
    subprocess.run([compiler(), "-std=c++14", "-O0", "-Wall", "-Wextra", "-Werror", f"-fsanitize={request.param}",
                    f"-I{SIM}", Path(__file__).with_name("streams.cpp"), "-pthread", "-o", exe], check=True)

    def run(what: str) -> str:
        p = subprocess.run([exe, what], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0, p.stderr
        return p.stdout

    return run


def test_reading_an_empty_stream_throws(program):
    assert program("underflow") == "stream 'x' is read while it is empty\n"


def test_leftovers_are_reported(program):
    assert program("leftover") == "stream 'tail' ends with 2 beats in it\n"


def test_bounded_streams_carry_everything(program):
    for _ in range(5):
        assert program("deep") == "sum 198 peak 4\n"


def test_a_stream_that_is_too_short_is_named(program):
    for _ in range(5):
        assert program("short") == ("deadlock: process 'fork' waits to write to full stream 'first' of depth 3; "
                                    "process 'join' waits to read from empty stream 'second'\n")


def test_the_stream_that_causes_a_deadlock_comes_first(program):
    assert program("guilty").startswith("deadlock: stream 'first' is too short: it is full while its reader 'join' "
                                        "waits for stream 'second'; process 'fork' waits to write")


def test_waiting_for_a_process_that_ended_is_a_deadlock(program):
    assert program("starved") == "deadlock: process 'reader' waits to read from empty stream 'never'\n"


def test_waiting_for_either_of_two_streams(program):
    for _ in range(5):
        assert program("either") == "sum 1030\n"
    assert program("neither") == "deadlock: process 'both' waits to read from empty stream 'left' or 'right'\n"
    assert "stream 'left' is waited for while it is empty" in program("nothing")


def test_an_exception_comes_before_the_deadlock_it_causes(program):
    assert program("exception") == "process broken\n"
