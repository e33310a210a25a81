"""What random data does not reach, and what a kernel or the runner says when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.errors import CheckFailed
from bhvit.finn_flow.hls.csim import HlsCase, HlsCompileError, check, compile_cases, csim, hex_beats, run_cases
from bhvit.finn_flow.hls.generate import kernel, memory, source
from bhvit.finn_flow.layers.base import Memory
from bhvit.finn_flow.layers.qd_attention import QdAttention
from bhvit.finn_flow.layers.shift import Shift
from bhvit.finn_flow.layers.threshold import Threshold
from bhvit.finn_flow.layers.tile import Tile
from bhvit.finn_flow.streams import Stream, s, u


def attention_of_ties() -> HlsCase:
    """All exponentials are equal and every threshold times their sum is met exactly, in both directions."""
    layer = QdAttention(windows=1, tokens=8, heads=2, head_dim=4, es=6, LP=3, PE=2, SIMD=4)
    rng = np.random.default_rng(3)
    constants = {"table": np.full((1, 5), 3), "t": np.full((1, 2, 3), 2**6 // 8), "neg": np.array([[0, 1]])}
    inputs = layer.random_inputs(rng, 2)
    return HlsCase(layer, "ties", constants, inputs, layer.golden(inputs, constants))


@pytest.mark.parametrize("old, new", [("", ""), ("scaled >= limit", "scaled > limit"),
                                      ("scaled <= limit", "scaled < limit")])
def test_attention_at_its_thresholds(old, new, tmp_path):
    changed = tmp_path / "mutant" / "bhvit" / "qd_attention.hpp"
    changed.parent.mkdir(parents=True)
    changed.write_text(kernel(QdAttention).read_text().replace(old, new))
    case = attention_of_ties()
    result = csim([case], tmp_path, sanitize=False, first=[tmp_path / "mutant"])
    assert bool(result.failures) == bool(old)


def test_mismatch_says_where(tmp_path):
    case = HlsCase.random(Threshold(dims=[4, 3, 6], SIMD=2, TP=3), "signs")
    case.expected[0][1, 2, 1, 5] *= -1  # frame 1, token 7: group 2, fold 2
    result = csim([case], tmp_path, sanitize=False)
    assert len(result.failures) == 1
    assert "out0 beat 20 (frame 1, tokens 6 to 8, channels 4 to 5) is " in result.failures[0]
    with pytest.raises(CheckFailed, match=r"threshold does not equal the golden model in 1 of 1 cases"):
        check(result, "threshold")


def test_missing_and_surplus_beats_are_errors(tmp_path):
    short = HlsCase.random(Tile(token_dims=[3], channels=4), "starved", seed=1)
    short.inputs[0] = short.inputs[0][:2]
    long = HlsCase.random(Tile(token_dims=[3], channels=4), "flooded", seed=1)
    long.frames -= 1
    failures = csim([short, long], tmp_path, sanitize=False).failures
    assert any(f.startswith("starved: stream 'in0' is read while it is empty") for f in failures)
    assert any(f.startswith("flooded: 12 beats are left in stream 'in0'") for f in failures)


def test_sanitizer_finding_is_a_failure(tmp_path):
    text = kernel(Tile).read_text()
    changed = tmp_path / "mutant" / "bhvit" / "tile.hpp"
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace("kept[In::FOLDS];", "kept[In::FOLDS - 1];"))
    case = HlsCase.random(Tile(token_dims=[3], channels=4), "tile")
    exe = compile_cases([case], tmp_path, first=[tmp_path / "mutant"])
    (failure,) = run_cases(exe, [case]).failures
    assert "index 3 out of bounds" in failure or "stack-buffer-overflow" in failure


def test_static_assert_speaks(tmp_path):
    case = HlsCase.random(Shift(height=3, width=3, channels=2, ext=0), "natural")
    with pytest.raises(HlsCompileError, match="the kernel needs a map whose rows are extended by 4"):
        compile_cases([case], tmp_path, sanitize=False)


def test_vectors_and_memories_have_the_rtl_packing():
    stream = Stream((1, 4), s(5), SIMD=4)
    assert hex_beats(stream, np.array([[[1, -1, 0, 2]]])) == "0103e1\n"
    image = Memory(((np.array([[3, 1], [0, -1]]), s(4)), (np.array([[1], [0]]), u(1))))
    assert "ap_uint<9> rom[2]" in memory("rom", image) and "0x113ULL, 0x0f0ULL" in memory("rom", image)


def test_wide_words_are_declared():
    layer = Threshold(dims=[2, 200], bits=8, SIMD=200)
    text = source(layer, "node", layer.random_constants(np.random.default_rng(1)))
    assert "#define AP_INT_MAX_W 2048" in text and 'ap_uint<2000>("0x' in text
