"""The flow's integer golden model behind the simulated DMA: a process that takes and gives bytes over a pipe.

It has no clock and is no RTL; the flow's `golden_server.py` says what is spoken.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import HostError

_REQUEST = struct.Struct("<BI")
_STATUS = struct.Struct("<7QII")


class GoldenProcess:
    """The golden model as an accelerator.

    Attributes of the last answer: cycles (since the start), taken and given (bytes since the last reset), frames_in,
    frames_out, interval, latency (cycles).
    """

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        try:
            self._process = subprocess.Popen(list(map(str, command)), cwd=cwd, stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE)
        except OSError as e:
            raise HostError("The golden model does not start.", command[0], e.strerror,
                            "set BHVIT_PYTHON to the Python of the flow's environment") from e
        self.cycles = self.taken = self.given = self.frames_in = self.frames_out = self.interval = self.latency = 0
        self._data: list[np.ndarray] = []
        self.poll()

    def send(self, data: bytes) -> None:
        """Bytes for the input; the accelerator takes them when it can."""
        self._ask("I", len(data), data)

    def accept(self, nbytes: int) -> None:
        """So many more output bytes may be given."""
        self._ask("O", nbytes)

    def poll(self) -> np.ndarray:
        """Bytes that were given since the last call; refreshes the attributes."""
        self._ask("P", 0)
        data, self._data = self._data, []
        return np.concatenate(data) if data else np.empty(0, np.uint8)

    def reset(self, accelerator: bool) -> None:
        """With the accelerator everything in flight is lost; without, only what has not entered it or not left it."""
        self._ask("R" if accelerator else "D", 0)
        self._data = []

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, op: str, n: int, data: bytes = b"") -> None:
        try:
            self._process.stdin.write(_REQUEST.pack(ord(op), n) + data)
            self._process.stdin.flush()
            answer = self._process.stdout.read(_STATUS.size)
            (self.cycles, self.taken, self.given, self.frames_in, self.frames_out, self.interval, self.latency, _,
             size) = _STATUS.unpack(answer)
            if size:
                self._data.append(np.frombuffer(self._process.stdout.read(size), np.uint8))
        except (OSError, ValueError, struct.error) as e:
            code = self._process.poll()
            raise HostError("The golden model has ended.", self._process.args[0],
                            f"exit code {code}" if code is not None else e) from e
