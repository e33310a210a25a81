"""Standard output of C libraries, dropped."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, os
from bhvit.silence import silent_stdout

libc = ctypes.CDLL(None)
print("before")
{close}
try:
    with silent_stdout():
        libc.printf(b"noise\\n")
        raise KeyError
except KeyError:
    pass
libc.printf(b"library\\n")
libc.fflush(None)
print("after")
"""


def said(close: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM.format(close=close)], capture_output=True, text=True)


def test_only_what_is_inside_is_dropped():
    r = said()
    assert r.returncode == 0 and r.stdout.split() == ["before", "library", "after"], r


def test_a_closed_output_is_no_error():
    r = said("import sys; sys.stdout.flush(); os.close(1); sys.stdout = sys.stderr")
    assert r.returncode == 0 and r.stdout.split() == ["before"] and r.stderr.split()[-1] == "after", r
