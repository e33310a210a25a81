"""Memory of the simulated device: DDR as the programmable logic sees it, and buffers with the processor's view.

The two views are separate arrays, as a processor's cache and DDR are: `flush` copies host to device, `invalidate`
copies device to host, and a forgotten one leaves old data in sight. Memory starts with a pattern that is no image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pynq.buffer import PynqBuffer

PAGE = 4096
FILL = 0xA5


class BusError(RuntimeError):
    """A register access that nothing answers; on a board it may hang the processor."""


class AddressError(RuntimeError):
    """An address where nothing is allocated. On a board it may be somebody else's memory."""


class Memory:
    """DDR from `base` on, `size` bytes. Every allocated region is a file of its own, which a simulation maps, too.

    changed: called with ("map", address, size, path) or ("unmap", address, 0, None).
    """

    def __init__(self, base: int = 0x10000000, size: int = 512 << 20) -> None:
        self.base, self.size = base, size
        self.live: dict[int, np.ndarray] = {}  # address -> contents
        self.changed: Callable[..., None] | None = None
        self._next = base
        self._folder = tempfile.TemporaryDirectory(prefix="bhvit-memory-")

    def allocate(self, nbytes: int) -> int:
        """Address of a new, page-aligned region."""
        pages = -(-max(nbytes, 1) // PAGE) * PAGE
        if sum(len(m) for m in self.live.values()) + pages > self.size:
            raise MemoryError("the contiguous memory of the simulated device is exhausted")
        if self._next + 2 * pages > self.base + self.size:
            self._next = self.base
        while any(a < self._next + pages and self._next < a + len(m) for a, m in self.live.items()):
            self._next += PAGE
        address, self._next = self._next, self._next + pages + PAGE
        self.live[address] = np.memmap(self._path(address), np.uint8, "w+", shape=(pages,))
        self.live[address][:] = FILL
        if self.changed:
            self.changed("map", address, pages, self._path(address))
        return address

    def release(self, address: int) -> None:
        if self.changed:
            self.changed("unmap", address, 0, None)
        self.live.pop(address)
        self._path(address).unlink()

    def regions(self) -> list[tuple[int, int, Path]]:
        """(address, size, file) of everything allocated."""
        return [(a, len(m), self._path(a)) for a, m in self.live.items()]

    def _path(self, address: int) -> Path:
        return Path(self._folder.name) / f"{address:x}"

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """The bytes of a region as the device sees them.

        Raises: AddressError: nothing is allocated there; an interconnect answers with a decode error.
        """
        for a, m in self.live.items():
            if a <= address and address + nbytes <= a + len(m):
                return m[address - a:address - a + nbytes]
        raise AddressError(f"{nbytes} bytes at 0x{address:x} are not inside one buffer")


class SimBuffer(PynqBuffer):
    """A pynq buffer that is freed without the memory mapping of a board."""

    _release = None

    def freebuffer(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


class BufferObject:
    """What pynq hands back to `flush` and `invalidate`."""

    def __init__(self, host: np.ndarray, address: int) -> None:
        self.host, self.address = host, address
