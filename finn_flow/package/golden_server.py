"""The integer golden model of a design as an accelerator that a simulated device speaks to over a pipe.

    python -m bhvit.finn_flow.package.golden_server GRAPH.onnx

Requests on standard input, little endian: one byte, a 32-bit number n, and for `I` n bytes.

    I n   n bytes for the input              O n   the receiver takes n bytes more
    P 0   how far is it?                     R 0   reset, everything in flight is lost
    D 0   forget what has not entered the accelerator, and what the receiver wanted: a reset of the DMA alone

Every answer is seven 64-bit numbers (cycles since the start, input bytes taken, output bytes given, frames begun,
frames complete, interval, latency), two 32-bit ones (0, n) and n output bytes. There is no clock: cycles only show that
time passes, interval and latency are 0. For quick looks at a large network; nothing of the RTL takes part.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from .. import graph, ops
from ..streams import Stream

#: what "cycles" advance by with each request, so that a host sees that time passes
PRETENDED = 1000
REQUEST = struct.Struct("<BI")
STATUS = struct.Struct("<7QII")


class Golden:
    """Bytes in, bytes out, frame by frame."""

    def __init__(self, path: Path) -> None:
        self.model = ops.load(path)
        edges = graph.edges(self.model)
        self.input: Stream = next(graph.sink_stream(self.model, e) for e in edges if e.source is None)
        self.output: Stream = next(graph.source_stream(self.model, e) for e in edges
                                   if e.sink is None and e.sink_port >= 0)
        self.cycles = 0
        self.reset()

    def reset(self) -> None:
        self.waiting, self.ready, self.partial, self.room = b"", b"", b"", 0
        self.taken = self.given = self.frames_in = self.frames_out = 0

    def answer(self, op: str, n: int, data: bytes) -> tuple[bytes, bytes]:
        """(status, output bytes) of one request."""
        self.cycles += PRETENDED
        if op == "I":
            self.waiting += data
        elif op == "O":
            self.room += n
        elif op in ("R", "D"):
            partial = b"" if op == "R" else self.ready
            self.reset()
            self.ready = partial
        self._compute()
        out, self.ready = self.ready[:self.room], self.ready[self.room:]
        self.room -= len(out)
        self.given += len(out)
        size = self.output.beats * self.output.padded_width // 8
        self.frames_out = self.given // size
        return STATUS.pack(self.cycles, self.taken, self.given, self.frames_in, self.frames_out, 0, 0, 0, len(out)), out

    def _compute(self) -> None:
        size = self.input.beats * self.input.padded_width // 8
        frames = len(self.waiting) // size
        if not frames or len(self.ready) > self.room:  # the results of the frames before are still waited for
            return
        raw, self.waiting = self.waiting[:frames * size], self.waiting[frames * size:]
        x = self.input.unpack(np.frombuffer(raw, np.uint8).reshape(frames * self.input.beats, -1))
        y = ops.execute(self.model, {self.model.graph.input[0].name: x})[self.model.graph.output[0].name]
        y = np.asarray(y).astype(np.int64).reshape(frames, *self.output.dims)
        self.ready += self.output.pack(y).tobytes()
        self.taken += len(raw)
        self.frames_in += frames


def main() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what libraries print is no answer
    golden = Golden(Path(sys.argv[1]))
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        op, n = REQUEST.unpack(head)
        data = requests.read(n) if chr(op) == "I" else b""
        for part in golden.answer(chr(op), n, data):
            answers.write(part)
        answers.flush()


if __name__ == "__main__":
    main()
