"""Memory of the simulated device: DDR as the programmable logic sees it, and buffers with the processor's view.

The two views are separate arrays, as a processor's cache and DDR are: `flush` copies host to device, `invalidate`
copies device to host, and a forgotten one leaves old data in sight. Memory starts with a pattern that is no image.
"""

from __future__ import annotations

import numpy as np
from pynq.buffer import PynqBuffer

PAGE = 4096
FILL = 0xA5


class BusError(RuntimeError):
    """An access that the simulated device does not answer; on a board it may hang the processor or destroy data."""


class AddressError(Exception):
    """An address outside DDR: the interconnect answers a DMA with a decode error."""


class Memory:
    """DDR from `base` on, `size` bytes."""

    def __init__(self, base: int = 0x10000000, size: int = 512 << 20) -> None:
        self.base, self.size = base, size
        self.live: dict[int, np.ndarray] = {}  # address -> contents
        self._next = base

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
        self.live[address] = np.full(pages, FILL, np.uint8)
        return address

    def release(self, address: int) -> None:
        self.live.pop(address)

    def view(self, address: int, nbytes: int) -> np.ndarray:
        """The bytes of a region as the device sees them.

        Raises: AddressError: outside DDR. BusError: in DDR, but not in a buffer: on a board this reads or destroys
            somebody else's memory.
        """
        if not self.base <= address or address + nbytes > self.base + self.size:
            raise AddressError(f"0x{address:x}")
        for a, m in self.live.items():
            if a <= address and address + nbytes <= a + len(m):
                return m[address - a:address - a + nbytes]
        raise BusError(f"the device accesses {nbytes} bytes at 0x{address:x}, which is not inside one buffer")


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
