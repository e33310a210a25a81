"""The control block of the shell: identity, soft reset, counters."""

from __future__ import annotations

import time

from .errors import HostError, WrongBitfile
from .settings import Registers, Settings

#: soft reset, in seconds: it waits for open memory transactions, which take microseconds
RESET_SECONDS = 2.0


class ControlBlock:
    """Reads and writes by register name. ip: the pynq driver of the block."""

    def __init__(self, ip, registers: Registers) -> None:
        self._ip, self._registers = ip, registers

    def read(self, name: str) -> int:
        return int(self._ip.read(self._registers[name]))

    def field(self, register: str, field: str) -> int:
        return self._registers.field(register, field, self.read(register))

    @property
    def cycles(self) -> int:
        """Clock cycles since the counters were cleared (64 bits; the low word latches the high one)."""
        low = self.read("CYCLES_LOW")
        return low | self.read("CYCLES_HIGH") << 32

    @property
    def build_hash(self) -> str:
        return f"{sum(self.read(f'BUILD_HASH{i}') << 32 * i for i in range(4)):032x}"

    def check(self, settings: Settings, bitfile: object) -> None:
        """Raise WrongBitfile unless the design on the device is that of the settings."""
        magic, want = self.read("MAGIC"), settings.registers["magic"]
        if magic != want:
            raise WrongBitfile("There is no BHViT accelerator on the device.", bitfile,
                               f"its control block answers 0x{magic:08x} instead of 0x{want:08x}",
                               "use the bitfile and hwh of this package")
        version = self.field("VERSION", "major")
        if version != settings.registers["version"]["major"]:
            raise WrongBitfile("The bitfile has another register map.", bitfile, f"version {version}, the settings "
                               f"have {settings.registers['version']['major']}", "use files of one package")
        if self.build_hash != settings.build_hash:
            raise WrongBitfile("The bitfile is that of another build.", bitfile,
                               f"build hash {self.build_hash}, the settings have {settings.build_hash}",
                               "use the bitfile and the settings of one package")
        for name, stream in (("INPUT_BYTES", settings.input), ("OUTPUT_BYTES", settings.output)):
            if self.read(name) != stream.frame_bytes:
                raise WrongBitfile("The bitfile's frames have another size.", f"{name} of {bitfile}",
                                   f"{self.read(name)} bytes, the settings have {stream.frame_bytes}",
                                   "the package is damaged: make it again")

    def clear_counters(self) -> None:
        self._ip.write(self._registers["CONTROL"], self._registers.mask("CONTROL", "clear_counters"))

    def soft_reset(self) -> None:
        """Reset accelerator, streams and DMA once every memory transaction is complete. Raises HostError."""
        bit = self._registers.mask("CONTROL", "soft_reset")
        self._ip.write(self._registers["CONTROL"], bit)
        end = time.monotonic() + RESET_SECONDS
        while self.read("CONTROL") & bit:
            if time.monotonic() > end:
                raise HostError("The soft reset does not end.", "control block", "a memory transaction stays open",
                                "load the overlay again; if that does not help, restart the board")
