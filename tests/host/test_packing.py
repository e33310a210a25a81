"""Packing against a bit-by-bit definition, FINN's own function and the flow's streams."""

from __future__ import annotations

import numpy as np
import pytest
from bhvit_host.errors import HostError
from bhvit_host.packing import DataType, pack, unpack
from bhvit_host.settings import Stream

from bhvit.finn_flow import streams

NAMES = ["BIPOLAR", "BINARY", *(f"{u}INT{b}" for b in range(1, 33) for u in ("", "U"))]


def values(t: DataType, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).integers(t.min, t.max + 1, shape)
    return np.where(x == 0, 1, x) if t.bipolar else x


def bit_by_bit(x: np.ndarray, t: DataType) -> np.ndarray:
    """The definition: element e, bit b is bit e * bits + b of the row."""
    out = np.zeros((*x.shape[:-1], t.packed_bytes(x.shape[-1])), np.uint8)
    for i in np.ndindex(x.shape):
        v = int(x[i] > 0) if t.bipolar else int(x[i]) & (1 << t.bits) - 1
        for b in range(t.bits):
            at = i[-1] * t.bits + b
            out[(*i[:-1], at // 8)] |= (v >> b & 1) << at % 8
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_type(name):
    t = DataType.of(name)
    for shape in ((1,), (5,), (8,), (2, 3, 7), (3, 16)):
        x = values(t, shape)
        packed = pack(x, t)
        assert np.array_equal(packed, bit_by_bit(x, t))
        back = unpack(packed, t, shape[-1])
        assert np.array_equal(back, x) and back.dtype == t.container
        assert np.array_equal(pack(x.astype(t.container), t), packed)
        assert np.array_equal(pack(x.astype(np.float64), t), packed)


def test_long_rows_cross_the_block_limits():
    for name in ("INT24", "UINT24", "INT10", "UINT3"):
        t = DataType.of(name)
        x = values(t, (2, 300_008))
        out = np.full((2, t.packed_bytes(x.shape[1]) + 1), 0xAA, np.uint8)
        pack(x, t, out[:, :-1])
        assert (out[:, -1] == 0xAA).all()  # nothing is written behind the end
        assert np.array_equal(unpack(out[:, :-1], t, x.shape[1]), x)


def test_equals_finn():
    from finn.util.data_packing import finnpy_to_packed_bytearray
    from qonnx.core.datatype import DataType as Finn

    for name in ("BIPOLAR", "INT2", "UINT4", "INT8", "INT17", "INT24", "UINT32"):
        x = values(DataType.of(name), (3, 5, 16)).astype(np.float32)
        x = np.clip(x, *(DataType.of(name).min, 2**24))
        want = finnpy_to_packed_bytearray(x, Finn[name], reverse_inner=True, reverse_endian=True)
        assert np.array_equal(pack(x, name), want), name
        assert pack(x, f"DataType['{name}']").shape == want.shape


@pytest.mark.parametrize("case", [((4, 6, 8), "INT8", 4, 2), ((6, 12), "INT9", 3, 1), ((6, 12), "BIPOLAR", 6, 3),
                                  ((2, 5, 4), "INT24", 4, 5), ((7, 10), "UINT3", 1, 1), ((8, 4), "INT10", 2, 4)])
def test_streams_lie_in_memory_as_the_flow_says(case):
    dims, name, simd, tp = case
    ours = Stream(dims, DataType.of(name), simd, tp)
    flow = streams.Stream(dims, streams.DType.from_name(name), simd, tp)
    x = flow.dtype.random(np.random.default_rng(1), (3, *dims))
    want = flow.pack(x)
    assert (ours.beats, ours.beat_bytes) == (flow.beats, flow.padded_width // 8)
    packed = ours.pack(x)
    assert np.array_equal(packed.reshape(want.shape), want)
    assert np.array_equal(ours.unpack(packed), x)


@pytest.mark.parametrize("x, name", [([0, 1], "BIPOLAR"), ([2, 1], "BIPOLAR"), ([0.5, 1], "INT4"), ([8, 0], "INT4"),
                                     ([-1, 0], "UINT8"), ([300, 0], "UINT8"), ([2, 0], "BINARY"),
                                     ([1 << 23, 0], "INT24"), (["a", "b"], "INT8")])
def test_values_that_do_not_fit(x, name):
    with pytest.raises(HostError, match="are no"):
        pack(np.array(x), name)


@pytest.mark.parametrize("wrong", [0, 2, 3, -2, -3, 127, -128])
@pytest.mark.parametrize("kind", [np.int8, np.int16, np.float32])
def test_one_wrong_value_among_many(wrong, kind):
    x = values(DataType.of("BIPOLAR"), (64, 64)).astype(kind)
    assert np.array_equal(unpack(pack(x, "BIPOLAR"), "BIPOLAR", 64), x)
    strided = np.repeat(x, 2, axis=0)[::2]
    assert np.array_equal(pack(strided, "BIPOLAR"), pack(x, "BIPOLAR"))
    assert np.array_equal(unpack(pack(x, "BIPOLAR")[::2], "BIPOLAR", 64), x[::2])
    x[37, 21] = wrong
    with pytest.raises(HostError, match="allowed are -1 and"):
        pack(x, "BIPOLAR")


def test_unknown_types_and_wrong_sizes():
    for name in ("FLOAT32", "INT33", "INT0", "TERNARY", ""):
        with pytest.raises(HostError, match="not known"):
            DataType.of(name)
    with pytest.raises(HostError, match="does not fit"):
        pack(np.ones(8), "INT8", np.zeros(7, np.uint8))
    with pytest.raises(HostError, match="8 INT8 need 8 bytes"):
        unpack(np.zeros(7, np.uint8), "INT8", 8)
