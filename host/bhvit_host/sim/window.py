"""A window of registers, in place of the memory-mapped array of a board.

Not an ndarray: pynq's RegisterMap takes views and slices, and those of an ndarray would be copies that no device sees.
"""

from __future__ import annotations

import numpy as np


class RegisterWindow:
    """Words of the device's address space from `base` on; each access goes over the simulated bus."""

    def __init__(self, device, base: int, nbytes: int, dtype="u4") -> None:
        self._device, self._base, self._bytes, self.dtype = device, base, nbytes, np.dtype(dtype)

    def __len__(self) -> int:
        return self._bytes // self.dtype.itemsize

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def view(self, dtype=None) -> RegisterWindow:
        return RegisterWindow(self._device, self._base, self._bytes, dtype or self.dtype)

    def _address(self, index: int) -> int:
        if not 0 <= int(index) < len(self):
            raise IndexError(index)
        return self._base + int(index) * self.dtype.itemsize

    def __getitem__(self, key):
        if isinstance(key, slice):
            low, high, step = key.indices(len(self))
            if step != 1:
                raise IndexError("registers are sliced with step 1")
            width = self.dtype.itemsize
            return RegisterWindow(self._device, self._base + low * width, max(high - low, 0) * width, self.dtype)
        address, value = self._address(key), 0
        for word in range(max(1, self.dtype.itemsize // 4)):
            value |= self._device.bus_read(address + 4 * word) << 32 * word
        return self.dtype.type(value)

    def __setitem__(self, key, value) -> None:
        if isinstance(key, slice):
            for i, v in zip(range(*key.indices(len(self))), np.asarray(value).ravel()):
                self[i] = v
            return
        address, value = self._address(key), int(value)
        for word in range(max(1, self.dtype.itemsize // 4)):
            self._device.bus_write(address + 4 * word, value >> 32 * word & 0xFFFFFFFF)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array([self[i] for i in range(len(self))], dtype or self.dtype)
