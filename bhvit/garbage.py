"""Fewer garbage collections while graphs are worked on.

Protocol buffers hand out a new Python object for every node and tensor that is looked at. At Python's defaults these
set off collections of everything that PyTorch and FINN have loaded: measured, 85 % of the time to look through an
exported network.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: objects between collections of the youngest generation (Python: 700)
OBJECTS = 20_000


@contextmanager
def fewer_collections() -> Iterator[None]:
    """As a context or as a decorator: the collector works less often inside."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
