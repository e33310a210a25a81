"""The register map: what is generated from it is current, and the RTL implements all of it."""

from __future__ import annotations

import json
import re

import pytest

from bhvit.finn_flow.shell import registers
from bhvit.finn_flow.shell.design import SHELL
from bhvit.finn_flow.shell.registers import BLOCKS, CONTROL, DMA


def test_generated_files_are_current(capsys):
    assert registers.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_told(monkeypatch, tmp_path, capsys):
    stale = tmp_path / "bhvit_registers.sv"
    stale.write_text(registers.header().replace("8'h58", "8'h5c"))
    monkeypatch.setattr(registers, "HEADER", stale)
    assert registers.main(["--check"]) == 1 and "is stale" in capsys.readouterr().err
    assert registers.main([]) == 0 and registers.main(["--check"]) == 0


def test_offsets_are_those_of_xilinx_axi_dma():
    """PG021, direct register mode: what pynq's driver writes."""
    at = {r.name: r.offset for r in DMA.registers}
    assert at == {"MM2S_DMACR": 0x00, "MM2S_DMASR": 0x04, "MM2S_SA": 0x18, "MM2S_SA_MSB": 0x1C, "MM2S_LENGTH": 0x28,
                  "S2MM_DMACR": 0x30, "S2MM_DMASR": 0x34, "S2MM_DA": 0x48, "S2MM_DA_MSB": 0x4C, "S2MM_LENGTH": 0x58}
    assert DMA.mask("MM2S_DMASR", "DMAIntErr") | DMA.mask("MM2S_DMASR", "DMASlvErr") \
        | DMA.mask("MM2S_DMASR", "DMADecErr") == 0x70
    assert DMA.mask("MM2S_DMACR", "IOC_IrqEn") == 0x1000 and DMA.mask("MM2S_LENGTH", "Length") == (1 << 26) - 1


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.name)
def test_registers_and_fields_do_not_overlap(block):
    assert len({r.offset for r in block.registers}) == len({r.name for r in block.registers}) == len(block.registers)
    for r in block.registers:
        bits = [b for f in r.fields for b in range(f.lsb, f.lsb + f.width)]
        assert len(set(bits)) == len(bits) and r.offset % 4 == 0 and all(b < 32 for b in bits), r.name


def test_json_holds_everything():
    d = json.loads(json.dumps(registers.as_dict()))
    assert d["blocks"]["dma"]["vlnv"] == "bhvit:shell:bhvit_dma:1.0"
    assert d["blocks"]["control"]["registers"]["LAST_LATENCY"]["offset"] == 0x3C
    assert d["blocks"]["dma"]["registers"]["S2MM_DMASR"]["fields"]["Halted"]["lsb"] == 0


def test_rtl_uses_every_register_of_the_control_block():
    text = (SHELL / "bhvit_control.sv").read_text()
    assert [r.name for r in CONTROL.registers if not re.search(rf"\bCONTROL_{r.name}\b", text)] == []


def test_reset_values(toy_sim):
    sim, _, _ = toy_sim
    for b in BLOCKS:
        for r in b.registers:
            if r.reset is not None and not r.name.startswith("CYCLES"):
                assert sim.read(b.name, r.name) == r.reset, r.name


def test_unused_addresses_read_zero_and_take_writes(toy_sim):
    sim, _, _ = toy_sim
    for slave in (0, 1):
        for offset in (0x08, 0x60, 0x104, 0x7FC):
            if (slave, offset) != (1, 0x08):
                sim.ask("write", slave, offset, 0xFFFFFFFF)
                assert sim.ask("read", slave, offset) == 0
    assert sim.read("dma", "MM2S_DMASR") == 0x10001 and sim.read("control", "STATUS") == 0
