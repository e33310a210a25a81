"""The pages of docs/: links and files exist, the index is complete, and listed error messages are in the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FOLDERS = "bhvit|configs|docs|finn_flow|hls|model|rtl|tests"
#: files that the walk-through of a new layer tells the reader to write
EXAMPLES = {"finn_flow/layers/clipped_relu.py", "rtl/bv_clipped_relu.sv", "hls/include/bhvit/clipped_relu.hpp"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_and_files_exist(page):
    text = page.read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    links = [x.split("#") for x in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in x]
    assert [x for x in links if x[0] and not (page.parent / x[0]).exists()] == []
    for name, anchor in (x for x in links if len(x) == 2):
        titles = re.findall(r"^#+ (.*)$", (page.parent / name).read_text() if name else text, re.M)
        assert anchor in [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles], anchor
    files = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.(?:py|sv|md|yaml|vlt|hpp|tcl|yml))`", prose)) - EXAMPLES
    assert [f for f in files if not (ROOT / f).exists()] == []


def test_index_lists_every_page():
    index = (DOCS / "README.md").read_text()
    assert [p.name for p in PAGES if p.name != "README.md" and f"]({p.name})" not in index] == []
    assert [p.name for p in (DOCS / "decisions").glob("*.md") if f"](decisions/{p.name})" not in index] == []


def source_texts() -> list[str]:
    """Every string of the Python sources; what is filled in becomes <>."""
    found = []
    for folder in ("bhvit", "finn_flow", "model"):
        for f in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(f.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    found.append("".join(v.value if isinstance(v, ast.Constant) else "<>" for v in node.values))
    return [t.replace("`", "") for t in found]


def test_messages_are_those_of_the_program():
    page = (DOCS / "troubleshooting.md").read_text()
    cells = [row.split(" | ")[0][2:] for row in re.findall(r"^\| .*", page, re.M) if not row.startswith("| message")]
    assert len(cells) > 40
    texts = source_texts()
    missing = []
    for cell in cells:
        message = re.sub(r"<[^>]*>", "<>", cell.strip("`"))
        # a filled-in part may bring its own `quotes`, and may end a message that begins in another string
        parts = [p.replace("`", "").strip(" :") for p in message.split("<>")]
        pattern = re.compile(".*".join(re.escape(p) for p in parts if len(p) > 2), re.S)
        if not any(pattern.search(t) for t in texts):
            missing.append(cell)
    assert missing == []


def test_pages_are_short():
    """Lines of prose; the code of a walk-through and generated tables do not count."""
    generated = {"layers.md"}
    prose = {p.name: re.sub(r"^```.*?^```$|<!-- \w+: begin.*?: end -->", "", p.read_text(), flags=re.M | re.S)
             for p in PAGES}
    assert {k: n for k, x in prose.items() if k not in generated and (n := len(x.splitlines())) > 130} == {}
