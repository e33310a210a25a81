"""The host's end of a board's serial line: protocol, a terminal device, a simulated board.

The protocol is that of ``rtl/shell/bhvit_serial.sv``; docs/ulx3s.md describes it. :class:`SerialBoard` speaks it over
anything that has the methods of :class:`Line`.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bhvit.errors import UserError

VERSION = 1
#: first bytes of a greeting, its length, and what reset the board last
MAGIC, GREETING = b"BHVT", 34
REASONS = ("power-up", "a broken byte, or a break", "an input overrun", "the button")


class SerialError(UserError):
    """The board does not answer, or something else than was expected."""


class Line(Protocol):
    """A serial line with a board at its other end."""

    name: str

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer when nothing came for a while."""

    def send_break(self) -> None:
        """Hold the line at 0 for longer than a byte."""


@dataclass(frozen=True)
class Greeting:
    """What a board says of itself. Bytes per frame, clock in kHz, hash: 32 hexadecimal digits."""

    reason: int
    input_bytes: int
    output_bytes: int
    clock_khz: int
    build_hash: str

    @classmethod
    def parse(cls, data: bytes) -> Greeting:
        """Raises ValueError where it is none of this version."""
        magic, version, reason, i, o, khz, digest = struct.unpack("<4sBBIII16s", data)
        if magic != MAGIC or version != VERSION or reason >= len(REASONS):
            raise ValueError(data.hex())
        return cls(reason, i, o, khz, digest[::-1].hex())


class SerialBoard:
    """An accelerator at the other end of a line.

    Args:
        line: the line. Nothing is sent until a method asks for it.
    """

    def __init__(self, line: Line) -> None:
        self.line = line

    def reset(self) -> Greeting:
        """Reset the board, whatever state it is in, and return its greeting.

        Raises:
            SerialError: it does not answer.
        """
        self.line.send_break()
        seen = b""
        while not seen.endswith(MAGIC):  # what was on its way before the break may come first
            byte = self.line.read(1)
            if not byte:
                raise self._silence("its greeting", seen)
            seen = (seen + byte)[-4096:]
        return self._greeting(seen[-4:])

    def ask(self) -> Greeting:
        """Who is there? For a board that is not in the middle of a frame. Raises SerialError."""
        self.line.write(b"?")
        return self._greeting(b"")

    def infer(self, frame: bytes) -> tuple[bytes, int]:
        """Send a packed input frame; return the packed output frame and the cycles that it took.

        Raises:
            SerialError: no answer, or the board was reset meanwhile.
        """
        self.line.write(b"I" + frame)
        mark = self.line.read(1)
        if mark == MAGIC[:1]:
            reason = REASONS[self._greeting(mark).reason]
            raise SerialError("The board was reset in the middle of a frame.", self.line.name, f"reason: {reason}",
                              "send the frame again; if it happens again, use a lower speed (`baud` of the board file)")
        if mark != b"R":
            raise self._silence("a result", mark)
        data = self.line.read(self.output_bytes + 4)
        if len(data) < self.output_bytes + 4:
            raise self._silence("the rest of a result", data)
        return data[:-4], struct.unpack("<I", data[-4:])[0]

    output_bytes = 0  #: of a frame; set by :meth:`connect`

    def connect(self, *, input_bytes: int, output_bytes: int, build_hash: str) -> Greeting:
        """Reset the board and make sure that it holds this design.

        Raises:
            SerialError: no answer, or another design.
        """
        found = self.reset()
        if (found.input_bytes, found.output_bytes, found.build_hash) != (input_bytes, output_bytes, build_hash):
            raise SerialError("The board holds another design.", self.line.name,
                              f"it says build hash {found.build_hash}, {found.input_bytes} bytes in, "
                              f"{found.output_bytes} out; this build: {build_hash}, {input_bytes} and {output_bytes}",
                              "load the bit file of this build (docs/ulx3s.md), or name the build of the board")
        self.output_bytes = output_bytes
        return found

    def _greeting(self, begun: bytes) -> Greeting:
        data = begun + self.line.read(GREETING - len(begun))
        if len(data) < GREETING:
            raise self._silence("a greeting", data)
        try:
            return Greeting.parse(data)
        except ValueError as e:
            raise SerialError("The board's greeting is not understood.", self.line.name, str(e),
                              "the bit file was made by another version: make it again") from None

    def _silence(self, what: str, seen: bytes) -> SerialError:
        why = f"it sent {seen[-16:].hex()}" if seen else "nothing came"
        return SerialError(f"The board does not send {what}.", self.line.name, why,
                           "check the port, its speed, and that the bit file is loaded (docs/ulx3s.md)")


class TerminalLine:
    """A terminal device (Linux), 8 data bits, no parity, no flow control.

    Args:
        path: e.g. /dev/ttyUSB0. baud: a speed that the system knows. patience: seconds without a byte.
    Raises:
        UserError: it cannot be opened, or has no such speed.
    """

    def __init__(self, path: str, baud: int, patience: float = 2.0) -> None:
        import termios

        self.name, self._patience = path, patience
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise UserError(f"This system has no serial speed of {baud} baud.", path,
                            do="choose another `baud` in the board file, and make the bit file again")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        except OSError as e:
            raise UserError("The serial port cannot be opened.", path, e.strerror,
                            "is the board plugged in? Its port belongs to a group (often `dialout`) that you must be "
                            "in") from e
        try:
            settings = termios.tcgetattr(self._fd)
            settings[0], settings[1], settings[3] = 0, 0, 0                      # raw
            settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
            settings[4] = settings[5] = speed
            settings[6][termios.VMIN], settings[6][termios.VTIME] = 0, 0
            termios.tcsetattr(self._fd, termios.TCSAFLUSH, settings)
        except termios.error as e:
            os.close(self._fd)
            raise UserError("This is no serial port.", path, str(e), "name the board's, e.g. /dev/ttyUSB0") from e

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data):]

    def read(self, count: int) -> bytes:
        data, last = b"", time.monotonic()
        while len(data) < count and time.monotonic() - last < self._patience:
            if select.select([self._fd], [], [], 0.05)[0] and (more := os.read(self._fd, count - len(data))):
                data, last = data + more, time.monotonic()
        return data

    def send_break(self) -> None:
        import termios

        termios.tcdrain(self._fd)
        termios.tcsendbreak(self._fd, 0)

    def close(self) -> None:
        os.close(self._fd)


class SimulatedLine:
    """A simulated board (serial_sim.cpp) as a line; a context manager.

    Args:
        exe: the simulator. cwd: folder of the memory images. divisor: cycles per bit. patience: cycles without a byte
            after which :meth:`read` gives up.
    """

    def __init__(self, exe: Path, cwd: Path, divisor: int, patience: int = 1_000_000) -> None:
        self.name, self._divisor, self.patience = f"simulation {exe}", divisor, patience
        self._process = subprocess.Popen([str(Path(exe).resolve())], cwd=cwd, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        self.command(f"divisor {divisor}")

    def command(self, text: str) -> str:
        """One line to the simulator and its answer. Raises SerialError when it has ended."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        try:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            raise SerialError("The simulation of the board has ended.", self.name, self._process.stderr.read()[-500:])
        return answer.strip()

    def write(self, data: bytes) -> None:
        self.command(f"send {data.hex()}")

    def read(self, count: int) -> bytes:
        return bytes.fromhex(self.command(f"expect {count} {self.patience}"))

    def send_break(self) -> None:
        self.command(f"break {20 * self._divisor}")

    @property
    def cycles(self) -> int:
        return int(self.command("cycles"))

    def __enter__(self) -> SimulatedLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
