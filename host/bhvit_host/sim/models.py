"""Register models of the simulated device: clocks of the processing system; for the golden model also the shell's DMA
(registers of Xilinx AXI DMA in direct register mode, PG021, without data realignment) and its control block.
"""

from __future__ import annotations

from typing import Any

from ..settings import Registers
from .feeder import Feeder
from .golden import GoldenProcess
from .memory import AddressError, Memory
from .slave import Slave


class Channel:
    """State of one DMA channel."""

    def __init__(self, prefix: str, address: str, registers: Registers, width: int) -> None:
        self.registers, self.width, self.prefix = registers, width, prefix
        self.at = {k: registers[f"{prefix}_{n}"] for k, n in (
            ("control", "DMACR"), ("status", "DMASR"), ("low", address), ("high", f"{address}_MSB"),
            ("length", "LENGTH"))}
        self.bit = {n: registers.mask(f"{prefix}_DMASR", n) for n in (
            "Halted", "Idle", "DMAIntErr", "DMASlvErr", "DMADecErr", "IOC_Irq", "Err_Irq")}
        self.run = registers.mask(f"{prefix}_DMACR", "RS")
        self.reset_bit = registers.mask(f"{prefix}_DMACR", "Reset")
        self.limit = registers.mask(f"{prefix}_LENGTH", "Length")
        self.reset()

    def reset(self) -> None:
        self.control = self.registers.reset(f"{self.prefix}_DMACR") or 0
        self.status = self.registers.reset(f"{self.prefix}_DMASR") or 0
        self.address, self.length, self.moved, self.busy = 0, 0, 0, False

    @property
    def failed(self) -> bool:
        return bool(self.status & (self.bit["DMAIntErr"] | self.bit["DMASlvErr"] | self.bit["DMADecErr"]))

    def set_control(self, value: int) -> None:
        self.control = value & ~self.reset_bit
        if value & self.run and not self.failed:
            self.status &= ~self.bit["Halted"]
        elif not self.busy:
            self.status |= self.bit["Halted"]

    def fail(self, name: str) -> None:
        """An error halts the channel until a reset."""
        self.busy = False
        self.status |= self.bit[name] | self.bit["Halted"] | self.bit["Err_Irq"]

    def begin(self, length: int) -> bool:
        """LENGTH was written: whether a transfer starts."""
        length &= self.limit
        if self.busy or self.failed or self.status & self.bit["Halted"] or not self.control & self.run:
            return False  # ignored, as by the hardware
        if length == 0 or self.address % self.width:
            self.fail("DMAIntErr")
            return False
        self.length, self.moved, self.busy = length, 0, True
        self.status &= ~self.bit["Idle"]
        return True

    def end(self) -> None:
        self.busy = False
        self.status |= self.bit["Idle"] | self.bit["IOC_Irq"]
        if not self.control & self.run:
            self.status |= self.bit["Halted"]


class Dma(Slave):
    """Both channels, the memory on one side and the accelerator on the other. width: bytes of a memory word."""

    def __init__(self, registers: Registers, memory: Memory, stream: GoldenProcess, width: int) -> None:
        super().__init__()
        self.memory, self.stream = memory, stream
        self.send = Channel("MM2S", "SA", registers, width)
        self.receive = Channel("S2MM", "DA", registers, width)
        self.sent = 0  # bytes given to the stream since its last reset
        self.feeder: Feeder | None = None  # of designs whose constants come from outside
        self.held: bytes | None = None     # input that waits for them

    def reset(self, accelerator: bool = False) -> None:
        """Both channels. The accelerator keeps the frames that it holds, unless it is reset, too."""
        self.send.reset()
        self.receive.reset()
        self.sent, self.held = 0, None
        self.stream.reset(accelerator)
        if accelerator and self.feeder is not None:
            self.feeder.soft_reset()

    def update(self) -> None:
        """Bring both channels up to the state of the accelerator."""
        if self.held is not None and self.feeder.begin():
            self.stream.send(self.held)
            self.held = None
        data = self.stream.poll()
        if self.feeder is not None and not self.feeder.right:
            data = data ^ 0x55  # with other constants the results are others
        if self.send.busy and self.held is None and self.stream.taken >= self.sent:
            self.send.moved = self.send.length
            self.send.end()
        if len(data):
            start = self.receive.address + self.receive.moved
            self.memory.view(start, len(data))[:] = data
            self.receive.moved += len(data)
        if self.receive.busy and self.receive.moved == self.receive.length:
            self.receive.end()

    def read(self, offset: int) -> int:
        for c in (self.send, self.receive):
            if offset == c.at["status"]:
                self.update()
                return c.status
            if offset == c.at["control"]:
                return c.control
            if offset == c.at["low"]:
                return c.address & 0xFFFFFFFF
            if offset == c.at["high"]:
                return c.address >> 32
            if offset == c.at["length"]:
                self.update()
                return c.length if c is self.send else c.moved
        return 0

    def write(self, offset: int, value: int) -> None:
        for c in (self.send, self.receive):
            if offset == c.at["control"]:
                if value & c.reset_bit:
                    self.reset()
                else:
                    c.set_control(value)
            elif offset == c.at["status"]:
                c.status &= ~(value & (c.bit["IOC_Irq"] | c.bit["Err_Irq"]))
            elif offset == c.at["low"] and not c.busy:
                c.address = c.address & ~0xFFFFFFFF | value
            elif offset == c.at["high"] and not c.busy:
                c.address = c.address & 0xFFFFFFFF | value << 32
            elif offset == c.at["length"]:
                self.update()
                self._start(c, value)

    def _start(self, c: Channel, length: int) -> None:
        if not c.begin(length):
            return
        try:
            region = self.memory.view(c.address, c.length)
        except AddressError:
            c.fail("DMADecErr")
            return
        if c is self.send:
            self.sent += c.length
            if self.feeder is None or self.feeder.begin():
                self.stream.send(region.tobytes())
            else:
                self.held = region.tobytes()
        else:
            self.stream.accept(c.length)


class Control(Slave):
    """Identity, soft reset and counters of the shell. identity: register name -> value of this build."""

    def __init__(self, registers: Registers, identity: dict[str, int], dma: Dma) -> None:
        super().__init__()
        self.registers, self.dma, self.stream = registers, dma, dma.stream
        self.identity = {registers[k]: v for k, v in identity.items()}
        self.names = registers.names()
        self.base = (0, 0, 0)
        self.high = 0

    def read(self, offset: int) -> int:
        if offset in self.identity:
            return self.identity[offset]
        name = self.names.get(offset)
        if name in ("FRAMES_IN", "FRAMES_OUT", "CYCLES_LOW", "LAST_INTERVAL", "LAST_LATENCY", "STATUS"):
            self.dma.update()
        s, (cycles, begun, done) = self.stream, self.base
        if name == "CYCLES_LOW":
            self.high = s.cycles - cycles >> 32
            return s.cycles - cycles & 0xFFFFFFFF
        if name == "CYCLES_HIGH":
            return self.high
        if name == "STATUS":
            mask = self.registers.mask
            return ((mask("STATUS", "busy") if s.frames_in > s.frames_out else 0)
                    | (mask("STATUS", "mm2s_error") if self.dma.send.failed else 0)
                    | (mask("STATUS", "s2mm_error") if self.dma.receive.failed else 0)
                    | (mask("STATUS", "weight_error") if self.dma.feeder and self.dma.feeder.errors else 0))
        if name == "LOADER_STATUS" and self.dma.feeder is not None:
            return self.dma.feeder.state
        return {"FRAMES_IN": s.frames_in - begun, "FRAMES_OUT": s.frames_out - done, "LAST_INTERVAL": s.interval,
                "LAST_LATENCY": s.latency}.get(name, self.registers.reset(name) or 0 if name else 0)

    def write(self, offset: int, value: int) -> None:
        if self.names.get(offset) != "CONTROL":
            return  # the others are read only
        if value & self.registers.mask("CONTROL", "soft_reset"):
            self.dma.reset(accelerator=True)
            self.base = (self.base[0], 0, 0)
        if value & self.registers.mask("CONTROL", "clear_counters"):
            self.dma.update()
            self.base = (self.stream.cycles, self.stream.frames_in, self.stream.frames_out)


def zynq_clocks() -> dict[int, Slave]:
    """Base address -> clock registers of Zynq-7000 that pynq.ps.Clocks uses: 33.333 MHz in, PLLs, FCLK0 to 3."""
    slcr = Slave()
    slcr.reg.update({0x100: 40 << 12, 0x104: 32 << 12, 0x108: 30 << 12, 0x120: 0x1F000200})
    slcr.reg.update({c: 5 << 8 | 2 << 20 for c in (0x170, 0x180, 0x190, 0x1A0)})
    return {0xF8000000: slcr}


def ultrascale_clocks() -> dict[int, Slave]:
    """The same for Zynq UltraScale+: CRL_APB with the IO PLL and PL0 to PL3, CRF_APB."""
    crl, crf = Slave(), Slave()
    crl.reg.update({0x20: 90 << 8 | 1 << 16, 0x30: 60 << 8 | 1 << 16})
    crl.reg.update({c: 1 << 24 | 1 << 16 | 15 << 8 for c in (0xC0, 0xC4, 0xC8, 0xCC)})
    crf.reg.update({c: 72 << 8 | 1 << 16 for c in (0x20, 0x2C, 0x38)})
    return {0xFF5E0000: crl, 0xFD1A0000: crf}


def identity(registers: Registers, design: dict[str, Any]) -> dict[str, int]:
    """Values of the control block's registers that the build decides."""
    whole = int(design["build_hash"], 16)
    return {"INPUT_BYTES": design["input_bytes"], "OUTPUT_BYTES": design["output_bytes"],
            "CLOCK_KHZ": round(design["clock_mhz"] * 1000),
            **{f"BUILD_HASH{i}": whole >> 32 * i & 0xFFFFFFFF for i in range(4)}}
