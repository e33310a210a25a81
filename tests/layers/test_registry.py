"""Every registered layer is complete, and its documentation is current."""

from __future__ import annotations

import pytest

from bhvit.finn_flow import docs
from bhvit.finn_flow.formula import formula
from bhvit.finn_flow.layers.base import Layer
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.wrapper import sources


@pytest.mark.parametrize("stem", layers())
def test_layer_complete(stem):
    cls = layers()[stem]
    assert cls.stem == stem
    assert cls.golden is not Layer.golden and cls.cycles is not Layer.cycles
    assert all(p.exists() for p in sources(cls)), "a source file is missing"
    assert docs.implementations(cls), "no implementation"
    assert len(cls.examples()) >= 3
    assert len(docs.purpose(cls)) > 20, "the module needs a sentence that says what the layer computes"


@pytest.mark.parametrize("stem", layers())
def test_layer_example_is_consistent(stem):
    for attrs in layers()[stem].examples():
        layer = layers()[stem](**attrs)
        for st in (*layer.inputs(), *layer.outputs()):
            assert st.channels % st.SIMD == 0 and st.tokens % st.TP == 0
        assert layer.cycles() >= max(st.beats for st in (*layer.inputs(), *layer.outputs()))
        assert set(layer.rtl_parameters()) == {k.upper() for k in layer.rtl_parameters()}


def test_layer_table_current():
    page = docs.PAGE.read_text()
    assert docs.render(page) == page, "stale: run python -m bhvit.finn_flow.docs"


def test_layer_table_has_every_layer():
    page = docs.PAGE.read_text()
    assert [s for s in layers() if f"| [`{s}`](#{s}) |" not in page or f"### {s}\n" not in page] == []


def test_formulas():
    """The text is what the method computes, in the names of fields; a simulation is described instead."""
    found = {s: formula(cls) for s, cls in layers().items()}
    assert found["threshold"] == "`beats(in0)`"
    assert found["int_linear"].startswith(
        "`folds = tokens // TP * (out_channels // PE) * (in_channels // SIMD)`; `folds + late_cycles`. `tokens`: "
        "`prod(token_dims)`. `late_cycles`: ")
    assert "`_frame`: Columns per frame" in found["shift"] and "`_fold`: `channels // SIMD`" in found["shift"]
    for stem, text in found.items():
        assert "self" not in text and text.count("`") % 2 == 0, stem


def test_stale_table_is_noticed(tmp_path, monkeypatch, capsys):
    stale = tmp_path / "layers.md"
    stale.write_text(docs.PAGE.read_text().replace("| [`add`]", "| [`sum`]"))
    monkeypatch.setattr(docs, "PAGE", stale)
    assert docs.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert docs.main([]) == 0 and docs.main(["--check"]) == 0


def test_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="markers"):
        docs.render("# Hardware layers\n")
