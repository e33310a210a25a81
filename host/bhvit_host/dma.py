"""The shell's DMA: pynq's own driver for AXI DMA, with waiting that ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from pynq.lib.dma import DMA

from .errors import DmaError, HostError
from .settings import Registers

ERRORS = {"DMAIntErr": "length 0, or an address that is no multiple of the memory width",
          "DMASlvErr": "the memory answered with an error",
          "DMADecErr": "the address is outside the memory"}


class BhvitDma(DMA):
    """pynq binds it to the DMA of the shell. Its registers are those of AXI DMA in direct register mode."""

    bindto = ["bhvit:shell:bhvit_dma:1.0"]

    def __init__(self, description, *args, **kwargs):
        parameters = description.get("parameters", {})
        # Vivado may write parameter names in capitals, pynq looks them up in lower case
        parameters.update({k.lower(): v for k, v in list(parameters.items())})
        super().__init__(description, *args, **kwargs)


class Channel:
    """One direction of the DMA.

    Args:
        dma: the pynq driver. registers: its register block. prefix: "MM2S" (send) or "S2MM" (receive).
        hopeless: called now and then while a wait takes long, with the seconds waited: raises when waiting is in vain.
    """

    def __init__(self, dma: BhvitDma, registers: Registers, prefix: str, hopeless: Callable[[float], None]) -> None:
        self._dma, self._registers, self._prefix, self._hopeless = dma, registers, prefix, hopeless
        self._channel = dma.sendchannel if prefix == "MM2S" else dma.recvchannel
        self._status, self._control = registers[f"{prefix}_DMASR"], registers[f"{prefix}_DMACR"]
        self._idle, self._halted, self._run = (registers.mask(f"{prefix}_{r}", f) for r, f in (
            ("DMASR", "Idle"), ("DMASR", "Halted"), ("DMACR", "RS")))
        if self._channel is None:
            raise HostError("The DMA lacks a channel.", f"{prefix} of the hwh", do="use the hwh of this bitfile")

    @property
    def limit(self) -> int:
        """Bytes of the longest transfer."""
        return self._dma.buffer_max_size

    def start(self, buffer, nbytes: int) -> None:
        """Begin a transfer of the first bytes of a buffer; pynq flushes it where the direction needs that."""
        self._raise_error(self._dma.read(self._status))
        self._channel.transfer(buffer, nbytes=nbytes)

    def wait(self) -> None:
        """Until the transfer is complete; pynq then invalidates the buffer where the direction needs that.

        Raises: DmaError: the channel stopped with an error. DeviceTimeout: from `hopeless`.
        """
        begun = time.monotonic()
        while True:
            status = self._dma.read(self._status)
            self._raise_error(status)
            if status & self._idle:
                break
            waited = time.monotonic() - begun
            if waited > 0.001:  # short transfers are polled without a pause
                time.sleep(0.0001)
                self._hopeless(waited)
        self._channel.wait()

    def restart(self, seconds: float = 1.0) -> None:
        """Run again after a reset."""
        self._dma.write(self._control, self._run)
        end = time.monotonic() + seconds
        while self._dma.read(self._status) & self._halted:
            if time.monotonic() > end:
                raise HostError("A DMA channel does not start.", f"{self._prefix} channel",
                                do="load the overlay again")
        self._channel.start()  # has nothing to wait for now; forgets the transfer that was lost

    def _raise_error(self, status: int) -> None:
        for name, text in ERRORS.items():
            if status & self._registers.mask(f"{self._prefix}_DMASR", name):
                raise DmaError(f"The DMA's {self._prefix} channel stopped with an error.", f"{name}, status "
                               f"0x{status:08x}", text, "call reset(); if it happens again, the bitfile and the "
                               "settings may not belong together")
