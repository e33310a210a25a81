"""The notebooks: what each must say, that it can be read without running, and that it runs."""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path

import nbformat
import pytest

from bhvit import notebooks
from bhvit.errors import CheckFailed, UserError

ROOT = Path(__file__).resolve().parents[2]
FILES = notebooks.files()
#: those that `make test` runs; the others run with `make test-full` and `make notebooks`
QUICK = (0, 2, 3)
#: texts that must be among the outputs
SAID = {0: "bit-exact 16/16 images", 1: "weights of the repository    top-1  98.89 % of 359", 2: "0 differ",
        3: "golden model = PyTorch in", 4: "bit-exact 16/16", 5: "bit-exact 32/32"}
#: pictures at least
PICTURES = {0: 2, 1: 5, 2: 3, 3: 6, 4: 3, 5: 1}


def read(number: int):
    return nbformat.read(FILES[number], 4)


def code(notebook) -> list:
    return [c for c in notebook.cells if c.cell_type == "code"]


def texts(notebook) -> str:
    """All printed text."""
    return "".join(o.get("text", "") for c in code(notebook) for o in c.outputs)


def pictures(notebook) -> int:
    return sum("image/png" in o.get("data", {}) for c in code(notebook) for o in c.outputs)


def check_outputs(notebook, number: int) -> None:
    assert SAID[number] in texts(notebook)
    assert pictures(notebook) >= PICTURES[number]
    kinds = {(o.output_type, o.get("name")) for c in code(notebook) for o in c.outputs
             if not o.get("text", "").startswith("note: ")}  # what the simulated device says of itself
    assert not [k for k in kinds if k[0] == "error" or k[1] == "stderr"], texts(notebook)


def test_in_order():
    assert list(FILES) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", FILES)
def test_first_cell_says_what_it_is_for(number):
    first = read(number).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {number} ")
    for word in ("Purpose", "Time", "Requirements"):
        assert re.search(rf"\*\*{word}\*\*: [\w`]", first.source), word


@pytest.mark.parametrize("number", FILES)
def test_outputs_are_those_of_one_run(number):
    notebook = read(number)
    nbformat.validate(notebook)
    assert [c.execution_count for c in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    check_outputs(notebook, number)
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("number", FILES)
def test_short_and_of_no_machine(number):
    text = FILES[number].read_text()
    assert len(text) < 1_500_000
    notebook = read(number)
    assert len(notebook.cells) <= 32 and max(len(c.source.splitlines()) for c in notebook.cells) <= 42
    seen = "\n".join([c.source for c in notebook.cells] + [texts(notebook)])
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|usr|opt|mnt|work|Users|venv)\b[^\s]*", seen)
    assert "http" not in seen


@pytest.mark.parametrize("number", FILES)
def test_links_lead_somewhere(number):
    for cell in read(number).cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\(([^)]+)\)", cell.source):
                assert (notebooks.FOLDER / link).exists(), link
            for file in re.findall(r"`((?:docs|configs|notebooks)/[\w./-]+)`", cell.source):
                assert (ROOT / file).exists(), file


def test_figures_are_those_of_the_reports():
    """The committed outputs and the committed measurements say the same."""
    micro = json.loads((ROOT / "reports" / "bench.json").read_text())["micro"]
    assert f"interval        {micro['interval_cycles']:,.0f} cycles (RTL simulation)" in texts(read(4))
    training = json.loads((ROOT / "reports" / "bhvit_micro_training.json").read_text())
    assert f"weights of the repository    top-1  {training['test_top1']:.2f} %" in texts(read(1))


# ---- running them -------------------------------------------------------------------------------------------------
@pytest.fixture
def alone(monkeypatch):
    """The notebooks share a build: one test at a time runs them."""
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    notebooks.BUILD.parent.mkdir(parents=True, exist_ok=True)
    with (notebooks.BUILD.parent / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_quick_ones_run(alone):
    for number in QUICK:
        before = FILES[number].read_bytes()
        r = notebooks.run(number, quiet=True)
        assert r.cells == len(code(r.notebook)) > 3
        check_outputs(r.notebook, number)
        assert FILES[number].read_bytes() == before, "written only with --save"


@pytest.mark.full
@pytest.mark.parametrize("number", [n for n in FILES if n not in QUICK])
def test_the_others_run(alone, number):
    if number == notebooks.HOST and not notebooks.HOST_PYTHON.exists():
        pytest.skip("the host environment is missing: run `make host-setup`")
    check_outputs(notebooks.run(number, quiet=True).notebook, number)


def small(folder: Path, *cells: str) -> None:
    """A notebook 7 in a folder of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 7"),
                                               *map(nbformat.v4.new_code_cell, cells)])
    nbformat.write(notebook, folder / "7_small.ipynb")


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_failing_cell_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    note = f"__import__('pathlib').Path({str(tmp_path / 'pid')!r}).write_text(str(__import__('os').getpid()))"
    small(tmp_path, f"x = 1; {note}", "assert x == 2, 'x is one'")
    with pytest.raises(CheckFailed, match=r"Notebook 7 failed in its 2\. code cell") as e:
        notebooks.run(7, quiet=True)
    assert gone(int((tmp_path / "pid").read_text()))
    assert "AssertionError: x is one" in str(e.value) and e.value.exit_code == 1
    with pytest.raises(UserError, match="no notebook 8") as e:
        notebooks.run(8)
    assert "choose from 7" in str(e.value)


def test_saving(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    small(tmp_path, "import os\nprint(1, flush=True)\nprint(os.path.basename(os.getcwd()), flush=True)",
          "from IPython.display import Javascript, display\ndisplay(Javascript('1'))", "os.getpid()")
    r = notebooks.run(7, save=True, quiet=True)
    assert gone(int(code(r.notebook)[2].outputs[0].data["text/plain"])), "the kernel has ended"
    assert code(r.notebook)[1].outputs == [], "no scripts"
    assert 0.1 < r.cpu_seconds < 10 * r.seconds, "the kernel's time counts"
    again = nbformat.read(tmp_path / "7_small.ipynb", 4)
    assert texts(again) == texts(r.notebook) == f"1\n{tmp_path.name}\n"
    assert len(code(again)[0].outputs) == 1, "one text, however it was flushed"
    assert again.metadata.kernelspec.name == "python3" and code(again)[0].execution_count == 1


def test_host_environment_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "HOST_PYTHON", tmp_path / "python")
    with pytest.raises(UserError, match="host environment is missing") as e:
        notebooks.run(notebooks.HOST)
    assert "make host-setup" in str(e.value) and e.value.exit_code == 2
