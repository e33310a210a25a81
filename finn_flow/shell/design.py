"""The shell around a stitched design: parameters, sources, build hash. How its parts are connected: :mod:`.wiring`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import UserError

from ..stitch import Design
from ..wrapper import RTL
from .registers import WEIGHT_PORTS

SHELL = RTL / "shell"
#: in compile order; what they use of rtl/ comes first
SHARED = ("bv_util", "bv_fifo")
FILES = ("registers", "axil", "bytes", "bursts", "axi_read", "axi_write", "dma_channel", "dma", "control")
#: of designs whose constants come from outside
FEEDING = ("loader", "constants", "sets", "feeder")
#: generated modules that the simulation and the block design see
SHELL_TOP, DMA_TOP, CONTROL_TOP, FEEDER_TOP = "bhvit_shell_top", "bhvit_dma_ip", "bhvit_control_ip", "bhvit_feeder_ip"


@dataclass(frozen=True)
class ShellParameters:
    """What the shell has to know about a design. Bytes per beat, beats per frame; clock in kHz; hash: 128 bits.

    load: whether constants have to be loaded at start-up. weights: words, and bytes of a word, of each port of weights.
    passes: how often a frame reads all words of a port (none given: once). asked: ports whose words are asked for, not
    read over and over. cycles: interval of the design (0: not known).
    """

    in_bytes: int
    out_bytes: int
    in_beats: int
    out_beats: int
    clock_khz: int = 0
    build_hash: int = 0
    axi_bits: int = 64
    burst: int = 16
    outstanding: int = 4
    load: bool = False
    weights: tuple[tuple[int, int], ...] = ()
    passes: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    cycles: int = 0

    @classmethod
    def of(cls, design: Design, clock_mhz: float, **others: int) -> ShellParameters:
        """Parameters of a design with one input and one output stream.

        Raises:
            UserError: it has others, or too many streams of weights.
        """
        if len(design.inputs) != 1 or len(design.outputs) != 1:
            raise UserError("The shell takes designs with one input and one output.", design.folder,
                            f"this one has {len(design.inputs)} and {len(design.outputs)}")
        weights = tuple((w["words"], w["bytes"]) for w in design.weights)
        if len(weights) > WEIGHT_PORTS or [w["port"] for w in design.weights] != [
                f"weight{i}_V" for i in range(len(weights))]:
            raise UserError(f"The shell has ports for {WEIGHT_PORTS} streams of weights.", design.folder,
                            f"this design has {len(weights)}: {', '.join(w['node'] for w in design.weights)}",
                            "give fewer memories the style `stream` in memory.styles of the build file")
        asked = tuple(i for i, w in enumerate(design.weights) if w.get("asked"))
        i, o = design.inputs[0], design.outputs[0]
        return cls(i.padded_width // 8, o.padded_width // 8, i.beats, o.beats, round(clock_mhz * 1000),
                   int(build_hash(design), 16), load=bool(design.loads), weights=weights,
                   passes=tuple(w.get("passes", 1) for w in design.weights), asked=asked,
                   cycles=design.max_cycles, **others)

    @property
    def feeder(self) -> bool:
        """Whether constants come from outside."""
        return self.load or bool(self.weights)

    @property
    def input_bytes(self) -> int:
        """Bytes of an input frame in memory."""
        return self.in_bytes * self.in_beats

    @property
    def output_bytes(self) -> int:
        """Bytes of an output frame in memory."""
        return self.out_bytes * self.out_beats

    def of_dma(self) -> dict[str, int]:
        return {"AXI_BITS": self.axi_bits, "BURST": self.burst, "OUTSTANDING": self.outstanding,
                "IN_BYTES": self.in_bytes, "OUT_BYTES": self.out_bytes}

    def of_control(self) -> dict[str, int]:
        return {"IN_BEATS": self.in_beats, "OUT_BEATS": self.out_beats, "INPUT_BYTES": self.input_bytes,
                "OUTPUT_BYTES": self.output_bytes, "CLOCK_KHZ": self.clock_khz, "BUILD_HASH": self.build_hash}

    def of_feeder(self) -> dict[str, int]:
        return {"LOAD": int(self.load), "PORTS": len(self.weights), "AXI_BITS": self.axi_bits,
                "BYTES": sum(words * size << 32 * i for i, (words, size) in enumerate(self.weights))}


def build_hash(design: Design) -> str:
    """128 bits, 32 hexadecimal digits, of everything that makes the design: sources and memory images.

    The control block shows it, lowest 32 bits first, so that a host knows whether a bit file fits its settings.
    """
    h = hashlib.sha256()
    for f in sorted({*design.sources, *design.memories.iterdir(), design.folder / "design.json"}):
        h.update(f.name.encode() + b"\0" + hashlib.sha256(f.read_bytes()).digest())
    return h.hexdigest()[:32]


#: in a tool chain's folder: the design that its files were made of
MADE_OF = "made_of.json"


def mark(folder: Path, design_hash: str, clock_mhz: float) -> None:
    """Say in a tool chain's folder of which design its files are."""
    (folder / MADE_OF).write_text(json.dumps({"build_hash": design_hash, "clock_mhz": clock_mhz}) + "\n")


def made_of(folder: Path, design_hash: str) -> float:
    """The clock of the folder's files in MHz. Raises UserError when they are those of another design."""
    try:
        found = json.loads((folder / MADE_OF).read_text())
        same, clock = found["build_hash"] == design_hash, float(found["clock_mhz"])
    except (OSError, ValueError, KeyError, TypeError):
        same, clock = False, 0.0
    if not same:
        raise UserError("These results are not those of the present design.", folder / MADE_OF,
                        "the build was changed after its files were written",
                        "write the folder again (--scripts), run the tool there, then collect")
    return clock


def shell_sources(*more: str) -> list[Path]:
    """SystemVerilog files of the shell in compile order, those of rtl/ included. more: e.g. "loader"."""
    return [*(RTL / f"{n}.sv" for n in SHARED), *(SHELL / f"bhvit_{n}.sv" for n in (*FILES, *more))]


def design_sources(design: Design) -> list[Path]:
    """Sources of the design and its shell, each module once (the design's copies of shared modules first)."""
    names = {f.name for f in design.sources}
    feeding = FEEDING if design.loads or design.weights else ()
    return [*design.sources, *(f for f in shell_sources(*feeding) if f.name not in names)]
