"""The serial shell around the toy: answers, resets in every state, speeds that differ, overruns, wrong designs."""

from __future__ import annotations

import os
import select
import subprocess
import threading

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow.cosim import Reference
from bhvit.finn_flow.shell import ecp5
from bhvit.finn_flow.shell.boards import load_board
from bhvit.finn_flow.shell.design import build_hash
from bhvit.finn_flow.shell.serial_board import (
    BOARD_TOP,
    SerialParameters,
    board_sources,
    board_top,
    build_board_simulator,
)
from bhvit.finn_flow.shell.serial_line import GREETING, Greeting, SerialBoard, SerialError, SimulatedLine, TerminalLine
from bhvit.finn_flow.wrapper import RTL
from bhvit.tools import verilator

from .toy import Toy

DIVISOR = 8


@pytest.fixture(scope="module")
def toy_board(tmp_path_factory):
    """(toy, design, parameters, executable): 1 Mbaud at 8 MHz."""
    folder = tmp_path_factory.mktemp("serial")
    toy = Toy(ob=7)
    design = toy.design(folder / "design")
    p = SerialParameters.of(design, 8.0, 1_000_000)
    (folder / "top.v").write_text(board_top(p, {"tie": 1}))
    return toy, design, p, build_board_simulator([*board_sources(design), folder / "top.v"], folder / "sim",
                                                 optimize="-O0")


@pytest.fixture
def line(toy_board):
    _, design, p, exe = toy_board
    with SimulatedLine(exe, design.memories, p.divisor, patience=5000) as line:
        yield line


def connect(line, toy_board) -> SerialBoard:
    _, design, p, _ = toy_board
    board = SerialBoard(line)
    board.connect(input_bytes=p.shell.input_bytes, output_bytes=p.shell.output_bytes, build_hash=build_hash(design))
    return board


def frames(toy: Toy, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, toy.beats, toy.ib), dtype=np.uint8)


def test_frames(toy_board, line):
    toy, _, p, _ = toy_board
    board = connect(line, toy_board)
    x = frames(toy, 12)
    y = toy.compute(x)
    for k in range(len(x)):
        got, cycles = board.infer(x[k].tobytes())
        assert got == y[k].tobytes()
        # the first beat enters as soon as its bytes are there, the last one a frame of bytes later
        assert abs(cycles - (toy.beats - 1) * toy.ib * 10 * p.divisor) < 40
    assert board.ask() == Greeting(1, p.shell.input_bytes, p.shell.output_bytes, 8000, f"{p.shell.build_hash:032x}")
    lights = int(line.command("leds"), 16)
    assert lights >> 4 == 12 and not lights & 0b1110


@pytest.mark.parametrize("cut", [0, 1, 4, 17, 18, 19])
def test_a_reset_forgets_half_frames(toy_board, line, cut):
    """A break after `cut` bytes of command and frame: the next frame is right, whatever was in the pipe."""
    toy = toy_board[0]
    board = connect(line, toy_board)
    x = frames(toy, 2, seed=cut)
    line.write((b"I" + x[0].tobytes())[:cut])
    board = connect(line, toy_board)
    assert board.infer(x[1].tobytes())[0] == toy.compute(x[1:])[0].tobytes()


def test_a_reset_in_an_answer(toy_board, line):
    toy = toy_board[0]
    board = connect(line, toy_board)
    x = frames(toy, 2)
    line.write(b"I" + x[0].tobytes())
    assert line.read(3)[:1] == b"R"
    board = connect(line, toy_board)
    assert board.infer(x[1].tobytes())[0] == toy.compute(x[1:])[0].tobytes()


def test_a_broken_byte_is_reported(toy_board, line):
    """A stop bit that is 0: the board says so in place of a result, then works again."""
    toy = toy_board[0]
    board = connect(line, toy_board)
    x = frames(toy, 1)
    line.command(f"break {10 * DIVISOR}")
    assert Greeting.parse(line.read(GREETING)).reason == 1
    assert int(line.command("leds"), 16) & 8
    assert board.infer(x[0].tobytes())[0] == toy.compute(x)[0].tobytes()
    line.write(b"I" + bytes(5))
    line.command(f"break {12 * DIVISOR}")
    with pytest.raises(SerialError, match=r"(?s)reset in the middle of a frame.*a broken byte"):
        board.infer(b"")


def test_the_button_resets(toy_board, line):
    toy = toy_board[0]
    board = connect(line, toy_board)
    line.write(b"I" + bytes(5))
    line.command("button 100")
    assert Greeting.parse(line.read(GREETING)).reason == 3
    x = frames(toy, 1)
    assert board.infer(x[0].tobytes())[0] == toy.compute(x)[0].tobytes()


@pytest.mark.parametrize("gap", [0, 3, 500])
def test_pauses_between_bytes(toy_board, line, gap):
    toy = toy_board[0]
    board = connect(line, toy_board)
    line.command(f"gap {gap}")
    x = frames(toy, 2)
    for k in range(2):
        assert board.infer(x[k].tobytes())[0] == toy.compute(x)[k].tobytes()


def test_other_bytes_are_ignored(toy_board, line):
    toy = toy_board[0]
    board = connect(line, toy_board)
    line.write(bytes(c for c in range(256) if c not in b"I?"))
    x = frames(toy, 1)
    assert board.infer(x[0].tobytes())[0] == toy.compute(x)[0].tobytes()


def test_an_overrun_is_reported(toy_board, line):
    """Frame after frame without waiting: answers are longer than frames here, so the input FIFO fills up at last."""
    toy = toy_board[0]
    board = connect(line, toy_board)
    x = frames(toy, 1)
    line.write((b"I" + x[0].tobytes()) * 60)
    seen = b""
    while more := line.read(200):
        seen += more
    assert b"BHVT\x01\x02" in seen
    board = connect(line, toy_board)
    assert board.infer(x[0].tobytes())[0] == toy.compute(x)[0].tobytes()


def test_another_design_is_refused(toy_board, line):
    _, _, p, _ = toy_board
    with pytest.raises(SerialError, match="another design"):
        SerialBoard(line).connect(input_bytes=p.shell.input_bytes, output_bytes=p.shell.output_bytes,
                                  build_hash="0" * 32)


def test_silence_is_reported(toy_board, line):
    board = connect(line, toy_board)
    with pytest.raises(SerialError, match=r"(?s)does not send a result.*nothing came"):
        board.infer(b"\x01")


@pytest.fixture
def terminal(line):
    """Path of a terminal with the simulated board behind it. A break does not go through one; see the caller."""
    ours, theirs = os.openpty()
    stop = threading.Event()

    def pump():
        while not stop.is_set():
            if select.select([ours], [], [], 0.01)[0]:
                line.write(os.read(ours, 4096))
            elif answer := line.read(64):
                os.write(ours, answer)

    line.patience = 300
    line.command("run 100")  # power-up
    thread = threading.Thread(target=pump)
    thread.start()
    yield os.ttyname(theirs)
    stop.set()
    thread.join()
    os.close(ours)
    os.close(theirs)


def test_through_a_terminal(toy_board, line, terminal, tmp_path, monkeypatch):
    """`bhvit serial` on a terminal device: raw bytes of every value, equal and wrong references, a wrong device."""
    toy, design, p, _ = toy_board
    x = frames(toy, 8)
    y = toy.compute(x).reshape(len(x), -1).astype(np.int64)
    monkeypatch.setattr(ecp5, "run_reference", lambda *a: Reference(x, y, y.argmax(axis=1)))
    monkeypatch.setattr(TerminalLine, "send_break", lambda self: self.write(b"?"))
    monkeypatch.setattr(SerialParameters, "of", lambda *a: p)
    (tmp_path / "stitched_ip").symlink_to(design.folder)
    board = load_board("ulx3s")
    r = ecp5.run_board(tmp_path, board, terminal, "digits", 8)
    assert r["bit_exact_images"] == r["images"] == 8 and r["top1"] == 100.0 and not r["first_difference"]
    y[5, 3] ^= 1
    r = ecp5.run_board(tmp_path, board, terminal, "digits", 8)
    assert r["bit_exact_images"] == 7 and r["first_difference"].startswith("image 5: the board answers ")
    for path, phrase in ((tmp_path / "none", "cannot be opened"), ("/dev/null", "no serial port")):
        with pytest.raises(UserError, match=phrase):
            ecp5.run_board(tmp_path, board, str(path), "digits", 8)


def test_lint(toy_board, tmp_path):
    _, design, p, _ = toy_board
    (tmp_path / f"{BOARD_TOP}.v").write_text(board_top(p))
    tool = verilator()
    r = subprocess.run([str(tool.path), "--lint-only", "-Wall", "--no-timing", "--top-module", "bhvit_serial",
                        *(f"-G{k}={v}" for k, v in p.verilog().items()), str(RTL / "lint.vlt"),
                        *(str(f) for f in board_sources(design) if not f.name.startswith(("toy", "finn")))],
                       env=tool.env, capture_output=True, text=True)
    assert not r.stderr, r.stderr
