"""What all register models of the simulated device have in common."""

from __future__ import annotations


class Slave:
    """A register file; unknown offsets read 0 as those of an AXI4-Lite slave that answers everything."""

    def __init__(self) -> None:
        self.reg: dict[int, int] = {}

    def read(self, offset: int) -> int:
        return self.reg.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.reg[offset] = value
