"""Every registered layer: the HLS kernel, compiled with g++ under sanitizers, equals the golden model."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.hls.csim import HlsCase, compile_cases, csim, gaps, layer_cases, run_cases
from bhvit.finn_flow.hls.generate import kernel
from bhvit.finn_flow.hls.spread import FOLDINGS, spread
from bhvit.finn_flow.layers.registry import layers

from .mutations import MUTATIONS

STEMS = list(layers())


def test_every_layer_has_a_kernel():
    assert gaps(layers()) == [] and len(STEMS) >= 24


def assert_diverse(cases: list[HlsCase]) -> None:
    for c in cases:
        for out in c.expected:
            assert len(np.unique(out)) > 1, f"{c.name} tests nothing: constant output"


@pytest.mark.parametrize("stem", STEMS)
def test_examples_reduced(stem, tmp_path):
    cases = layer_cases(layers()[stem], quick=True)
    assert len(cases) == len(layers()[stem].examples())
    assert_diverse(cases)
    result = csim(cases, tmp_path)
    assert result.failures == [] and result.beats > 0


@pytest.mark.full
@pytest.mark.parametrize("stem", STEMS)
def test_spread(stem, tmp_path):
    cases = layer_cases(layers()[stem])
    assert_diverse(cases)
    result = csim(cases, tmp_path)
    assert result.failures == [] and result.beats > 0


@pytest.mark.parametrize("stem", STEMS)
def test_spread_is_wide(stem):
    shapes: dict[str, set[str]] = {}
    for layer in spread(layers()[stem]):
        values = dict(layer)
        folding = {k: values.pop(k) for k in FOLDINGS if k in values}
        shapes.setdefault(repr(values), set()).add(repr(folding))
    assert sum(len(foldings) >= 3 for foldings in shapes.values()) >= 5, shapes


@pytest.mark.parametrize("stem", STEMS)
def test_mutation_is_caught(stem, tmp_path):
    text = kernel(layers()[stem]).read_text()
    old, new = MUTATIONS[stem]
    assert text.count(old) == 1
    changed = tmp_path / "mutant" / "bhvit" / f"{stem}.hpp"
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(old, new))
    cases = layer_cases(layers()[stem], quick=True)
    exe = compile_cases(cases, tmp_path, sanitize=False, first=[tmp_path / "mutant"])
    assert run_cases(exe, cases).failures, "the C simulation did not notice the mistake"
