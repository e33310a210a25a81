"""What the devices have (AMD's product tables: DS190, DS891, DS987 and the Alveo data sheets)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Resources of a part; block RAM counted in halves of 18 kbit."""

    lut: int
    ff: int
    bram18: int
    uram: int
    dsp: int


#: by the beginning of the part's name
DEVICES = {
    "xc7z010": Device(17600, 35200, 120, 0, 80),
    "xc7z020": Device(53200, 106400, 280, 0, 220),
    "xc7z045": Device(218600, 437200, 1090, 0, 900),
    "xczu2eg": Device(47232, 94464, 300, 0, 240),
    "xczu3eg": Device(70560, 141120, 432, 0, 360),
    "xczu5ev": Device(117120, 234240, 288, 64, 1248),
    "xck26": Device(117120, 234240, 288, 64, 1248),
    "xczu7ev": Device(230400, 460800, 624, 96, 1728),
    "xczu9eg": Device(274080, 548160, 1824, 0, 2520),
    "xczu28dr": Device(425280, 850560, 2160, 80, 4272),
    "xcu50": Device(871680, 1743360, 2688, 640, 5952),
    "xcu200": Device(1182240, 2364480, 4320, 960, 6840),
    "xcu250": Device(1728000, 3456000, 5376, 1280, 12288),
    "xcu280": Device(1303680, 2607360, 4032, 960, 9024),
    "xcu55c": Device(1303680, 2607360, 4032, 960, 9024),
}


def device_of(part: str) -> Device | None:
    """The device of a part number, None when it is not in the table."""
    found = [d for prefix, d in DEVICES.items() if part.lower().startswith(prefix)]
    return found[0] if found else None
