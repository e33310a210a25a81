"""The simulated device as pynq sees it.

pynq itself is not changed. The device takes no part in pynq's probing: a board, where there is one, stays the default.
"""

from __future__ import annotations

import json
import os
import platform as machine
from pathlib import Path
from typing import Any

import numpy as np
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser

from ..errors import HostError
from ..settings import Registers
from .feeder import Feeder
from .golden import GoldenProcess
from .hwh import MARK
from .memory import BufferObject, BusError, Memory, SimBuffer
from .models import Control, Dma, identity, ultrascale_clocks, zynq_clocks
from .shell import ShellProcess, ShellSlave
from .slave import Slave
from .window import RegisterWindow

#: what stands behind the DMA registers -> evidence of a result
EVIDENCE = {"rtl": "RTL simulation (Verilator) of the design, no board",
            "golden": "integer golden model, no RTL and no board"}
ARCHITECTURE = {"zynq-7000": "armv7l", "zynq-ultrascale": "aarch64"}


class SimDevice(Device):
    """A Zynq on which a simulated bitfile can be loaded.

    Args:
        platform: "zynq-7000" or "zynq-ultrascale". model: "rtl" or "golden". registers: the register map of the shell
            (settings["registers"]). python: interpreter with the flow, for "golden" (default: $BHVIT_PYTHON).
    Attributes:
        simulated: the evidence that every figure measured on it carries. log: bus accesses, if a list is assigned.
    """

    def __init__(self, platform: str, registers: dict[str, Any], model: str = "rtl", python: str | None = None) -> None:
        super().__init__("bhvit-simulated")
        if model not in EVIDENCE:
            raise HostError("The simulated device has no such model.", model, do=f"choose {' or '.join(EVIDENCE)}")
        self.name, self.arch, self.model = "simulated-" + platform, ARCHITECTURE[platform], model
        self.simulated = EVIDENCE[model]
        self.capabilities = {"MEMORY_MAPPED": True}
        self.bitfile_name, self.timestamp = "", ""
        self.memory, self.process, self.log = Memory(), None, None
        self._python, self._registers = python or os.environ.get("BHVIT_PYTHON"), registers
        clocks = zynq_clocks() if platform == "zynq-7000" else ultrascale_clocks()
        self._processor = [(base, 0x1000, slave) for base, slave in clocks.items()]
        self._map: list[tuple[int, int, Slave]] = list(self._processor)

    # ---- bus
    def _slave(self, address: int) -> tuple[Slave, int]:
        for base, size, slave in self._map:
            if base <= address < base + size:
                return slave, address - base
        raise BusError(f"no slave at 0x{address:08x}; on a board this access may hang the processor")

    def bus_read(self, address: int) -> int:
        slave, offset = self._slave(address)
        value = slave.read(offset) & 0xFFFFFFFF
        if self.log is not None:
            self.log.append(("R", address, value))
        return value

    def bus_write(self, address: int, value: int) -> None:
        slave, offset = self._slave(address)
        if self.log is not None:
            self.log.append(("W", address, value))
        slave.write(offset, value)

    def mmap(self, base: int, length: int) -> RegisterWindow:
        """The registers of a slave (pynq.MMIO)."""
        return RegisterWindow(self, base, length)

    # ---- memory
    def allocate(self, shape, dtype, cacheable=1, **_) -> SimBuffer:
        """A buffer with a host view of its own (cacheable) or the device's memory itself."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        address = self.memory.allocate(size)
        device_view = self.memory.view(address, size)
        host = np.full(size, 0x5A, np.uint8) if cacheable else device_view
        buffer = SimBuffer(shape, dtype, buffer=host, device=self, device_address=address,
                           bo=BufferObject(host, address), coherent=not cacheable)
        buffer._release = lambda: self.memory.release(address)
        return buffer

    def flush(self, bo, offset, vaddr, nbytes) -> None:
        self.memory.view(bo.address + offset, nbytes)[:] = bo.host[offset:offset + nbytes]

    def invalidate(self, bo, offset, vaddr, nbytes) -> None:
        bo.host[offset:offset + nbytes] = self.memory.view(bo.address + offset, nbytes)

    # ---- overlay
    def get_bitfile_metadata(self, bitfile_name, partial=False):
        parser = RuntimeMetadataParser(Metadata(input=os.path.splitext(bitfile_name)[0] + ".hwh"))
        parser.refresh_hierarchy_dict()
        return parser

    def download(self, bitstream, parser=None) -> None:
        """Start the design of a simulated bitfile. Raises HostError for a bitfile of a board."""
        bitfile = Path(bitstream.bitfile_name)
        design = read_design(bitfile)
        self.close()
        slaves = self._start_golden(design, bitfile) if self.model == "golden" else self._start_rtl(design, bitfile)
        self._map = list(self._processor)
        for block, slave in slaves.items():
            vlnv = self._registers["blocks"][block]["vlnv"]
            self._map += [(d["phys_addr"], d["addr_range"], slave) for d in parser.ip_dict.values()
                          if d["type"] == vlnv]
        self.post_download(bitstream, parser, self.name)

    def _start_golden(self, design: dict[str, Any], bitfile: Path) -> dict[str, Slave]:
        if not self._python:
            raise HostError("The golden model needs the flow's Python.", "BHVIT_PYTHON",
                            do="set it to .venv/bin/python of the repository, or simulate the RTL")
        graph = bitfile.parent / design["golden"]
        self.process = GoldenProcess([self._python, "-m", "bhvit.finn_flow.package.golden_server", graph.resolve()],
                                     bitfile.parent)
        dma_block, control_block = (Registers(self._registers["blocks"][b]) for b in ("dma", "control"))
        dma = Dma(dma_block, self.memory, self.process, design["data_width"] // 8)
        slaves = {"dma": dma, "control": Control(control_block, identity(control_block, design), dma)}
        if design.get("constants"):
            block = Registers(self._registers["blocks"]["feeder"])
            slaves["feeder"] = dma.feeder = Feeder(block, self.memory, design["constants"], design["data_width"] // 8)
        return slaves

    def _start_rtl(self, design: dict[str, Any], bitfile: Path) -> dict[str, Slave]:
        if machine.machine() != design["machine"]:
            raise HostError("The package's simulator is for another processor.", bitfile,
                            f"it was built for {design['machine']}, this is {machine.machine()}",
                            "run `bhvit deploy` on this kind of machine")
        exe = (bitfile.parent / design["simulator"]).resolve()
        if exe.is_file() and not os.access(exe, os.X_OK):
            exe.chmod(exe.stat().st_mode | 0o111)  # archives and installers drop the right to execute
        self.process = ShellProcess(exe, bitfile.parent / design["memories"], self.memory)
        blocks = [b for b in ShellSlave.INDEX if b != "feeder" or design.get("constants")]
        return {b: ShellSlave(self.process, b, Registers(self._registers["blocks"][b])) for b in blocks}

    def close(self) -> None:
        """End the simulation."""
        process, self.process = self.process, None
        if process is not None:
            process.close()


def read_design(bitfile: Path) -> dict[str, Any]:
    """What a simulated bitfile says: identity, sizes, simulator. Raises HostError."""
    data = bitfile.read_bytes()
    if not data.startswith(MARK):
        raise HostError("This bitfile is not for the simulated device.", bitfile, "it lacks the mark of simulated ones",
                        "load it on a board, or give the simulated bitfile of the package")
    try:
        return json.loads(data[len(MARK):])
    except ValueError as e:
        raise HostError("The simulated bitfile is damaged.", bitfile, e, "copy the package again") from e
