"""What a layer declares about its memories is what its kernel has, and the styles arrive there."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.layers.base import FoldingError, Layer
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import AUTO, BLOCK, DISTRIBUTED, ULTRA, Store
from bhvit.finn_flow.wrapper import sources, verilog_number
from bhvit.tools import verilator

CASES = [pytest.param(cls, attrs, id=f"{stem}-{i}")
         for stem, cls in layers().items() for i, attrs in enumerate(cls.examples())]


def _children(node: object, kind: str) -> list[dict]:
    """All nodes of a type below a node of Verilator's tree."""
    if isinstance(node, list):
        return [x for n in node for x in _children(n, kind)]
    if not isinstance(node, dict):
        return []
    own = [node] if node.get("type") == kind else []
    return own + [x for v in node.values() for x in _children(v, kind)]


def elaborated(layer: Layer, folder: Path) -> Counter[tuple[int, int, bool, str]]:
    """(width, depth, constant, style) of every bv_ram and bv_rom of an instance, counted."""
    tool = verilator()
    parameters = [f"-G{k}={verilog_number(v)}" for k, v in layer.rtl_parameters().items()]
    parameters += [f'-G{k}_STYLE="{v}"' for k, v in layer.style_map().items()]
    cmd = [str(tool.path), "--json-only", "--no-timing", "-Wno-lint", "-Wno-fatal", "--top-module", f"bv_{layer.stem}",
           "--Mdir", str(folder), *parameters, *map(str, sources(type(layer)))]
    r = subprocess.run(cmd, env=tool.env, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    modules = {m["addr"]: m for m in json.loads(next(folder.glob("*.tree.json")).read_text())["modulesp"]}
    found: Counter[tuple[int, int, bool, str]] = Counter()

    def number(value: str) -> int:
        return int(value.split("'")[1].lstrip("sh"), 16)

    def walk(module: dict) -> None:
        if module["origName"] in ("bv_ram", "bv_rom"):
            p = {v["name"]: v["valuep"][0]["name"] for v in _children(module["stmtsp"], "VAR")
                 if v["name"] in ("WIDTH", "DEPTH", "STYLE") and v.get("valuep")}
            style = bytes.fromhex(f"{number(p['STYLE']):x}").decode()
            found[number(p["WIDTH"]), number(p["DEPTH"]), module["origName"] == "bv_rom", style] += 1
        for cell in _children(module["stmtsp"], "CELL"):
            walk(modules[cell["modp"]])

    walk(next(m for m in modules.values() if m["name"] == f"bv_{layer.stem}"))
    return found


def declared(layer: Layer) -> Counter[tuple[int, int, bool, str]]:
    found: Counter[tuple[int, int, bool, str]] = Counter()
    for s in layer.styled_stores():
        if not s.plain:
            found[s.width, s.depth, s.const, s.style] += s.copies
    return found


@pytest.mark.parametrize("cls, attrs", CASES)
def test_kernel_has_the_declared_memories(cls, attrs, tmp_path):
    layer = cls(**attrs)
    assert elaborated(layer, tmp_path) == declared(layer)
    images = layer.memories(layer.random_constants(np.random.default_rng(0)))
    assert {s.name: (s.width, s.depth) for s in layer.stores() if s.const} == {
        k: (m.width, m.depth) for k, m in images.items()}


@pytest.mark.parametrize("cls, attrs", CASES)
def test_styles_arrive_in_the_kernel(cls, attrs, tmp_path):
    layer = cls(**attrs)
    names = [s.name for s in layer.stores() if not s.fixed]
    if not names:
        assert layer.stores() == () or all(s.style == AUTO for s in layer.styled_stores())
        return
    for i, style in enumerate((DISTRIBUTED, BLOCK, ULTRA)):
        styles = {s.name: style for s in layer.stores() if style in s.styles()}
        styled = cls(**{**attrs, "styles": " ".join(f"{k}={v}" for k, v in styles.items())})
        assert {s.name: s.style for s in styled.styled_stores() if s.name in styles} == styles
        assert elaborated(styled, tmp_path / str(i)) == declared(styled)


@pytest.mark.parametrize("styles, message", [("NOTHING=block", "its memories: RAM"), ("RAM=flash", "block, ultra"),
                                             ("RAM", "distributed, block, ultra")])
def test_impossible_styles_are_refused(styles, message):
    with pytest.raises(FoldingError) as e:
        layers()["fifo"](dims=[60, 9], depth=70, styles=styles)
    assert message in str(e.value.do)


def test_prices():
    """Capacities of the primitives: RAMB18 in its aspect ratios, UltraRAM of 4096 x 72, RAM64M8."""
    price = {s: Store("A", 8, 55552).with_style(s).cost for s in (BLOCK, ULTRA)}
    assert (price[BLOCK].bram18, price[BLOCK].uram, price[ULTRA].bram18, price[ULTRA].uram) == (28, 0, 0, 2)
    assert [Store("A", w, d).with_style(BLOCK).cost.bram18 for w, d in
            ((36, 512), (37, 512), (18, 1024), (40, 600), (1, 16384), (10, 5000))] == [1, 2, 1, 3, 1, 5]
    assert [Store("A", w, d).with_style(ULTRA).cost.uram for w, d in
            ((72, 4096), (73, 4096), (9, 32768), (8, 32769), (36, 8192), (16, 16384))] == [1, 2, 1, 2, 1, 1]
    assert [Store("A", w, d).with_style(DISTRIBUTED).cost.lut for w, d in ((14, 32), (7, 64), (8, 64))] == [8, 8, 16]
    assert Store("A", 8, 20).chosen == DISTRIBUTED and Store("A", 16, 300).chosen == BLOCK
    assert ULTRA not in Store("A", 72, 4096, const=True).styles()
