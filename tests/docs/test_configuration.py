"""The page of keys follows the declarations."""

from __future__ import annotations

import pytest

from bhvit import config_docs


def test_tables_are_those_of_the_declarations():
    assert config_docs.main(["--check"]) == 0, "stale: run python -m bhvit.config_docs"


def test_every_key_says_what_it_means():
    for declaration in config_docs.declarations().values():
        assert [k for k, f in declaration.model_fields.items() if not f.description] == []


def test_a_stale_table_is_noticed_and_mended(tmp_path, monkeypatch):
    page = tmp_path / "configuration.md"
    text = config_docs.PAGE.read_text()
    page.write_text(text.replace("| `window` | `7` | 1 to 16 |", "| `window` | `8` | 1 to 16 |"))
    assert page.read_text() != text
    monkeypatch.setattr(config_docs, "PAGE", page)
    assert config_docs.main(["--check"]) == 1
    assert config_docs.main([]) == 0 and page.read_text() == text
    with pytest.raises(ValueError, match="0 places"):
        config_docs.render("nothing")
