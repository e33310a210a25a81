"""Constants that do not come with the bitfile: those that the start-up loader writes, and weights that stay in memory.

A package of such a design has their files in `constants/`; settings.json lists them. The table for the loader is built
here, since its addresses are those of a buffer (its form: rtl/shell/bhvit_loader.sv of the flow, docs/shell.md).
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from typing import Any

import numpy as np

from .control import ControlBlock
from .errors import DmaError, HostError, WrongBitfile
from .settings import Registers, Settings

MAGIC = np.frombuffer(b"BHVTLOAD", "<u8")[0]
RECORD = 4  #: 64-bit words of the table's header and of each of its entries
DONE, FAILED = 2, 3  #: LOADER_STATUS
#: a load counts as stuck when it takes so many cycles for each word, and the timeout in seconds is over, too
CYCLES_PER_WORD = 100
#: answers of the memory in ERRORS
ANSWERS = {2: "SLVERR", 3: "DECERR"}


def table(contents: np.ndarray, base: int) -> np.ndarray:
    """What the loader reads, for address `base` (a multiple of 8).

    Args: contents: the words of load.bin, uint64: per segment its head, the number of words behind it, and these.
    Returns: uint64 words: header, an entry for each segment, then their contents.
    """
    heads, parts, at = [], [], 0
    while at < len(contents):
        size = int(contents[at + 1]) if at + 1 < len(contents) else 0
        if not 0 < size <= len(contents) - at - 2:
            raise ValueError(f"it ends within segment {len(heads)}")
        heads.append(int(contents[at]))
        parts.append(contents[at + 2:at + 2 + size])
        at += 2 + size
    words = np.zeros(RECORD * (len(parts) + 1) + sum(map(len, parts)), "<u8")
    place = RECORD * (len(parts) + 1)
    for i, (head, part) in enumerate(zip(heads, parts)):
        words[RECORD * (i + 1):RECORD * (i + 2)] = (base + 8 * place, head >> 32 << 32 | 8 * len(part),
                                                    head & 0xFFFFFFFF, 0)
        words[place:place + len(part)] = part
        place += len(part)
    words[0], words[1] = MAGIC, len(parts)
    words[2] = words[RECORD:].sum(dtype=np.uint64)
    return words


class Feeder:
    """The feeder of the shell.

    Args:
        ip: its pynq driver. settings: with constants. device: where buffers are allocated. timeout: seconds.
    Raises:
        WrongBitfile: the hardware has other ports than the settings say.
    """

    def __init__(self, ip: Any, control: ControlBlock, settings: Settings, device: Any, timeout: float = 30.0) -> None:
        self._ip, self._control, self._settings, self._device = ip, control, settings, device
        self._registers: Registers = settings.feeder
        self.timeout = timeout
        self.load_file = settings.constants["load"]
        self.weights = settings.constants["weights"]
        self._buffers: list[Any] = []
        field = self._registers.field
        ports = self._read("PORTS")
        found = [field("PORTS", "weights", ports), field("PORTS", "load", ports),
                 *(self._read(f"WEIGHT{i}_BYTES") for i in range(len(self.weights)))]
        want = [len(self.weights), int(self.load_file is not None), *(w["words"] * w["bytes"] for w in self.weights)]
        if found != want:
            raise WrongBitfile("The bitfile takes other constants.", "registers of the feeder",
                               f"ports, load, bytes: {found}, the settings have {want}",
                               "use the bitfile and the settings of one package")

    def _read(self, name: str) -> int:
        return int(self._ip.read(self._registers[name]))

    def _write(self, name: str, value: int) -> None:
        self._ip.write(self._registers[name], value)

    def _address(self, register: str, address: int) -> None:
        self._write(register, address & 0xFFFFFFFF)
        self._write(f"{register}_MSB", address >> 32)

    def start(self) -> None:
        """Load, and let the weights begin; afterwards the accelerator takes frames. Loaded constants last until the
        bitfile is loaded again, weights begin anew with every soft reset.

        Raises: HostError: a file is missing or damaged, there is no memory, the loader fails or does not end.
        """
        self._stop()
        if self.load_file is not None:
            self._load(self._file(self.load_file))
        if self.weights:
            files = [self._file(w) for w in self.weights]
            for i, data in enumerate(files):
                self._buffers.append(self._buffer(data))
                self._address(f"WEIGHT{i}", self._buffers[-1].device_address)
            self._write("START", self._registers.mask("START", "weights"))
        end = time.monotonic() + 1.0
        while not self._registers.field("STATE", "ready", self._read("STATE")):
            if time.monotonic() > end:
                raise HostError("The constants are there, but the accelerator does not take frames.", "feeder",
                                f"STATE is 0x{self._read('STATE'):x}", "load the overlay again")

    def _load(self, data: np.ndarray) -> None:
        try:
            words = table(data.view("<u8"), 0)
            buffer = self._buffer(words.view(np.uint8))
            try:
                words = table(data.view("<u8"), buffer.device_address)
                buffer[:] = words.view(np.uint8)
                buffer.flush()
                self._address("LOAD_TABLE", buffer.device_address)
                self._write("START", self._registers.mask("START", "load"))
                self._wait(len(words))
            finally:
                buffer.freebuffer()
        except ValueError as e:
            raise HostError("The constants cannot be understood.", self._settings.folder / self.load_file["file"], e,
                            "make the package again with `bhvit deploy`") from e

    def _wait(self, words: int) -> None:
        """Until the loader has ended."""
        begun, first = time.monotonic(), self._control.cycles
        while (state := self._control.field("LOADER_STATUS", "state")) not in (DONE, FAILED):
            waited = time.monotonic() - begun
            if waited > self.timeout:
                cycles = self._control.cycles - first
                if not 0 < cycles < CYCLES_PER_WORD * words:
                    raise HostError("The constants are not loaded.", "LOADER_STATUS",
                                    f"state {state} after {waited:.1f} s and {cycles} cycles for {words} words",
                                    "load the overlay again; if it happens again, the bitfile and the settings may not "
                                    "belong together")
            time.sleep(0.001)
        if state == FAILED:
            raise HostError("The constants were not loaded.", "LOADER_STATUS", "the loader has found a damaged table or a "
                            "wrong sum, or the memory answered with an error", "load the overlay again; if it "
                            "happens again, check the package with self_test.py")

    def raise_error(self) -> None:
        """Raise DmaError when a read of weights was answered with an error: no result will come then."""
        if not self._control.field("STATUS", "weight_error"):
            return
        errors = self._read("ERRORS")
        said = [f"port {i} ({w['node']}): {ANSWERS.get(errors >> 2 * i & 3, 'unknown')}"
                for i, w in enumerate(self.weights) if errors >> 2 * i & 3]
        raise DmaError("Weights could not be read from memory.", "ERRORS of the feeder", "; ".join(said),
                       "call reset(); if it happens again, make a new Accelerator, which writes them anew")

    def close(self) -> None:
        """End the reads of weights and free their memory."""
        if self._buffers:
            with suppress(HostError):  # a simulation that has ended reads nothing
                self._stop()
        for b in self._buffers:
            b.freebuffer()
        self._buffers = []

    def _stop(self) -> None:
        self._write("START", 0)
        self._control.soft_reset()

    def _buffer(self, data: np.ndarray) -> Any:
        """Contiguous memory with these bytes."""
        from pynq import allocate

        try:
            buffer = allocate((len(data),), np.uint8, target=self._device)
        except (MemoryError, RuntimeError) as e:
            raise HostError("There is not enough contiguous memory for the constants.", f"{len(data)} bytes", e,
                            "free buffers of other notebooks (restart their kernels)") from e
        buffer[:] = data
        buffer.flush()
        return buffer

    def _file(self, entry: dict[str, Any]) -> np.ndarray:
        """Bytes of a file of constants."""
        path = self._settings.folder / entry["file"]
        try:
            data = path.read_bytes()
        except OSError as e:
            raise HostError("The constants cannot be read.", path, e.strerror, "copy the package again") from e
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise HostError("The file of constants is damaged.", path, "its checksum is not that of the settings",
                            "copy the package again")
        return np.frombuffer(data, np.uint8)
