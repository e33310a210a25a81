"""The table that the start-up loader reads (rtl/shell/bhvit_loader.sv says its format)."""

from __future__ import annotations

import struct

import numpy as np

from ..load import Segment

MAGIC = b"BHVTLOAD"
RECORD = 32  #: bytes of the header and of each segment's entry


def table(segments: list[Segment], base: int) -> bytes:
    """Memory image of table and contents, to be placed at address ``base`` (a multiple of 8).

    Raises:
        ValueError: a number does not fit, a segment is empty, or the address is not aligned.
    """
    if base % 8:
        raise ValueError(f"the table's address {base:#x} is no multiple of 8")
    at = base + RECORD * (len(segments) + 1)
    entries, contents, total = [], [], 0
    for i, s in enumerate(segments):
        size = 8 * len(s.words)
        if not (0 <= s.target < 1 << 16 and 0 <= s.first < 1 << 32 and 0 < size < 1 << 32):
            raise ValueError(f"segment {i}: target {s.target}, first word {s.first}, {size} bytes")
        words = np.ascontiguousarray(s.words, "<u8")
        entry = (at, s.target << 32 | size, s.first, 0)
        total += sum(entry) + int(words.sum(dtype=np.uint64))
        entries.append(struct.pack("<QQQQ", *entry))
        contents.append(words.tobytes())
        at += size
    head = MAGIC + struct.pack("<QQQ", len(segments), total & (1 << 64) - 1, 0)
    return head + b"".join(entries) + b"".join(contents)
