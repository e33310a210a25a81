"""Errors that a user can act on."""

from __future__ import annotations


class HostError(RuntimeError):
    """what: the complaint in one sentence; where: file, register or option; why: the cause; do: what helps."""

    def __init__(self, what: str, where: object = None, why: object = None, do: str | None = None):
        super().__init__(what, where, why, do)
        self.what, self.where, self.why, self.do = what, where, why, do

    def __str__(self) -> str:
        parts = (("where", self.where), ("why", self.why), ("what to do", self.do))
        return "\n".join([self.what, *(f"  {name}: {text}" for name, text in parts if text)])


class DeviceTimeout(HostError):
    """A transfer did not end: the accelerator or a DMA channel is stuck."""


class DmaError(HostError):
    """A DMA channel stopped with an error bit."""


class WrongBitfile(HostError):
    """What is on the device is not the design that the settings describe."""
