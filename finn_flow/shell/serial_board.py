"""A design behind a serial line: parameters, the Verilog top of a board, simulators, the check against PyTorch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bhvit.errors import UserError
from bhvit.progress import Progress

from ..cosim import Reference, expected_outputs
from ..sim.verilate import build_simulator
from ..stitch import TOP, Design
from ..wrapper import RTL
from .design import SHELL, ShellParameters
from .serial_line import Line, SerialBoard, SimulatedLine

HARNESS = Path(__file__).with_name("serial_sim.cpp")
BOARD_TOP = "bhvit_board"
FILES = ("uart_rx", "uart_tx", "serial")
#: bytes of the largest input FIFO; longer frames must not be sent faster than the design takes them
LONGEST_FIFO = 16384
#: how far a serial line's two ends may be apart: half a bit at the end of a byte, with room for noise
SPEED_ERROR = 0.02


@dataclass(frozen=True)
class SerialParameters:
    """Parameters of bhvit_serial. divisor: clock cycles per bit."""

    shell: ShellParameters
    divisor: int

    @classmethod
    def of(cls, design: Design, clock_mhz: float, baud: int) -> SerialParameters:
        """Raises UserError where the clock is no multiple of the speed, nearly enough."""
        cycles = clock_mhz * 1e6 / baud
        divisor = round(cycles)
        if divisor < 4 or abs(divisor / cycles - 1) > SPEED_ERROR:
            raise UserError(f"{baud} baud cannot be made from a clock of {clock_mhz:g} MHz.", "baud",
                            f"a bit would take {cycles:.2f} cycles; that must be nearly a whole number, at least 4",
                            "choose another speed, e.g. 1000000 at 25 MHz")
        shell = ShellParameters.of(design, clock_mhz)
        if shell.feeder:
            raise UserError("The serial shell cannot bring constants in.", design.folder,
                            "the design has memories to be loaded, or weights that are streamed",
                            "build without `memory.ultra_constants` and without the style `stream`")
        return cls(shell, divisor)

    @property
    def fifo(self) -> int:
        """Bytes of the input FIFO: a frame, where that is possible."""
        return min(LONGEST_FIFO, 1 << max(4, (self.shell.input_bytes - 1).bit_length()))

    def verilog(self) -> dict[str, str]:
        s = self.shell
        return {"DIVISOR": str(self.divisor), "IN_BYTES": str(s.in_bytes), "OUT_BYTES": str(s.out_bytes),
                "IN_BEATS": str(s.in_beats), "OUT_BEATS": str(s.out_beats), "IN_DEPTH": str(self.fifo),
                "CLOCK_KHZ": str(s.clock_khz), "BUILD_HASH": f"128'h{s.build_hash:032x}"}


def board_top(p: SerialParameters, ties: dict[str, int] | None = None) -> str:
    """Verilog of the board's top: ports clk, rx, tx, button, leds and outputs that are tied to a value."""
    i, o = 8 * p.shell.in_bytes - 1, 8 * p.shell.out_bytes - 1
    ties = ties or {}
    ports = ["input wire clk", "input wire rx", "output wire tx", "input wire button", "output wire [7:0] leds",
             *(f"output wire {n}" for n in ties)]
    values = ",\n    ".join(f".{k}({v})" for k, v in p.verilog().items())
    tied = "".join(f"  assign {n} = 1'b{v};\n" for n, v in ties.items())
    return (f"// Generated: a design behind a serial line.\n`default_nettype none\nmodule {BOARD_TOP} (\n    "
            + ",\n    ".join(ports) + f"\n);\n{tied}"
            f"  wire rst_n, i_valid, i_ready, o_valid, o_ready; wire [{i}:0] i_data; wire [{o}:0] o_data;\n"
            f"  bhvit_serial #(\n    {values}\n  ) serial (\n"
            "    .clk(clk), .rx(rx), .tx(tx), .button(button), .leds(leds), .accelerator_rst_n(rst_n),\n"
            "    .m_tdata(i_data), .m_tvalid(i_valid), .m_tready(i_ready),\n"
            "    .s_tdata(o_data), .s_tvalid(o_valid), .s_tready(o_ready)\n  );\n"
            f"  {TOP} accelerator (\n    .ap_clk(clk), .ap_rst_n(rst_n),\n"
            "    .in0_V_TDATA(i_data), .in0_V_TVALID(i_valid), .in0_V_TREADY(i_ready),\n"
            "    .out0_V_TDATA(o_data), .out0_V_TVALID(o_valid), .out0_V_TREADY(o_ready)\n  );\n"
            "endmodule\n`default_nettype wire\n")


def board_sources(design: Design) -> list[Path]:
    """Sources of the design and of the serial shell, each module once."""
    names = {f.name for f in design.sources}
    shared = [RTL / f"{n}.sv" for n in ("bv_util", "bv_fifo") if f"{n}.sv" not in names]
    return [*design.sources, *shared, *(SHELL / f"bhvit_{n}.sv" for n in FILES)]


def build_board_simulator(sources: Sequence[Path], work: Path, *, optimize: str = "-O1", split: int = 0,
                          jobs: int = 2) -> Path:
    """Compile a board's top, as RTL or as a netlist with models of its cells, with serial_sim.cpp.

    Args:
        sources: the top among them. work: a folder for it.
    """
    return build_simulator(BOARD_TOP, [Path(f).resolve() for f in sources], 0, 0, Path(work).resolve(),
                           optimize=optimize, split=split, jobs=jobs, harness=HARNESS)


def send_images(line: Line, design: Design, p: SerialParameters, reference: Reference, *, what: str,
                quiet: bool | None = None) -> dict[str, Any]:
    """Send images to a board, each after the last one's answer; every byte is compared with PyTorch's integers.

    Args:
        line: to a real or simulated board, which is reset first. what: name of the progress.
    Returns:
        {"images", "bit_exact_images", "top1" (None without labels), "bytes_per_answer", "frame_cycles": of each image,
        "seconds", "first_difference"}.
    Raises:
        SerialError: no answer, or another design.
    """
    i, o = design.inputs[0], design.outputs[0]
    images = np.asarray(reference.images)
    n = len(images)
    frames = i.pack(images).reshape(n, -1)
    want = o.pack(expected_outputs(reference.logits, design).reshape(n, *o.dims)).reshape(n, -1)
    begun = time.monotonic()
    answers, cycles = [], []
    board = SerialBoard(line)
    with Progress(what, n, "images", quiet=quiet) as bar:
        board.connect(input_bytes=p.shell.input_bytes, output_bytes=p.shell.output_bytes,
                      build_hash=f"{p.shell.build_hash:032x}")
        for k in range(n):
            answer, taken = board.infer(frames[k].tobytes())
            answers.append(np.frombuffer(answer, np.uint8))
            cycles.append(taken)
            bar.update(k + 1)
    got = np.stack(answers)
    equal = (got == want).all(axis=1)
    first = None if equal.all() else int(np.argmin(equal))
    difference = None if first is None else (f"image {first}: the board answers {got[first].tobytes().hex()}, PyTorch "
                                             f"{want[first].tobytes().hex()}")
    values = o.unpack(got.reshape(-1, p.shell.out_bytes)).reshape(n, -1)
    classes = values.argmax(axis=1) if values.shape[1] > 1 else values[:, 0]
    top1 = None if reference.labels is None else 100 * float(np.mean(classes == np.asarray(reference.labels)[:n]))
    return {"images": n, "bit_exact_images": int(equal.sum()), "top1": top1, "bytes_per_answer": int(want.shape[1]),
            "frame_cycles": cycles, "seconds": time.monotonic() - begun, "first_difference": difference}


def simulate_images(exe: Path, memories: Path, design: Design, p: SerialParameters, reference: Reference, *,
                    what: str, quiet: bool | None = None) -> dict[str, Any]:
    """:func:`send_images` to a simulated board; also "sim_cycles"."""
    patience = 4 * design.max_cycles + design.total_cycles + 20 * p.divisor * p.shell.output_bytes + 100_000
    with SimulatedLine(exe, memories, p.divisor, patience) as line:
        out = send_images(line, design, p, reference, what=what, quiet=quiet)
        return {**out, "sim_cycles": line.cycles}
