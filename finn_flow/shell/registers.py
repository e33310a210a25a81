"""The register map of the shell, declared once.

AXI4-Lite slaves, each in a page of its own: ``bhvit_dma`` (the registers of Xilinx AXI DMA in direct register mode,
PG021, so that pynq's ``pynq.lib.dma.DMA`` drives it), ``bhvit_control`` (identity, soft reset, counters), and in
designs whose constants come from outside ``bhvit_feeder`` (start-up loader, weights from memory). Generated from here:
``rtl/shell/bhvit_registers.sv``, the JSON that a deployment package carries (:func:`as_dict`), the tables of
docs/shell.md.

    python -m bhvit.finn_flow.shell.registers            rewrite the SystemVerilog package and the tables
    python -m bhvit.finn_flow.shell.registers --check    exit 1 when one of them is stale
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "rtl" / "shell" / "bhvit_registers.sv"
PAGE = ROOT / "docs" / "shell.md"
#: of the register map: a host accepts the same major number
MAJOR, MINOR = 1, 1
MAGIC = 0x54564842  #: "BHVT", first letter in the lowest byte
VENDOR, LIBRARY, IP_VERSION = "bhvit", "shell", "1.0"
LENGTH_BITS = 26
#: bytes of address space of each slave
SPAN = 0x1000


@dataclass(frozen=True)
class Field:
    """Bits of a register. access: ``rw``, ``ro``, ``w1c`` (write 1 to clear) or ``w1s`` (write 1 to start)."""

    name: str
    lsb: int
    doc: str
    width: int = 1
    access: str = "ro"


@dataclass(frozen=True)
class Register:
    """32 bits at a byte offset. reset: value after reset, None where the build decides."""

    name: str
    offset: int
    access: str
    doc: str
    fields: tuple[Field, ...] = ()
    reset: int | None = 0


@dataclass(frozen=True)
class Block:
    """One AXI4-Lite slave. parameters: what pynq's driver looks up in the hwh (besides the data widths)."""

    name: str
    doc: str
    registers: tuple[Register, ...]
    parameters: dict[str, int] = field(default_factory=dict)

    @property
    def vlnv(self) -> str:
        """Vendor, library, name and version of the packaged IP."""
        return f"{VENDOR}:{LIBRARY}:bhvit_{self.name}:{IP_VERSION}"

    def offset(self, register: str) -> int:
        """Byte offset of a register."""
        return next(r.offset for r in self.registers if r.name == register)

    def mask(self, register: str, name: str) -> int:
        """Bit mask of a field."""
        r = next(r for r in self.registers if r.name == register)
        f = next(f for f in r.fields if f.name == name)
        return ((1 << f.width) - 1) << f.lsb


_CR = (Field("RS", 0, "run (1) or stop after the current transfer (0)", access="rw"),
       Field("Reset", 2, "resets both channels once their AXI transactions are complete; reads 1 until then",
             access="w1s"),
       Field("IOC_IrqEn", 12, "interrupt at the end of a transfer", access="rw"),
       Field("Err_IrqEn", 14, "interrupt on an error", access="rw"),
       Field("IRQThreshold", 16, "always 1", width=8))
_SR = (Field("Halted", 0, "the channel is stopped: a transfer is not accepted"),
       Field("Idle", 1, "the last transfer is complete; 0 after reset"),
       Field("DMAIntErr", 4, "LENGTH was 0, or the address was no multiple of the data width"),
       Field("DMASlvErr", 5, "the memory answered SLVERR"),
       Field("DMADecErr", 6, "the memory answered DECERR"),
       Field("IOC_Irq", 12, "a transfer has ended", access="w1c"),
       Field("Err_Irq", 14, "an error has halted the channel", access="w1c"),
       Field("IRQThresholdSts", 16, "always 1", width=8))


def _channel(prefix: str, base: int, address: str, length: str, doc: str) -> tuple[Register, ...]:
    return (Register(f"{prefix}_DMACR", base, "rw", f"{doc}: control", _CR, 0x00010002),
            Register(f"{prefix}_DMASR", base + 4, "rw", f"{doc}: status", _SR, 0x00010001),
            Register(f"{prefix}_{address}", base + 0x18, "rw", "byte address, bits 31:0"),
            Register(f"{prefix}_{address}_MSB", base + 0x1C, "rw", "byte address, bits 63:32"),
            Register(f"{prefix}_LENGTH", base + 0x28, "rw", length,
                     (Field("Length", 0, "bytes", LENGTH_BITS, "rw"),)))


DMA = Block("dma", "DMA between memory and the accelerator's streams", (
    *_channel("MM2S", 0x00, "SA", "bytes to read; writing starts the transfer", "memory to accelerator"),
    *_channel("S2MM", 0x30, "DA", "bytes to write; writing starts the transfer; reads the bytes that were written",
              "accelerator to memory"),
), {"c_include_mm2s": 1, "c_include_s2mm": 1, "c_include_sg": 0, "c_micro_dma": 0, "c_sg_length_width": LENGTH_BITS,
    "c_include_mm2s_dre": 0, "c_include_s2mm_dre": 0})

CONTROL = Block("control", "identity, soft reset and counters", (
    Register("MAGIC", 0x00, "ro", '"BHVT", first letter in the lowest byte', reset=MAGIC),
    Register("VERSION", 0x04, "ro", "version of this register map", (
        Field("minor", 0, "minor", 16), Field("major", 16, "major", 16)), MAJOR << 16 | MINOR),
    Register("CONTROL", 0x08, "rw", "reads 0 except for a soft reset at work", (
        Field("soft_reset", 0, "resets DMA, accelerator and streams once every AXI transaction is complete; reads 1 "
                               "until it is done", access="w1s"),
        Field("clear_counters", 1, "clears FRAMES_IN to LAST_LATENCY", access="w1s"))),
    Register("STATUS", 0x0C, "ro", "", (
        Field("busy", 0, "the accelerator holds frames, whole or in part"),
        Field("resetting", 1, "a soft reset is at work"),
        Field("mm2s_error", 4, "the MM2S channel has halted on an error"),
        Field("s2mm_error", 5, "the S2MM channel has halted on an error"),
        Field("latency_lost", 6, "more frames in flight than start times are kept: LAST_LATENCY reads all ones "
                                 "until the counters are cleared"),
        Field("weight_error", 7, "a read of weights was answered with an error: no result will come; see ERRORS"))),
    *(Register(f"BUILD_HASH{i}", 0x10 + 4 * i, "ro", f"build hash, bits {32 * i + 31}:{32 * i}", reset=None)
      for i in range(4)),
    Register("INPUT_BYTES", 0x20, "ro", "bytes of an input frame in memory", reset=None),
    Register("OUTPUT_BYTES", 0x24, "ro", "bytes of an output frame in memory", reset=None),
    Register("FRAMES_IN", 0x28, "ro", "frames that have entered the accelerator"),
    Register("FRAMES_OUT", 0x2C, "ro", "frames that have left it"),
    Register("CYCLES_LOW", 0x30, "ro", "cycle counter, bits 31:0; reading it latches the upper half"),
    Register("CYCLES_HIGH", 0x34, "ro", "cycle counter, bits 63:32, as latched"),
    Register("LAST_INTERVAL", 0x38, "ro", "cycles between the ends of the last two frames"),
    Register("LAST_LATENCY", 0x3C, "ro", "cycles from the first input beat to the last output beat of the last frame"),
    Register("CLOCK_KHZ", 0x40, "ro", "clock of the build in kHz", reset=None),
    Register("LOADER_STATUS", 0x44, "ro", "constants loaded at start-up", (
        Field("state", 0, "0 none to load or not begun, 1 loading, 2 done, 3 failed: table, sum or memory error", 2),)),
))

#: ports for weights that a feeder can have
WEIGHT_PORTS = 8
FEEDER = Block("feeder", "constants from memory: start-up loader, weights over and over", (
    Register("LOAD_TABLE", 0x00, "rw", "byte address of the load table, bits 31:0, a multiple of 8"),
    Register("LOAD_TABLE_MSB", 0x04, "rw", "bits 63:32"),
    Register("START", 0x08, "rw", "", (
        Field("load", 0, "reads the table and writes the constants; ignored while it is at it", access="w1s"),
        Field("weights", 1, "1: the weights begin, at word 0, and begin anew after each soft reset; 0: they end with "
                            "the next soft reset", access="rw"))),
    Register("STATE", 0x0C, "ro", "", (
        Field("load", 0, "as LOADER_STATUS", 2),
        Field("weights", 2, "the weights have begun: their addresses cannot be written"),
        Field("ready", 3, "everything is there: the accelerator takes frames"))),
    Register("ERRORS", 0x10, "ro", "answers to reads of weights, 2 bits for each port: 0 no error, 2 SLVERR, 3 DECERR; "
                                   "a soft reset clears them"),
    Register("PORTS", 0x14, "ro", "what the build has", (
        Field("weights", 0, "ports for weights", 8), Field("load", 8, "constants to load")), None),
    *(r for i in range(WEIGHT_PORTS) for r in (
        Register(f"WEIGHT{i}", 0x40 + 8 * i, "rw", f"byte address of the weights of port {i}, bits 31:0; absent ports "
                                                   "and bits below the width of memory read 0"),
        Register(f"WEIGHT{i}_MSB", 0x44 + 8 * i, "rw", "bits 63:32"))),
    *(Register(f"WEIGHT{i}_BYTES", 0x80 + 4 * i, "ro", f"bytes of the weights of port {i}", reset=None)
      for i in range(WEIGHT_PORTS)),
))

#: what every design has
BLOCKS = (DMA, CONTROL)
ALL = (*BLOCKS, FEEDER)


def dma_parameters(axi_bits: int) -> dict[str, int]:
    """What pynq's DMA driver looks up in the hwh, for memory ports of ``axi_bits`` bits."""
    return {**DMA.parameters, "c_m_axi_mm2s_data_width": axi_bits, "c_m_axi_s2mm_data_width": axi_bits}


def as_dict() -> dict[str, Any]:
    """The map as plain data, for the JSON of a deployment package."""
    return {"version": {"major": MAJOR, "minor": MINOR}, "magic": MAGIC, "blocks": {b.name: {
        "vlnv": b.vlnv, "span": SPAN, "doc": b.doc, "parameters": b.parameters, "registers": {r.name: {
            "offset": r.offset, "access": r.access, "reset": r.reset, "doc": r.doc, "fields": {f.name: {
                "lsb": f.lsb, "width": f.width, "access": f.access, "doc": f.doc} for f in r.fields}}
            for r in b.registers}} for b in ALL}}


def _constant(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", text).upper()


def header() -> str:
    """The SystemVerilog package: offsets of all registers, bit positions of all fields."""
    lines = ["// SPDX-License-Identifier: MIT",
             "// Generated by `python -m bhvit.finn_flow.shell.registers`: register offsets, and bits of the fields.",
             "package bhvit_registers;",
             f"  localparam logic [31:0] MAGIC = 32'h{MAGIC:08x};",
             f"  localparam logic [31:0] VERSION = 32'h{MAJOR << 16 | MINOR:08x};",
             f"  localparam int LENGTH_BITS = {LENGTH_BITS};"]
    for b in ALL:
        lines.append(f"  // {b.doc}")
        lines += [f"  localparam logic [7:0] {_constant(b.name)}_{_constant(r.name)} = 8'h{r.offset:02x};"
                  for r in b.registers]
    for name, fields in [("DMACR", _CR), ("DMASR", _SR)] + [
            (_constant(r.name), r.fields) for r in CONTROL.registers if r.fields] + [
            (f"FEEDER_{_constant(r.name)}", r.fields) for r in FEEDER.registers if r.fields]:
        lines += [f"  localparam int {name}_{_constant(f.name)}_BIT = {f.lsb};" for f in fields]
    return "\n".join([*lines, "endpackage"]) + "\n"


def _bits(f: Field) -> str:
    return str(f.lsb) if f.width == 1 else f"{f.lsb + f.width - 1}:{f.lsb}"


def table(block: Block) -> str:
    """Markdown table of a block."""
    rows = ["| offset | register | access | reset | meaning |", "|---|---|---|---|---|"]
    shown: dict[tuple[Field, ...], str] = {}
    for r in block.registers:
        text = r.doc
        if r.fields in shown and len(r.fields) > 1:
            text += f"; fields as {shown[r.fields]}"
        elif r.fields:
            shown[r.fields] = r.name
            text += ("; " if text else "") + "; ".join(f"{_bits(f)} {f.name} ({f.access}): {f.doc}" for f in r.fields)
        reset = "build" if r.reset is None else f"{r.reset:#x}" if r.reset else "0"
        rows.append(f"| {r.offset:#04x} | {r.name} | {r.access} | {reset} | {text} |")
    return "\n".join(rows)


def render(page: str) -> str:
    """docs/shell.md with fresh tables between its markers. Raises ValueError when a marker is missing."""
    for b in ALL:
        begin, end = f"<!-- {b.name}: begin (generated) -->", f"<!-- {b.name}: end -->"
        if begin not in page or end not in page:
            raise ValueError(f"{PAGE.name} lacks the markers {begin} and {end}")
        body = f"{begin}\n{table(b)}\n{end}"
        page = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _, body=body: body, page, flags=re.S)
    return page


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What is generated from the register map.")
    parser.add_argument("--check", action="store_true", help="only tell whether everything is current")
    args = parser.parse_args(argv)
    fresh = {HEADER: header()}
    if PAGE.exists():
        fresh[PAGE] = render(PAGE.read_text())
    stale = [f for f, text in fresh.items() if not f.exists() or f.read_text() != text]
    for f in stale:
        if args.check:
            print(f"{f} is stale: run python -m bhvit.finn_flow.shell.registers", file=sys.stderr)
        else:
            f.write_text(fresh[f])
    return int(args.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
