"""Register model of the feeder, for the golden model: it reads the load table and the weights from memory, as the RTL
does, and knows from their checksums whether they are those of the design.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..settings import Registers
from .memory import AddressError, Memory
from .slave import Slave

MAGIC = int.from_bytes(b"BHVTLOAD", "little")
NOTHING, DONE, FAILED = 0, 2, 3


class Feeder(Slave):
    """constants: files of the design with their checksums (settings of a package). width: bytes of a memory word.

    Attributes: state (LOADER_STATUS), right (what has come in is what the design has), errors (ERRORS).
    """

    def __init__(self, registers: Registers, memory: Memory, constants: dict[str, Any], width: int) -> None:
        super().__init__()
        self.registers, self.memory, self.constants, self.width = registers, memory, constants, width
        self.names = registers.names()
        self.state, self.errors, self.begun, self.right, self._loaded = NOTHING, 0, False, True, None

    def _address(self, name: str) -> int:
        return self.reg.get(self.registers[name], 0) | self.reg.get(self.registers[f"{name}_MSB"], 0) << 32

    @property
    def ready(self) -> bool:
        return (self.constants["load"] is None or self.state == DONE) and (self.begun or not self.constants["weights"])

    def begin(self) -> bool:
        """A frame wants to enter: whether it may. The weights are read."""
        if not self.ready:
            return False
        self.right = self.constants["load"] is None or self._loaded == self.constants["load"]["sha256"]
        for i, w in enumerate(self.constants["weights"]):
            try:
                words = self.memory.view(self._address(f"WEIGHT{i}"), w["words"] * w["bytes"])
            except AddressError:
                self.errors |= 3 << 2 * i
                continue
            self.right &= hashlib.sha256(words.tobytes()).hexdigest() == w["sha256"]
        return not self.errors

    def soft_reset(self) -> None:
        """The weights begin anew; what was loaded stays."""
        self.errors = 0
        self.begun = self._enabled

    @property
    def _enabled(self) -> bool:
        return bool(self.reg.get(self.registers["START"], 0))

    def read(self, offset: int) -> int:
        name = self.names.get(offset)
        mask = self.registers.mask
        if name == "STATE":
            return self.state | self.begun * mask("STATE", "weights") | self.ready * mask("STATE", "ready")
        if name == "ERRORS":
            return self.errors
        if name == "PORTS":
            return len(self.constants["weights"]) | (self.constants["load"] is not None) * mask("PORTS", "load")
        for i, w in enumerate(self.constants["weights"]):
            if name == f"WEIGHT{i}_BYTES":
                return w["words"] * w["bytes"]
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        name, mask = self.names.get(offset, ""), self.registers.mask
        if name == "START":
            enabled = bool(value & mask("START", "weights")) and bool(self.constants["weights"])
            self.reg[offset] = mask("START", "weights") if enabled else 0
            self.begun |= enabled
            if value & mask("START", "load") and self.constants["load"] is not None:
                self.load()
        elif name.startswith("LOAD_TABLE"):
            self.reg[offset] = value if name.endswith("MSB") else value & ~7
        elif not self.begun and name.removesuffix("_MSB") in {
                f"WEIGHT{i}" for i in range(len(self.constants["weights"]))}:
            self.reg[offset] = value if name.endswith("MSB") else value & ~(self.width - 1)

    def load(self) -> None:
        """Read the table, as bhvit_loader does."""
        def words(address: int, size: int) -> np.ndarray:
            return self.memory.view(address, size).view("<u8")

        self.state, self._loaded = FAILED, None
        at, total, digest = self._address("LOAD_TABLE"), 0, hashlib.sha256()
        try:
            magic, count, want, _ = map(int, words(at, 32))
            if magic != MAGIC or count >> 32:
                return
            for i in range(count):
                entry = words(at + 32 * (i + 1), 32)
                address, what, first = (int(v) for v in entry[:3])
                size = what & 0xFFFFFFFF
                if size == 0 or size % 8 or address % 8:
                    return
                data = words(address, size)
                total += int(entry.sum(dtype=np.uint64)) + int(data.sum(dtype=np.uint64))
                head = (what >> 32 & 0xFFFF) << 32 | first & 0xFFFFFFFF
                digest.update(np.array([head, size // 8], "<u8").tobytes() + data.tobytes())
        except AddressError:
            return
        if total & (1 << 64) - 1 == want:
            self.state, self._loaded = DONE, digest.hexdigest()
