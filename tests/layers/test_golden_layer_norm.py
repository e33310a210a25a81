"""The layer norm golden against Python integers, its root against the definition; extremes and large shapes in RTL."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.finn_flow.layers.base import FoldingError
from bhvit.finn_flow.layers.layer_norm import LayerNorm, inverse_sqrt
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls


@settings(max_examples=300, deadline=None)
@given(v=st.one_of(st.integers(1, 2**56 - 1), st.integers(1, 5000), st.integers(1, 2**28 - 1).map(lambda a: a * a)),
       k=st.integers(1, 28), near=st.integers(-1, 1))
def test_root_is_rounded_to_nearest(v, k, near):
    """|r - 2^k/sqrt(v)| <= 1/2 without leaving the integers, also right at the points where r changes."""
    r0 = isqrt(4 ** (k + 1) // v)
    candidates = [v]
    if r0:
        candidates.append(min(max(4 ** (k + 1) // (2 * (r0 // 2) + 1) ** 2 + near, 1), 2**56 - 1))
    for x in candidates:
        r = int(inverse_sqrt(np.array(x), k))
        assert r >= 0 and (r == 0 or (2 * r - 1) ** 2 * x <= 4 ** (k + 1)) and 4 ** (k + 1) < (2 * r + 1) ** 2 * x


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 4), channels=st.integers(1, 24), in_bits=st.integers(2, 10), k=st.integers(6, 28),
       s1=st.integers(0, 20), sh=st.integers(0, 12), eps=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1))
def test_golden_equals_loop(tokens, channels, in_bits, k, s1, sh, eps, seed):
    layer = LayerNorm(token_dims=[tokens], channels=channels, in_bits=in_bits, k=k, s1=s1, sh=sh, eps_int=eps, sets=2)
    rng = np.random.default_rng(seed)
    constants = {n: c.dtype.random(rng, (2, *c.shape)) for n, c in layer.constants().items()}
    (x,) = layer.random_inputs(rng, 3)
    (got,) = layer.golden([x], constants)
    for f, s in enumerate(layer.set_of_frame(3)):
        for i in range(tokens):
            row = x[f, i].tolist()
            v = channels * sum(a * a for a in row) - sum(row) ** 2 + eps
            assert v < 2**layer.v_bits
            r = (isqrt(4 ** (k + 1) // v) + 1) // 2
            assert r < 2**layer.r_bits
            for c, a in enumerate(row):
                n = min(max((channels * a - sum(row)) * r >> s1, -2048), 2047)
                y = (int(constants["m"][s, c]) * n + int(constants["o"][s, c])) >> sh
                assert got[f, i, c] == min(max(y, -128), 127)


def test_limits_are_refused():
    with pytest.raises(FoldingError, match="SIMD=128"):
        LayerNorm(token_dims=[2], channels=128, k=20, s1=12, eps_int=11, sh=9, SIMD=128)
    with pytest.raises(ValueError, match="eps_int=4294967296"):
        LayerNorm(token_dims=[2], channels=128, k=20, s1=12, eps_int=2**32, sh=9)
    with pytest.raises(ValueError, match="eps_int=0"):
        LayerNorm(token_dims=[1], channels=4, k=8, s1=0, eps_int=0, sh=0)
    with pytest.raises(ValueError, match="k=29"):
        LayerNorm(token_dims=[1], channels=4, k=29, s1=0, eps_int=1, sh=0)


def test_extreme_tokens(tmp_path):
    """Smallest and largest variance, single outliers, and the widths they need."""
    layer = LayerNorm(token_dims=[40], channels=16, k=23, s1=15, eps_int=1, sh=9, SIMD=4)
    rng = np.random.default_rng(5)
    x = np.zeros((2, 40, 16), np.int64)
    for i in range(39):
        x[:, i, : i % 17] = [[-128], [127]]
        x[:, i, i % 17 :] = [127, -128, 126, 0, -127][i % 5]
    x[:, 39] = -128
    constants = layer.random_constants(rng)
    constants["m"][0, :4], constants["o"][0, :4] = [-2048, 2047, 0, 1], [2**23 - 1, -(2**23), 0, 1]
    got = KernelSim(layer, constants, tmp_path).run([x])
    assert got.status == 0 and (got.outputs[0] == layer.golden([x], constants)[0]).all()


@pytest.mark.full
@pytest.mark.parametrize("attrs", [*LayerNorm.full_examples(),
                                   dict(token_dims=[2000], channels=6, k=16, s1=8, eps_int=1, sh=9, SIMD=6)],
                         ids=lambda a: f"{a['token_dims'][0]}x{a['channels']}")
def test_large_shapes(attrs, tmp_path):
    layer = LayerNorm(**attrs)
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
    """BHViT-tiny, stage 3, one channel a beat: the interval of the whole design."""
    assert LayerNorm(token_dims=[212], channels=256, k=23, s1=15, eps_int=671, sh=9).cycles() <= 54_272
