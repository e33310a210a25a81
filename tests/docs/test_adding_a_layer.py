"""docs/adding_a_layer.md: its files are a complete layer, its commands pass, and its output is what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding_a_layer.md").read_text()
FILES = dict(re.findall(r"^`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
CSIM, COMPARED = re.search(r"^ +\.venv/bin/bhvit (hls csim .*?) +# (.*)$", PAGE, re.M).groups()
SNIPPET = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[-1]
COMMAND, PASSED = re.search(r"^ +\.venv/bin/python -m (pytest .*?) +# (\d+ passed)$", PAGE, re.M).groups()


def run(folder: Path, *args: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "BHVIT_LAYERS": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *args], cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the page in a folder of their own."""
    assert sorted(FILES) == ["finn_flow/layers/clipped_relu.py", "hls/include/bhvit/clipped_relu.hpp",
                             "rtl/bv_clipped_relu.sv"]
    for name, text in FILES.items():
        assert not (ROOT / name).exists(), "the example is to be a layer that the registry lacks"
        (tmp_path / Path(name).name).write_text(text)
    return tmp_path


def test_layer_passes_every_test_of_a_layer(folder):
    r = run(folder, "-m", *COMMAND.split(), "-p", "no:cacheprovider")
    assert r.returncode == 0 and PASSED in r.stdout, r.stdout + r.stderr


def test_hls_kernel_equals_the_golden_model(folder):
    r = run(folder, "-m", "bhvit.cli.main", *CSIM.split(), "-o", str(folder / "csim"))
    assert r.returncode == 0 and r.stdout.strip() == COMPARED, r.stdout + r.stderr


@pytest.mark.parametrize("right, wrong", [("v < 0 ?", "v <= 1 ?"), ("word, i % P::SIMD", "word, 0"),
                                          ("hi[set * In::FOLDS + f]", "hi[f]")])
def test_wrong_hls_kernels_are_caught(folder, right, wrong):
    kernel = folder / "clipped_relu.hpp"
    assert kernel.read_text().count(right) == 1
    kernel.write_text(kernel.read_text().replace(right, wrong))
    r = run(folder, "-m", "bhvit.cli.main", *CSIM.split(), "-o", str(folder / "csim"))
    assert r.returncode == 1 and "does not equal its golden model" in r.stderr, r.stdout + r.stderr


def test_finn_op_gives_the_printed_output(folder):
    r = run(folder, "-c", SNIPPET)
    assert r.stdout.strip() == SNIPPET.rsplit("# ", 1)[1].strip(), r.stdout + r.stderr


@pytest.mark.parametrize("right, wrong", [
    ("> hi[i%SIMD*W+:W] ?", ">= hi[0+:W] ?"),  # the ceiling of another channel
    ("if (ce) x <= in0_data;", "x <= in0_data;"),  # data that moves while the output waits
    (".frame_done(ce && in0_valid && last)", ".frame_done(1'b0)"),  # one set of constants for all frames
])
def test_wrong_kernels_are_caught(folder, right, wrong):
    kernel = folder / "bv_clipped_relu.sv"
    assert kernel.read_text().count(right) == 1
    kernel.write_text(kernel.read_text().replace(right, wrong))
    r = run(folder, "-m", "pytest", "tests/layers/test_layers.py", "-k", "clipped_relu", "-p", "no:cacheprovider")
    assert r.returncode == 1 and "first wrong at" in r.stdout, r.stdout + r.stderr


def test_python_of_the_page_is_clean(folder):
    r = subprocess.run([sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--quiet",
                        str(folder)], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
