"""Constants that a start-up loader writes into memories without initial contents (UltraRAM): the load stream.

The load bus {valid, head, 64 bits} passes through every node that has such a memory (rtl/bv_util.sv, ``bv_rom``). A
segment is a head beat, target number and first word, and the memory's words in beats of 64 bits, lowest bits first.

File ``load.bin``, little endian words of 64 bits: per segment its head beat, the number of beats behind it, then these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .layers.base import Constants, Layer, Memory
from .layers.storage import STREAM, ULTRA

#: bits of the load bus: 64 of data, head, valid
BUS = 66
FILE = "load.bin"


@dataclass(frozen=True)
class Segment:
    """Words (uint64) for one memory: its target number (16 bits) and the first word there (32 bits)."""

    target: int
    first: int
    words: np.ndarray

    @property
    def head(self) -> int:
        return self.target << 32 | self.first


def loaded(layer: Layer) -> list[str]:
    """Names of the memories of a layer that have no initial contents."""
    return [s.name for s in layer.styled_stores() if s.const and s.style == ULTRA and not s.fetched]


def fetched(layer: Layer) -> list[str]:
    """Names of the memories of a layer that are written set by set while an engine runs, by number on its load bus."""
    return [s.name for s in layer.styled_stores() if s.fetched]


def streamed(layer: Layer) -> list[str]:
    """Names of the memories of a layer whose words come as a stream, over and over, from the memory of the system."""
    return [s.name for s in layer.styled_stores() if s.style == STREAM]


def stream_words(memory: Memory) -> np.ndarray:
    """The words of a streamed memory as they lie in the memory of the system: uint8 (depth, bytes of a word)."""
    return memory.packed()


def beats(memory: Memory) -> np.ndarray:
    """The words of a memory as beats of the load stream, uint64."""
    parts = -(-memory.width // 64)
    raw = memory.packed()
    out = np.zeros((memory.depth, parts * 8), dtype=np.uint8)
    out[:, : raw.shape[1]] = raw
    return out.view("<u8").reshape(-1)


def beats_of_set(layer: Layer, constants: Constants) -> tuple[list[int], list[int], int]:
    """Words and 64-bit beats of one set in each memory that is fetched, and the bytes of a set."""
    memories = [layer.memories(constants)[k] for k in fetched(layer)]
    words = [m.depth // layer.sets for m in memories]
    beats = [w * -(-m.width // 64) for w, m in zip(words, memories)]
    return words, beats, 8 * sum(beats)


def stride(size: int) -> int:
    """Bytes from set to set: bursts begin at multiples of 64 bytes."""
    return -(-size // 64) * 64


def set_image(layer: Layer, constants: Constants) -> bytes:
    """All sets of a layer as they lie in the memory of the system."""
    size = beats_of_set(layer, constants)[2]
    memories = [layer.memories(constants)[k] for k in fetched(layer)]
    each = [beats(m).reshape(layer.sets, -1) for m in memories]
    image = np.zeros((layer.sets, stride(size) // 8), "<u8")
    image[:, : size // 8] = np.concatenate(each, axis=1)
    return image.tobytes()


def segments(layer: Layer, constants: Constants, targets: dict[str, int]) -> list[Segment]:
    """What fills the memories of a layer; ``targets``: number by name of the memory."""
    if not targets:
        return []
    memories = layer.memories(constants)
    return [Segment(t, 0, beats(memories[name])) for name, t in targets.items()]


def write(path: Path, found: Iterable[Segment]) -> None:
    """Write ``load.bin``."""
    with path.open("wb") as f:
        for s in found:
            f.write(np.array([s.head, len(s.words)], "<u8").tobytes() + np.ascontiguousarray(s.words, "<u8").tobytes())


def read(path: Path) -> list[Segment]:
    """Read ``load.bin``.

    Raises:
        ValueError: the file ends within a segment.
    """
    data = np.frombuffer(path.read_bytes(), "<u8")
    found, at = [], 0
    while at < len(data):
        if at + 2 > len(data) or at + 2 + int(data[at + 1]) > len(data):
            raise ValueError(f"{path}: the file ends within a segment")
        head, size = int(data[at]), int(data[at + 1])
        found.append(Segment(head >> 32, head & 0xFFFFFFFF, data[at + 2: at + 2 + size]))
        at += 2 + size
    return found
