"""The attention golden against a loop over Python integers; ties and large shapes in hardware."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.finn_flow.layers.base import FoldingError
from bhvit.finn_flow.layers.qd_attention import QdAttention
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls


def slow(layer: QdAttention, q, k, v, constants) -> list:
    """One frame, element by element."""
    table, t, neg = (constants[n].tolist() for n in ("table", "t", "neg"))
    d = layer.head_dim
    out = np.zeros(q.shape, np.int64)
    for w in range(layer.windows):
        window = range(w * layer.tokens, (w + 1) * layer.tokens)
        for i in window:
            for h in range(layer.heads):
                c = range(h * d, (h + 1) * d)
                logits = [sum(int(q[i, x]) * int(k[j, x]) for x in c) for j in window]
                e = [table[(max(logits) - z) // 2] for z in logits]
                for j, ej in zip(window, e):
                    level = 0
                    for n in range(3):
                        limit = t[h][n] * sum(e)
                        level += ej << layer.es <= limit if neg[h] else ej << layer.es >= limit
                    for x in c:
                        out[i, x] += level * int(v[j, x])
    return out


@settings(max_examples=60, deadline=None)
@given(windows=st.integers(1, 3), tokens=st.integers(2, 7), heads=st.integers(1, 3), head_dim=st.integers(1, 9),
       es=st.integers(0, 12), seed=st.integers(0, 2**32 - 1))
def test_golden_equals_loop(windows, tokens, heads, head_dim, es, seed):
    layer = QdAttention(windows=windows, tokens=tokens, heads=heads, head_dim=head_dim, es=es, sets=2)
    rng = np.random.default_rng(seed)
    constants = layer.random_constants(rng)
    if seed % 2:
        constants["t"] = layer.constants()["t"].dtype.random(rng, constants["t"].shape)
    inputs = layer.random_inputs(rng, 3)
    (got,) = layer.golden(inputs, constants)
    for f, s in enumerate(layer.set_of_frame(3)):
        want = slow(layer, *(x[f] for x in inputs), {n: a[s] for n, a in constants.items()})
        assert (got[f] == want).all()


def test_random_constants_reach_every_level():
    for attrs in QdAttention.examples():
        layer = QdAttention(**attrs)
        rng = np.random.default_rng(7)
        constants = layer.random_constants(rng)
        q, k, _ = layer.random_inputs(rng, 4)
        assert set(np.unique(layer.levels(q, k, constants))) == {0, 1, 2, 3}


def test_ties_count_as_reached(tmp_path):
    """A constant table makes both sides equal: t * S = e << es. Neighbouring t, zero and the extremes as well."""
    layer = QdAttention(windows=1, tokens=4, heads=6, head_dim=4, es=4, SIMD=4, PE=4, LP=2)
    constants = {"table": np.full((1, 5), 1000), "neg": np.array([[0, 1, 0, 1, 0, 1]]),
                 "t": np.array([[[4, 3, 5], [4, 3, 5], [0, 4, -1], [0, 4, -1], [-256, 255, 4], [-256, 255, 4]]])}
    inputs = layer.random_inputs(np.random.default_rng(1), 6)
    levels = layer.levels(inputs[0], inputs[1], constants)
    assert [np.unique(levels[:, :, h]).tolist() for h in range(6)] == [[2], [2], [3], [1], [2], [2]]
    got = KernelSim(layer, constants, tmp_path).run(inputs)
    assert got.status == 0 and (got.outputs[0] == layer.golden(inputs, constants)[0]).all()


def test_zero_table_entries(tmp_path):
    """With thresholds of zero and an exponential of zero, 0 >= 0 holds."""
    layer = QdAttention(windows=2, tokens=3, heads=2, head_dim=6, es=3, e_bits=4, SIMD=2, PE=3)
    constants = {"table": np.array([[15, 4, 1, 0, 0, 0, 0]]), "neg": np.array([[0, 1]]),
                 "t": np.array([[[0, 1, 4], [0, 1, 4]]])}
    inputs = layer.random_inputs(np.random.default_rng(2), 4)
    got = KernelSim(layer, constants, tmp_path).run(inputs)
    assert got.status == 0 and (got.outputs[0] == layer.golden(inputs, constants)[0]).all()


def test_folding_that_does_not_fit():
    with pytest.raises(FoldingError, match="SIMD=3 does not divide head_dim=8"):
        QdAttention(windows=1, tokens=4, heads=3, head_dim=8, es=4, SIMD=3)
    with pytest.raises(FoldingError, match="LP=5"):
        QdAttention(windows=1, tokens=4, heads=3, head_dim=8, es=4, LP=5)


@pytest.mark.full
@pytest.mark.parametrize("attrs", QdAttention.full_examples(), ids=lambda a: f"{a['windows']}x{a['tokens']}")
def test_large_shapes(attrs, tmp_path):
    layer = QdAttention(**attrs)
    rng = np.random.default_rng(11)
    constants = layer.random_constants(rng)
    inputs = layer.random_inputs(rng, 4)
    (want,) = layer.golden(inputs, constants)
    sim = KernelSim(layer, constants, tmp_path)
    for stalls in (Stalls(), Stalls(seed=5, input_percent=30, output_percent=30)):
        got = sim.run(inputs, stalls)
        assert got.status == 0 and (got.outputs[0] == want).all()
        if not stalls.input_percent:
            assert abs(got.interval - layer.cycles()) <= 2


def test_tiny_stage_3_interval():
    """BHViT-tiny, stage 3, one logit per cycle, one input channel a beat: the interval of the whole design."""
    assert QdAttention(windows=4, tokens=53, heads=4, head_dim=64, es=10, PE=2).cycles() <= 54_272
