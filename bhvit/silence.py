"""Keeping a C library's own words out of standard output, which may be JSON for another program."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Drop what is written to file descriptor 1 inside; Python's own earlier output is kept."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # closed: nothing can be written
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what the library has buffered goes where the rest went
        os.dup2(saved, 1)
        os.close(null)
        os.close(saved)
