"""Goldens of the map layers against direct definitions, and rotated row orders against the natural one."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.binary_conv import BinaryConv
from bhvit.finn_flow.layers.shift import Shift
from bhvit.finn_flow.layers.window_concat import WindowConcat
from bhvit.finn_flow.layers.window_merge import WindowMerge
from bhvit.finn_flow.layers.wrap_rows import WrapRows

RNG = np.random.default_rng(3)


def extended(x: np.ndarray, row0: int, ext: int) -> np.ndarray:
    """The map in rotated order from row0 on, extended by its first ``ext`` rows (through the wrap_rows golden)."""
    h, w, c = x.shape[1:]
    wrap = WrapRows(height=h, width=w, channels=c, start=0, count=h + ext)
    return wrap.golden([np.roll(x, -row0, axis=1)], {})[0]


def direct_conv(layer: BinaryConv, x: np.ndarray, w: np.ndarray, d: int) -> np.ndarray:
    """Dot products of one frame in natural order by their definition, tap by tap."""
    dil, cg, og = layer.dilations[d], layer.in_channels // layer.groups, layer.out_channels // layer.groups
    h, wd = x.shape[:2]
    acc = np.zeros((h, wd, layer.out_channels), np.int64)
    for y in range(h):
        for col in range(wd):
            for c in range(layer.out_channels):
                g = c // og
                for kh in range(3):
                    for kw in range(3):
                        ty, tx = y + (kh - 1) * dil, col + (kw - 1) * dil
                        if 0 <= ty < h and 0 <= tx < wd:
                            acc[y, col, c] += w[c, :, kh, kw] @ x[ty, tx, g * cg : (g + 1) * cg]
    return acc


@pytest.mark.parametrize("size", [3, 6, 7])
def test_binary_conv_golden_is_the_definition(size):
    layer = BinaryConv(height=size, width=size, in_channels=4, out_channels=6, groups=2, dilations=[1, 3, 5],
                       sh1=[12] * 3, sh2=[6] * 3, out_bits=10, sets=2)
    constants, (x,) = layer.random_constants(RNG), layer.random_inputs(RNG, 2)
    for d in range(3):
        for f in range(2):
            w = constants["w"][f, d]
            assert (layer._accumulate(x[f : f + 1], w, d)[0] == direct_conv(layer, x[f], w, d)).all()


@pytest.mark.parametrize("row0", [0, 1, 6])
def test_binary_conv_rotated_equals_natural(row0):
    shape = dict(height=7, width=7, in_channels=4, out_channels=6, groups=2, dilations=[1, 3, 5], sh1=[12] * 3,
                 sh2=[6] * 3, out_bits=10)
    layer, rotated = BinaryConv(**shape), BinaryConv(**shape, ext=10, row0=row0, rot=5)
    constants, (x,) = layer.random_constants(RNG), layer.random_inputs(RNG, 2)
    (natural,) = layer.golden([x], constants)
    (got,) = rotated.golden([extended(x, row0, 10)], constants)
    assert (got == np.roll(natural, -(row0 + 5), axis=1)).all()
    assert len(np.unique(natural)) > 50


@pytest.mark.parametrize("attrs", [dict(ext=4, rot=5, row0=2), dict(row0=2), dict(ext=10, rot=5, row0=7),
                                   dict(ext=5, row0=3)])
def test_binary_conv_refuses_an_uncovered_map(attrs):
    with pytest.raises(ValueError, match="binary_conv"):
        BinaryConv(height=7, width=7, in_channels=4, out_channels=4, dilations=[1, 5], sh1=[8, 8], sh2=[6, 6], **attrs)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_shift_is_the_sum_of_circular_rolls_in_any_order(size):
    shape = dict(height=size, width=size, channels=4, ky=4, sh=6)
    layer, kernel = Shift(**shape, ext=0), Shift(**shape)
    constants = layer.random_constants(RNG)
    u, y = layer.random_inputs(RNG, 2)
    coef = constants["coef"][0]
    acc = 16 * y + constants["o"][0]
    for k, (dy, dx) in enumerate([(0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2)]):
        for r in range(size):
            for c in range(size):
                acc[:, r, c] += coef[k] * u[:, (r + dy) % size, (c + dx) % size]
    expected = np.clip(acc >> 6, -2048, 2047)
    assert (layer.golden([u, y], constants)[0] == expected).all()
    for row0 in range(size):
        v, centre = kernel.golden([extended(u, row0, 4), extended(y, row0, 4)], constants)
        assert (v == np.roll(expected, -(row0 + 2), axis=1)).all()
        assert (centre == np.roll(u, -(row0 + 2), axis=1)).all()


@pytest.mark.parametrize("height, width, window, padding, row0",
                         [(14, 14, 7, 3, 4), (7, 7, 7, 3, 0), (6, 6, 3, 1, 5), (4, 6, 2, 0, 1)])
def test_window_concat_golden_is_the_definition(height, width, window, padding, row0):
    layer = WindowConcat(height=height, width=width, channels=2, window=window, padding=padding, row0=row0, ka=2, sh=8)
    constants = layer.random_constants(RNG)
    x = layer.random_inputs(RNG, 1)[0]
    (out,) = layer.golden([np.roll(x, -row0, axis=1)], constants)
    out = out.reshape(layer.windows, layer.tokens, 2)
    nh, nw = height // window, width // window
    ca, cb, o = (constants[n][0] for n in ("ca", "cb", "o"))
    for i in range(nh):
        for j in range(nw):
            cut = x[0, i * window : (i + 1) * window, j * window : (j + 1) * window].reshape(-1, 2)
            assert (out[i * nw + j, : window * window] == cut).all()
            top, left = i * window - padding, j * window - padding
            cell = x[0, max(top, 0) : top + window, max(left, 0) : left + window].reshape(-1, 2)
            merge = np.clip((4 * ca * cell.max(axis=0) + cb * cell.sum(axis=0) + o) >> 8, -128, 127)
            assert (out[:, window * window + i * nw + j] == merge).all()


def test_window_merge_undoes_window_concat():
    shape = dict(height=6, width=6, channels=4, window=3)
    concat = WindowConcat(**shape, padding=1, ka=0, sh=8)
    merge = WindowMerge(**shape, row0=2, sh=4)
    x = concat.random_inputs(RNG, 3)[0]
    (tokens,) = concat.golden([x], concat.random_constants(RNG))
    constants = {"pa": np.full((1, 4), 16), "pb": np.zeros((1, 4), int), "o": np.zeros((1, 4), int)}
    assert (merge.golden([tokens], constants)[0] == np.roll(x, -2, axis=1)).all()
    constants["pb"][:] = 1
    sums = tokens.reshape(3, 4, 13, 4)[:, :, 9:].sum(axis=1).reshape(3, 2, 2, 4)
    expected = np.clip((16 * x + np.kron(sums, np.ones((1, 3, 3, 1), int))) >> 4, -128, 127)
    assert (merge.golden([tokens], constants)[0] == np.roll(expected, -2, axis=1)).all()
