"""Board files: complete, known to FINN, and refused with a reason when they are wrong."""

from __future__ import annotations

import pytest

from bhvit.errors import UserError
from bhvit.finn_flow.shell import bitstream, boards, vivado
from bhvit.finn_flow.shell.boards import load_board

VIVADO = ["aup_zu3", "kv260", "pynq_z2", "zcu102", "zcu104"]


def test_the_boards_are_there():
    assert set(VIVADO) <= set(boards.names())
    for name in boards.names():
        b = load_board(name)
        assert b.name == name and b.toolchain in bitstream.TOOLCHAINS and b.sources


@pytest.mark.parametrize("name", VIVADO)
def test_parts_are_those_of_finn(name):
    from bhvit.finn_flow.config import board_parts

    finn = {"aup_zu3": "AUP-ZU3_8GB", "kv260": "KV260_SOM", "pynq_z2": "Pynq-Z2"}.get(name, name.upper())
    b = load_board(name)
    settings = vivado.Settings.model_validate(b.settings)
    assert b.part == board_parts()[finn]
    assert settings.axi_bits == (64 if b.part.startswith("xc7z") else 128)
    assert settings.family == ("zynq_7000" if b.part.startswith("xc7z") else "zynq_ultra")


def test_names_are_forgiving_and_paths_are_taken(tmp_path):
    assert load_board("ZCU104") == load_board("zcu104") and load_board("AUP-ZU3").name == "aup_zu3"
    own = tmp_path / "mine.yaml"
    own.write_text((boards.FOLDER / "zcu104.yaml").read_text().replace("250", "150"))
    assert load_board(own).clock_mhz == 150 and load_board(own).name == "mine"


@pytest.mark.parametrize("text, phrases", [
    ("", ["empty"]), ("[1", ["no YAML"]), ("title: x\n", ["cannot be used", "toolchain", "Field required"]),
    ("title: x\ntoolchain: vivado\npart: y\nclock_mhz: 0\nsources: [z]\n", ["clock_mhz", "greater than 0"]),
    ("title: x\ntoolchain: vivado\npart: y\nclock_mhz: 9\nsources: [z]\ncolour: red\n", ["colour", "not permitted"])])
def test_wrong_files_are_refused(tmp_path, text, phrases):
    f = tmp_path / "b.yaml"
    f.write_text(text)
    with pytest.raises(UserError) as e:
        load_board(f)
    assert all(p in str(e.value) for p in phrases), e.value
    with pytest.raises(UserError, match="Did you mean `zcu10"):
        load_board("zcu10")
