"""The settings of a deployed design: shapes, types, packing, registers, clock. One JSON file, written by the build."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import HostError
from .packing import DataType, pack, unpack

FORMAT = 1


@dataclass(frozen=True)
class Stream:
    """How the frames of one stream lie in memory.

    A frame of shape `dims = (..., C)` is cut into beats of TP tokens times SIMD channels, token-major; a beat is packed
    and padded to whole bytes; beats follow one another without gaps.
    """

    dims: tuple[int, ...]
    dtype: DataType
    SIMD: int
    TP: int

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Stream:
        return cls(tuple(d["dims"]), DataType.of(d["dtype"]), d["SIMD"], d["TP"])

    @property
    def channels(self) -> int:
        return self.dims[-1]

    @property
    def tokens(self) -> int:
        return prod(self.dims[:-1])

    @property
    def beats(self) -> int:
        """Beats per frame."""
        return self.tokens // self.TP * (self.channels // self.SIMD)

    @property
    def beat_bytes(self) -> int:
        return self.dtype.packed_bytes(self.TP * self.SIMD)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in memory."""
        return self.beats * self.beat_bytes

    def fold(self, frames: np.ndarray) -> np.ndarray:
        """(N, *dims) to (N, beats, elements of a beat); a view where the order is that of memory already."""
        n, t, s = len(frames), self.TP, self.SIMD
        if t == 1 or s == self.channels:
            return frames.reshape(n, self.beats, t * s)
        x = frames.reshape(n, self.tokens // t, t, self.channels // s, s)
        return x.transpose(0, 1, 3, 2, 4).reshape(n, self.beats, t * s)

    def unfold(self, folded: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`fold`."""
        n, t, s = len(folded), self.TP, self.SIMD
        if t == 1 or s == self.channels:
            return folded.reshape(n, *self.dims)
        x = folded.reshape(n, self.tokens // t, self.channels // s, t, s)
        return x.transpose(0, 1, 3, 2, 4).reshape(n, *self.dims)

    def pack(self, frames: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(N, *dims) to uint8 (N, frame_bytes), into `out` where given."""
        n, folded = len(frames), self.fold(frames)
        if out is None:
            out = np.empty((n, self.frame_bytes), np.uint8)
        elements = self.TP * self.SIMD
        if elements * self.dtype.bits % 8 == 0:  # beats without padding: one long row is packed faster
            pack(folded.reshape(n, -1), self.dtype, out)
        else:
            pack(folded, self.dtype, out.reshape(n, self.beats, self.beat_bytes))
        return out

    def unpack(self, data: np.ndarray) -> np.ndarray:
        """uint8 (N, frame_bytes) to (N, *dims)."""
        n, elements = len(data), self.TP * self.SIMD
        if elements * self.dtype.bits % 8 == 0:
            folded = unpack(data.reshape(n, -1), self.dtype, self.beats * elements)
        else:
            folded = unpack(data.reshape(n, self.beats, self.beat_bytes), self.dtype, elements)
        return self.unfold(folded.reshape(n, self.beats, elements))


class Registers:
    """One register block: byte offsets by name, and fields of values."""

    def __init__(self, block: dict[str, Any]):
        self.vlnv, self.span = block["vlnv"], block["span"]
        self._registers = block["registers"]

    def __getitem__(self, name: str) -> int:
        """Byte offset of a register."""
        return self._registers[name]["offset"]

    def reset(self, name: str) -> int | None:
        """Value after a reset, None where the build decides."""
        return self._registers[name]["reset"]

    def names(self) -> dict[int, str]:
        """Register names by offset."""
        return {r["offset"]: n for n, r in self._registers.items()}

    def mask(self, register: str, field: str) -> int:
        f = self._registers[register]["fields"][field]
        return ((1 << f["width"]) - 1) << f["lsb"]

    def field(self, register: str, field: str, value: int) -> int:
        """The field's part of a register's value."""
        f = self._registers[register]["fields"][field]
        return value >> f["lsb"] & (1 << f["width"]) - 1


class Settings:
    """The settings file of a package.

    Attributes: name, board, platform ("zynq-7000" or "zynq-ultrascale"), clock_mhz, build_hash (32 hex digits), input
    and output (:class:`Stream`), dma and control (:class:`Registers`), network (image_size, image_channels, classes,
    class_names, output), cycles (interval, latency_bound), folder; of designs whose constants come from outside
    constants (load, weights: files) and feeder (:class:`Registers`), else None.
    """

    def __init__(self, data: dict[str, Any], folder: Path):
        self.data, self.folder = data, Path(folder)
        self.name, self.board, self.platform = data["name"], data["board"], data["platform"]
        self.clock_mhz, self.build_hash = float(data["clock_mhz"]), data["build_hash"]
        self.input = Stream.from_dict(data["streams"]["input"])
        self.output = Stream.from_dict(data["streams"]["output"])
        self.registers = data["registers"]
        self.dma, self.control = (Registers(self.registers["blocks"][b]) for b in ("dma", "control"))
        self.constants = data.get("constants")
        self.feeder = Registers(self.registers["blocks"]["feeder"]) if self.constants else None
        self.instances = data["instances"]
        self.network, self.cycles = data["network"], data["cycles"]
        self.bitfile, self.simulation = data["bitfile"], data["simulation"]

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read settings.json, or the one in a folder. Raises HostError."""
        path = Path(path)
        path = path / "settings.json" if path.is_dir() else path
        try:
            data = json.loads(path.read_text())
        except OSError as e:
            raise HostError("The settings cannot be read.", path, e.strerror,
                            "give the folder of a deployment package, or its settings.json") from e
        except ValueError as e:
            raise HostError("The settings are damaged.", path, e, "copy the package again") from e
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise HostError("The settings have another format.", path,
                            f"found {data.get('format') if isinstance(data, dict) else None}, understood is {FORMAT}",
                            "use the driver that is in the same package")
        try:
            return cls(data, path.parent)
        except (KeyError, TypeError) as e:
            raise HostError("The settings are incomplete.", path, f"{type(e).__name__}: {e}",
                            "copy the package again") from e

    def file(self, relative: str | None) -> Path | None:
        """A file that the settings name, None when they name none."""
        return None if relative is None else self.folder / relative
