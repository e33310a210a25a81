"""The shell around a stitched design: parameters, sources, generated Verilog tops, build hash."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import UserError

from ..stitch import Design
from ..wrapper import RTL

SHELL = RTL / "shell"
#: in compile order; what they use of rtl/ comes first
SHARED = ("bv_util", "bv_fifo")
FILES = ("registers", "axil", "bytes", "bursts", "axi_read", "axi_write", "dma_channel", "dma", "control")
#: module that the simulation and the block design see
SHELL_TOP, DMA_TOP, CONTROL_TOP = "bhvit_shell_top", "bhvit_dma_ip", "bhvit_control_ip"


@dataclass(frozen=True)
class ShellParameters:
    """What the shell has to know about a design. Bytes per beat, beats per frame; clock in kHz; hash: 128 bits."""

    in_bytes: int
    out_bytes: int
    in_beats: int
    out_beats: int
    clock_khz: int = 0
    build_hash: int = 0
    axi_bits: int = 64
    burst: int = 16
    outstanding: int = 4

    @classmethod
    def of(cls, design: Design, clock_mhz: float, **others: int) -> ShellParameters:
        """Parameters of a design with one input and one output stream.

        Raises:
            UserError: it has others.
        """
        if len(design.inputs) != 1 or len(design.outputs) != 1:
            raise UserError("The shell takes designs with one input and one output.", design.folder,
                            f"this one has {len(design.inputs)} and {len(design.outputs)}")
        i, o = design.inputs[0], design.outputs[0]
        return cls(i.padded_width // 8, o.padded_width // 8, i.beats, o.beats, round(clock_mhz * 1000),
                   int(build_hash(design), 16), **others)

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

    def of_shell(self) -> dict[str, int]:
        ours = ("IN_BEATS", "OUT_BEATS", "CLOCK_KHZ", "BUILD_HASH")
        return {**self.of_dma(), **{k: v for k, v in self.of_control().items() if k in ours}}


def build_hash(design: Design) -> str:
    """128 bits, 32 hexadecimal digits, of everything that makes the design: sources and memory images.

    The control block shows it, lowest 32 bits first, so that a host knows whether a bit file fits its settings.
    """
    h = hashlib.sha256()
    for f in sorted({*design.sources, *design.memories.iterdir(), design.folder / "design.json"}):
        h.update(f.name.encode() + b"\0" + hashlib.sha256(f.read_bytes()).digest())
    return h.hexdigest()[:32]


def shell_sources(*more: str) -> list[Path]:
    """SystemVerilog files of the shell in compile order, those of rtl/ included. more: e.g. "shell", "loader"."""
    return [*(RTL / f"{n}.sv" for n in SHARED), *(SHELL / f"bhvit_{n}.sv" for n in (*FILES, *more))]


def design_sources(design: Design) -> list[Path]:
    """Sources of the design and its shell, each module once (the design's copies of shared modules first)."""
    names = {f.name for f in design.sources}
    return [*design.sources, *(f for f in shell_sources("shell") if f.name not in names)]


_PORT = re.compile(r"^\s*(input|output)\s+logic\s*(?:\[([^\]]*):0\])?\s*([\w\s,]+?),?\s*(?://.*)?$")


def ports(module: str, parameters: dict[str, int]) -> list[tuple[str, int, str]]:
    """(direction, width, name) of the ports of ``rtl/shell/<module>.sv`` with these parameters."""
    text = (SHELL / f"{module}.sv").read_text()
    head = text[text.index("\n) (\n"): text.index("\n);\n")]
    found = []
    for line in head.splitlines():
        m = _PORT.match(line)
        if m:
            top = m[2]
            width = 1 if top is None else int(eval(top.replace("/", "//"), {"__builtins__": {}}, dict(parameters))) + 1
            found += [(m[1], width, n.strip()) for n in m[3].split(",")]
    return found


def verilog_top(name: str, module: str, parameters: dict[str, int]) -> str:
    """A Verilog module without parameters around ``module``: what IP packagers and simulators take as top."""
    ps = ports(module, parameters)
    declared = ",\n".join(f"    {d} wire {f'[{w - 1}:0] ' if w > 1 or _is_vector(n) else ''}{n}" for d, w, n in ps)
    values = ", ".join(f".{k}({f'128{chr(39)}h{v:032x}' if k == 'BUILD_HASH' else v})" for k, v in parameters.items())
    connected = ",\n".join(f"    .{n}({n})" for _, _, n in ps)
    return (f"// Generated: {module} with the parameters of a build.\n`default_nettype none\n"
            f"module {name} (\n{declared}\n);\n  {module} #({values}) inst (\n{connected}\n  );\n"
            "endmodule\n`default_nettype wire\n")


def _is_vector(name: str) -> bool:
    """Ports that AXI declares as vectors even when they have one bit."""
    return name.endswith(("tdata", "wstrb"))
