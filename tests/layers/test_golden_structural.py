"""Golden models of the structural layers against loops over single elements."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.errors import UserError
from bhvit.finn_flow.layers.add import Add
from bhvit.finn_flow.layers.argmax import Argmax
from bhvit.finn_flow.layers.base import FoldingError
from bhvit.finn_flow.layers.channel_pool import ChannelPool
from bhvit.finn_flow.layers.duplicate import Duplicate
from bhvit.finn_flow.layers.fifo import Fifo
from bhvit.finn_flow.layers.global_pool import GlobalPool
from bhvit.finn_flow.layers.lookup import Lookup
from bhvit.finn_flow.layers.map_pool import MapPool
from bhvit.finn_flow.layers.patchify import Patchify
from bhvit.finn_flow.layers.position_embedding import PositionEmbedding
from bhvit.finn_flow.layers.tile import Tile
from bhvit.finn_flow.layers.width_converter import WidthConverter

SMALL = st.integers(1, 5)
SEED = st.integers(0, 2**32)
FRAMES = 3


def run(layer, seed):
    """Random constants and inputs of a layer, and its outputs."""
    rng = np.random.default_rng(seed)
    constants, inputs = layer.random_constants(rng), layer.random_inputs(rng, FRAMES)
    outputs = layer.golden(inputs, constants)
    for y, stream in zip(outputs, layer.outputs(), strict=True):
        assert y.shape == (FRAMES, *stream.dims)
        stream.pack(y)  # every value fits the declared type
    return constants, inputs, outputs


def equal(y, reference):
    """``reference(index)`` gives each element of ``y``."""
    for i in np.ndindex(y.shape):
        assert y[i] == reference(*map(int, i)), i


@given(SMALL, SMALL, st.integers(1, 4), SEED)
@settings(max_examples=20, deadline=None)
def test_tile(tokens, channels, ratio, seed):
    _, (x,), (y,) = run(Tile(token_dims=[tokens], channels=channels, ratio=ratio), seed)
    equal(y, lambda f, t, j: x[f, t, j % channels])


@given(SMALL, SMALL, st.integers(1, 6), SEED)
@settings(max_examples=20, deadline=None)
def test_channel_pool(tokens, channels, ratio, seed):
    _, (x,), (y,) = run(ChannelPool(token_dims=[tokens], channels=channels * ratio, ratio=ratio), seed)
    equal(y, lambda f, t, c: sum(int(x[f, t, c * ratio + i]) for i in range(ratio)))


@given(SMALL, SMALL, st.integers(1, 9), SEED)
@settings(max_examples=20, deadline=None)
def test_map_pool(tokens, channels, taps, seed):
    _, (x,), (y,) = run(MapPool(token_dims=[tokens], channels=channels, taps=taps), seed)
    equal(y, lambda f, t, c: sum(int(x[f, t, j * channels + c]) for j in range(taps)))


@given(st.integers(1, 20), SMALL, SEED)
@settings(max_examples=20, deadline=None)
def test_global_pool(tokens, channels, seed):
    _, (x,), (y,) = run(GlobalPool(tokens=tokens, channels=channels), seed)
    equal(y, lambda f, _, c: sum(int(x[f, t, c]) for t in range(tokens)))


@given(SMALL, SMALL, st.integers(1, 4), st.integers(1, 3), SEED)
@settings(max_examples=20, deadline=None)
def test_patchify(rows, columns, channels, p, seed):
    _, (x,), (y,) = run(Patchify(height=rows * p, width=columns * p, channels=channels, patch=p), seed)

    def reference(f, i, j, k):
        kh, rest = divmod(k, p * channels)
        kw, c = divmod(rest, channels)
        return x[f, i * p + kh, j * p + kw, c]

    equal(y, reference)


@given(SMALL, SMALL, st.integers(2, 8), st.integers(1, 3), st.integers(1, 2), SEED)
@settings(max_examples=20, deadline=None)
def test_lookup(tokens, channels, bits, sets, repeat, seed):
    layer = Lookup(dims=[tokens, channels], in_bits=bits, out_bits=10, sets=sets, repeat=repeat)
    constants, (x,), (y,) = run(layer, seed)
    equal(y, lambda f, t, c: constants["table"][(f // repeat) % sets][int(x[f, t, c]) + 2 ** (bits - 1)])


@given(SMALL, SMALL, st.integers(0, 4), st.integers(0, 4), st.integers(-99, 99), st.integers(0, 5), st.integers(1, 2),
       SEED)
@settings(max_examples=30, deadline=None)
def test_position_embedding(tokens, channels, ka, kb, offset, sh, sets, seed):
    layer = PositionEmbedding(dims=[tokens, channels], ka=ka, kb=kb, offset=offset, sh=sh, sets=sets)
    constants, (x,), (y,) = run(layer, seed)

    def reference(f, t, c):
        total = int(x[f, t, c]) * 2**ka + int(constants["pe"][f % sets, t, c]) * 2**kb + offset
        return max(-128, min(127, total // 2**sh))

    equal(y, reference)


@given(st.integers(2, 20), st.integers(1, 6), SEED)
@settings(max_examples=30, deadline=None)
def test_argmax_takes_the_first_maximum(classes, bits, seed):
    _, (x,), (y,) = run(Argmax(classes=classes, bits=bits), seed)
    for f in range(FRAMES):
        values = x[f, 0].tolist()
        assert y[f, 0, 0] == values.index(max(values))


@given(SMALL, SMALL, st.integers(2, 4), SEED)
@settings(max_examples=20, deadline=None)
def test_add(tokens, channels, terms, seed):
    _, xs, (y,) = run(Add(dims=[tokens, channels], terms=terms), seed)
    equal(y, lambda f, t, c: sum(int(x[f, t, c]) for x in xs))


@pytest.mark.parametrize("layer", [
    Fifo(dims=[4, 6], depth=5), Duplicate(dims=[4, 6], copies=3),
    WidthConverter(dims=[4, 6], SIMD_IN=2, SIMD_OUT=3, TP_IN=2, TP_OUT=4)], ids=lambda layer: layer.stem)
def test_layers_that_keep_the_data(layer):
    _, (x,), ys = run(layer, 1)
    assert all((y == x).all() for y in ys)


def test_width_converter_keeps_the_rate():
    """The step between two token foldings is wide enough never to be the slowest one."""
    divisors = (1, 2, 3, 4, 6, 12)
    for si, so, ti, to in product(divisors, divisors, (1, 2, 4), (1, 2, 4)):
        layer = WidthConverter(dims=[8, 12], SIMD_IN=si, SIMD_OUT=so, TP_IN=ti, TP_OUT=to)
        beats = max(layer.inputs()[0].beats, layer.outputs()[0].beats)
        assert layer.middle() % si == 0 and layer.middle() % so == 0 and 12 % layer.middle() == 0
        assert layer.cycles() == beats or (layer.middle() == 12 and layer.cycles() == 8)


@pytest.mark.parametrize("attrs, message", [
    (dict(token_dims=[4], channels=6, SIMD=4), "SIMD=4 does not divide channels=6"),
    (dict(token_dims=[4], channels=9, ratio=2), "ratio=2 does not divide channels=9"),
    (dict(token_dims=[4], channels=24, ratio=6, SIMD=4), "neither a multiple nor a divisor of ratio=6"),
    (dict(token_dims=[4], channels=48, ratio=4, SIMD=12, PE=2), "neither a multiple nor a divisor of the 3 sums"),
    (dict(token_dims=[5], channels=6, TP=2), "TP=2 does not divide tokens=5"),
])
def test_channel_pool_refuses_foldings(attrs, message):
    with pytest.raises(FoldingError, match=message) as e:
        ChannelPool(**attrs)
    assert e.value.where == "layer channel_pool" and e.value.do and "choose" in e.value.do


def test_refused_folding_lists_the_choices():
    with pytest.raises(FoldingError) as e:
        ChannelPool(token_dims=[4], channels=6, SIMD=4)
    assert isinstance(e.value, UserError) and not isinstance(e.value, ValueError)
    assert e.value.do == "choose one of 1, 2, 3, 6"


@pytest.mark.parametrize("cls, attrs", [
    (Fifo, dict(dims=[2, 2], depth=0)), (Duplicate, dict(dims=[2, 2], copies=9)), (Add, dict(dims=[2, 2], terms=5)),
    (Patchify, dict(height=5, width=4, channels=1)), (Patchify, dict(height=4, width=5, channels=1)),
    (Patchify, dict(height=4, width=8, channels=2, PIXELS=2)),
    (Patchify, dict(height=6, width=6, channels=1, patch=3, PIXELS=2)),
    (Argmax, dict(classes=10, SIMD=3)), (GlobalPool, dict(tokens=9, channels=4, TP=2))])
def test_limits_are_refused(cls, attrs):
    with pytest.raises(FoldingError, match="choose"):
        cls(**attrs)
