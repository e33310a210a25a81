"""Beat layout: packing is invertible, fits the width and follows the documented order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhvit.finn_flow.streams import BIPOLAR, DType, Stream, pack_words, s, u, unpack_words

DTYPES = st.one_of(st.just(BIPOLAR), st.builds(DType, st.integers(1, 24), st.booleans()))


@st.composite
def streams(draw) -> Stream:
    simd, folds, tp, groups = (draw(st.integers(1, 4)) for _ in range(4))
    tokens = tp * groups
    rows = draw(st.sampled_from([d for d in range(1, tokens + 1) if tokens % d == 0]))
    return Stream((rows, tokens // rows, simd * folds), draw(DTYPES), simd, tp)


@given(streams(), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_pack_unpack_are_inverse(stream, frames, seed):
    x = stream.dtype.random(np.random.default_rng(seed), (frames, *stream.dims))
    data = stream.pack(x)
    assert data.dtype == np.uint8 and data.shape == (frames * stream.beats, stream.padded_width // 8)
    assert (stream.unpack(data) == x).all()
    padding = np.unpackbits(data, axis=1, bitorder="little")[:, stream.width:]
    assert not padding.any()


@given(streams(), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_pack_follows_the_documented_order(stream, seed):
    x = stream.dtype.random(np.random.default_rng(seed), (1, *stream.dims))
    tokens = x.reshape(stream.tokens, stream.channels)
    beats = []
    for group in range(stream.tokens // stream.TP):
        for fold in range(stream.channels // stream.SIMD):
            word = 0
            for t in range(stream.TP):
                for c in range(stream.SIMD):
                    v = int(tokens[group * stream.TP + t, fold * stream.SIMD + c])
                    v = int(v > 0) if stream.dtype.bipolar else v & (1 << stream.dtype.bits) - 1
                    word |= v << (t * stream.SIMD + c) * stream.dtype.bits
            beats.append(list(word.to_bytes(stream.padded_width // 8, "little")))
    assert stream.pack(x).tolist() == beats


@given(DTYPES, st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_words_are_inverse(dtype, elements, n, seed):
    x = dtype.random(np.random.default_rng(seed), (n, elements))
    assert (unpack_words(pack_words(x, dtype), elements, dtype) == x).all()


@given(DTYPES)
def test_dtype_name_round_trip(dtype):
    back = DType.from_name(dtype.name)
    assert (back.bits, back.signed, back.bipolar) == (dtype.bits, dtype.signed, dtype.bipolar)


@pytest.mark.parametrize("dtype, value", [(s(4), 8), (s(4), -9), (u(3), 8), (u(3), -1), (BIPOLAR, 0), (BIPOLAR, 2)])
def test_values_out_of_range_are_refused(dtype, value):
    with pytest.raises(ValueError, match="does not fit"):
        pack_words(np.array([[value]]), dtype)
