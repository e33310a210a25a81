"""Each lowering pass on hand-made graphs with random constants; `lower` compares every new node with the graph."""

from __future__ import annotations

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from bhvit.finn_flow import ops
from bhvit.finn_flow.passes import lower_threshold
from bhvit.finn_flow.passes.fixed import Fixed, NotFixedPoint, bits_for
from bhvit.finn_flow.passes.lower import LoweringError, LoweringMismatch, infer_shapes, lower
from bhvit.finn_flow.passes.lower_threshold import threshold_constants
from bhvit.finn_flow.passes.plan_rows import plan_rows
from bhvit.finn_flow.passes.reference import reference
from bhvit.finn_flow.streams import s

from .qonnx_builder import Builder

E_X = 0  # hand-made graphs take s8 inputs of exponent 0


def images(b: Builder, n: int = 6) -> np.ndarray:
    return s(8).random(np.random.default_rng(7), (n, *b.shape[1:]))


def lowered(b: Builder, out: str, **kw):
    return lower(b.build(out), images(b), input_type=s(8), **kw)


def stems(model) -> list[str]:
    return [ops.layer_class(n).stem for n in model.graph.node]


def layer(model, stem: str):
    return next(ops.layer_of(n, model) for n in model.graph.node if ops.layer_class(n).stem == stem)


# ---- constants -------------------------------------------------------------------------------------------------------

def test_fixed_is_exact():
    a, b = Fixed.of([0.75, -3.0]), Fixed.of([5.0, 0.5])
    assert (a.e, b.e) == (-2, -1)
    assert np.array_equal((a * b + a - b).value, [0.75 * 5 + 0.75 - 5, -1.5 - 3 - 0.5])
    with pytest.raises(NotFixedPoint):
        Fixed.of(1 / 3)
    with pytest.raises(NotFixedPoint):
        a.at(0)
    assert bits_for([-128, 127]) == 8 and bits_for([128]) == 9 and bits_for([0]) == 2


def test_threshold_constants_for_every_input():
    rng = np.random.default_rng(0)
    m = rng.integers(-6, 7, 400)
    o = np.concatenate([rng.integers(-900, 900, 380), np.zeros(20, int)])
    x = np.arange(-128, 128)[:, None]
    t, pol = threshold_constants(m, o, -128, 127)
    assert {*np.sign(m)} == {-1, 0, 1} and t.min() >= -128 and t.max() <= 128
    assert np.array_equal((x >= t) ^ (pol > 0), m * x + o >= 0)


# ---- patterns --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(3))
def test_affine_with_residual(seed):
    b = Builder((1, 4, 3, 8), seed)
    u = b.quant(b.affine("x", 8, E_X), 8, 2)
    y = b.quant(b.add(b.affine(u, 8, 2, -4), "x"), 8, 0)
    model = lowered(b, y)
    assert stems(model).count("affine") == 2
    attrs, consts = layer(model, "affine")
    assert attrs.sh1 >= 0 and (consts["m"] < 0).any() and (consts["m"] == 0).any()


@pytest.mark.parametrize("move", [0, 3])
def test_affine_folds_any_nesting(move):
    """(x + a) * m - b, with the residual added first and a Sub: one affine all the same."""
    b = Builder((1, 5, 8), move)
    inner = b.mul(b.add("x", b.const(b.ints(6, 8), 0)), b.const(b.ints(6, 8), -3, 6))
    y = b.quant(b.op("Sub", b.add("x", inner), b.const(b.ints(6, 8), -2)), 8, 1)
    assert stems(lowered(b, y)) == ["affine"]


@pytest.mark.parametrize("mode", ["scaled", "plain", "where"])
def test_threshold(mode):
    b = Builder((1, 6, 16), 3)
    arg = b.affine("x", 16, E_X) if mode == "scaled" else b.add("x", b.const(b.ints(8, 16), 0))
    if mode == "where":
        y = b.op("Where", b.op("GreaterOrEqual", arg, b.init(0.0)), b.init(1.0), b.init(-1.0))
    else:
        y = b.sign(arg)
    model = lowered(b, y)
    assert stems(model) == ["threshold"]
    if mode == "scaled":
        assert set(layer(model, "threshold")[1]["pol"].reshape(-1)) == {0, 1}


@pytest.mark.parametrize("ratio", [2, 3])
def test_binary_linear_with_both_residuals(ratio):
    """Pooled first residual with a quantized ratio, LayerScale-like slopes, residual stream at the last quantizer."""
    c, h = 6, 6 * ratio
    b = Builder((1, 4, 3, c), ratio)
    wide = b.quant(b.affine(b.op("Concat", *["x"] * ratio, axis=-1), h, E_X), 8, 1)
    bits = b.sign(b.add(wide, b.const(b.ints(7, h), 1)))
    acc = b.op("MatMul", bits, b.op("Transpose", b.bipolar((c, h)), perm=[1, 0]))
    pooled = b.op("ReduceSum", b.op("Reshape", wide, b.init([1, 4, 3, c, ratio], np.int64)), b.init([-1], np.int64),
                  keepdims=0)
    z = b.quant(b.add(b.affine(acc, c, 0, -6), b.mul(pooled, b.const([round(512 / ratio)], -9, 10))), 10, -3)
    y = b.quant(b.add(b.prelu(z, c, -3), "x"), 8, 1)
    model = lowered(b, y)
    assert {"tile", "channel_pool", "binary_linear", "threshold"} <= set(stems(model))
    attrs, _ = layer(model, "binary_linear")
    assert attrs.res1 == attrs.res2 == 1 and attrs.rm >= 1 and attrs.k2 >= 0


def test_three_equal_residuals_become_one_add():
    b = Builder((1, 6, 8), 5)
    fs = [b.quant(b.affine("x", 8, E_X), 8, 2) for _ in range(3)]
    g = b.quant(b.affine("x", 8, E_X), 7, 2)
    z = b.quant(b.add(b.affine(g, 8, 2), *fs), 10, 0)
    assert "add" in stems(lowered(b, b.quant(b.prelu(z, 8, 0), 8, 2)))


@pytest.mark.parametrize("dilations", [(1, 3, 5), (2,)])
def test_binary_conv(dilations):
    c, side = 8, 7
    b = Builder((1, side, side, c), 1)
    bits = b.op("Transpose", b.sign(b.add("x", b.const(b.ints(7, c), 0))), perm=[0, 3, 1, 2])
    outs = []
    for d in dilations:
        acc = b.op("Conv", bits, b.bipolar((c, c // 4, 3, 3)), group=4, pads=[d] * 4, dilations=[d, d],
                   kernel_shape=[3, 3])
        acc = b.op("Transpose", acc, perm=[0, 2, 3, 1])
        outs.append(b.quant(b.prelu(b.quant(b.affine(acc, c, 0), 10, -2), c, -2), 10, -1))
    model = lowered(b, b.add(*outs))
    assert stems(model) == ["threshold", "binary_conv"]
    assert layer(model, "binary_conv")[0].dilations == list(dilations)


def rolled(b: Builder, x: str, dy: int, dx: int) -> str:
    for axis, d in ((1, dy), (2, dx)):
        size = b.shape[axis]
        d %= size
        if d:
            def cut(lo, hi, x=x, axis=axis):
                return b.op("Slice", x, *(b.init([v], np.int64) for v in (lo, hi, axis)))
            x = b.op("Concat", cut(d, size), cut(0, d), axis=axis)
    return x


def shift_block(b: Builder, y: str, c: int) -> str:
    u = b.quant(b.affine(y, c, E_X), 8, 1)
    taps = ((0, 0), (-1, 0), (1, 0), (-2, 0), (2, 0), (0, -1), (0, 1), (0, -2), (0, 2))
    acc = b.add(*(b.mul(rolled(b, u, *t), b.const(b.ints(6, c), -4, 6)) for t in taps))
    v = b.quant(b.add(acc, y, b.const(b.ints(8, c), -3)), 12, -2)
    bits = b.sign(b.add(u, b.const(b.ints(7, c), 1)))
    acc = b.op("MatMul", bits, b.op("Transpose", b.bipolar((c, c)), perm=[1, 0]))
    z = b.quant(b.add(b.affine(acc, c, 0), u), 10, -1)
    return b.quant(b.add(b.prelu(z, c, -1), v), 8, 1)


@pytest.mark.parametrize("side", [6, 3, 2])
@pytest.mark.parametrize("rows", ["rotate", "frame"])
def test_shift_and_row_order(side, rows):
    """Two MLP-like blocks with a stencil each, a position embedding and a pool, also on maps where taps coincide."""
    c = 4
    b = Builder((1, side, side, c), side)
    x = shift_block(b, "x", c)
    x = b.quant(b.add(x, b.const(b.ints(8, (side, side, c)), 1)), 8, 1)
    x = shift_block(b, b.quant(x, 8, 0), c)
    flat = b.op("Reshape", x, b.init([1, side * side, c], np.int64))
    total = b.op("ReduceSum", flat, b.init([1], np.int64), keepdims=0)
    out = b.quant(b.affine(total, c, 1), 12, 0)
    hw = lowered(b, out)
    assert stems(hw).count("shift") == 2 and "position_embedding" in stems(hw)
    planned = plan_rows(hw, images(b), rows)
    assert all(ops.layer_from_node(n).ext == 4 for n in planned.graph.node if ops.layer_class(n).stem == "shift")
    assert "wrap_rows" in stems(planned)


@pytest.mark.parametrize("width", [3, 8, 10, 13])
def test_tile_of_any_width(width):
    b = Builder((1, 4, 5), width)
    wide = b.op("Concat", *["x"] * 3, axis=-1)
    y = b.op("Slice", wide, *(b.init([v], np.int64) for v in (0, width, -1)))
    model = lowered(b, b.quant(b.affine(y, width, E_X), 8, 1))
    assert stems(model) == ["tile", "affine"]
    assert layer(model, "tile")[0].cut == -width % 5


@pytest.mark.parametrize("side, win, pad", [(6, 3, 1), (4, 2, 0), (2, 1, 0), (2, 2, 0), (1, 1, 0)])
def test_windows_and_back(side, win, pad):
    """Also on maps of one window and of one pixel, where moves of elements are the identity."""
    c, n = 5, side // win
    nw, b = n * n, Builder((1, side, side, 5), 3)

    def ints(*v):
        return b.init(v, np.int64)

    def cells(op, *weights, **kw):
        y = b.op(op, b.op("Transpose", "x", perm=[0, 3, 1, 2]), *weights, kernel_shape=[win] * 2, strides=[win] * 2,
                 pads=[pad] * 4, **kw)
        return b.op("Transpose", y, perm=[0, 2, 3, 1])

    top, total = cells("MaxPool"), cells("Conv", b.init(np.ones((c, 1, win, win))), group=c)
    ca, cb = (b.const(b.ints(8, c), -8, 8) for _ in range(2))
    m = b.quant(b.add(b.mul(top, ca), b.mul(total, cb), b.const(b.ints(8, c), -8, 8)), 8, 0)
    m = b.op("Reshape", b.op("Reshape", m, ints(-1, nw, c)), ints(-1, 1, nw, c))
    m = b.op("Concat", *[m] * nw, axis=1)
    u = b.op("Transpose", b.op("Reshape", "x", ints(-1, n, win, n, win, c)), perm=[0, 1, 3, 2, 4, 5])
    h = b.op("Concat", b.op("Reshape", u, ints(-1, nw, win * win, c)), m, axis=2)
    h = b.quant(b.affine(b.op("Reshape", h, ints(-1, nw * (win * win + nw), c)), c, 0), 8, 0)
    h = b.op("Reshape", h, ints(-1, nw, win * win + nw, c))
    u = b.op("Slice", h, ints(0), ints(win * win), ints(2))
    u = b.op("Transpose", b.op("Reshape", u, ints(-1, n, n, win, win, c)), perm=[0, 1, 3, 2, 4, 5])
    m = b.op("ReduceSum", b.op("Slice", h, ints(win * win), ints(win * win + nw), ints(2)), ints(1), keepdims=0)
    m = b.op("Reshape", b.op("Reshape", m, ints(-1, n, n, c)), ints(-1, n, 1, n, 1, c))
    if win > 1:
        m = b.op("Concat", *[b.op("Concat", *[m] * win, axis=2)] * win, axis=4)
    u, m = (b.op("Reshape", t, ints(-1, side, side, c)) for t in (u, m))
    pa, pb = (b.const(b.ints(8, c), -8, 8) for _ in range(2))
    model = lowered(b, b.quant(b.add(b.mul(u, pa), b.mul(m, pb), b.const(b.ints(8, c), -8, 8)), 8, 0))
    assert stems(model) == ["window_concat", "affine", "window_merge"]


@pytest.mark.parametrize("side", [4, 2])
def test_patchify_down_to_one_patch(side):
    b, half = Builder((1, side, side, 3), 4), side // 2
    y = b.op("Reshape", "x", b.init([1, half, 2, half, 2, 3], np.int64))
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), b.init([1, half, half, 12], np.int64))
    model = lowered(b, b.quant(b.affine(y, 12, 0), 8, 0))
    assert stems(model) == ["patchify", "affine"]


def test_rotated_maps_stay_even_before_a_patchify():
    """12 -> 6 -> 3 rows with a shift in each: the second map starts at row 1, its shift must repair that."""
    side, c = 12, 4
    b, x = Builder((1, side, side, c), 9), "x"
    for _ in range(2):
        b.shape = (1, side, side, c)
        x = shift_block(b, b.quant(x, 8, 0) if x != "x" else x, c)
        half = side // 2
        x = b.op("Reshape", x, b.init([1, half, 2, half, 2, c], np.int64))
        x = b.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
        x = b.op("Reshape", x, b.init([1, half, half, 4 * c], np.int64))
        x = b.op("Reshape", x, b.init([1, half, half, 4, c], np.int64))
        x = b.quant(b.affine(b.op("ReduceSum", x, b.init([3], np.int64), keepdims=0), c, 1, -6), 8, 0)
        side = half
    total = b.op("ReduceSum", b.op("Reshape", x, b.init([1, 9, c], np.int64)), b.init([1], np.int64), keepdims=0)
    out = b.quant(b.affine(total, c, 0), 12, 1)
    b.shape = (1, 12, 12, c)
    planned = plan_rows(lowered(b, out), images(b))
    wraps = [ops.layer_from_node(n) for n in planned.graph.node if ops.layer_class(n).stem == "wrap_rows"]
    assert [(w.height, w.start) for w in wraps] == [(12, 0), (6, 1)]


def attention(b: Builder, windows: int, tokens: int, heads: int, dim: int, c: np.ndarray, t: np.ndarray) -> str:
    """QD attention of three thresholds of x, as the export writes it."""
    def split(perm):
        bits = b.sign(b.affine("x", heads * dim, E_X))
        return b.op("Transpose", b.op("Reshape", bits, b.init([1, windows, tokens, heads, dim], np.int64)), perm=perm)

    q, k, v = split([0, 1, 3, 2, 4]), split([0, 1, 3, 4, 2]), split([0, 1, 3, 2, 4])
    logits = b.op("MatMul", q, k)
    top = b.op("ReduceMax", logits, b.init([-1], np.int64), keepdims=1)
    index = b.op("Cast", b.mul(b.op("Sub", top, logits), b.init(0.5)), to=7)
    e = b.op("Gather", b.const(np.rint(1000 * 0.6 ** np.arange(dim + 1)), 0, 12), index, axis=0)
    scaled = b.mul(e, b.const(c.reshape(heads, 1, 1), 0, 16))
    total = b.op("ReduceSum", e, b.init([-1], np.int64), keepdims=1)
    ts = [b.const(t[:, i].reshape(heads, 1, 1), 0, 9) for i in range(3)]
    tests = [b.op("GreaterOrEqual", scaled, b.mul(total, x)) for x in ts]
    g = b.op("MatMul", b.add(*(b.op("Cast", x, to=1) for x in tests)), v)
    g = b.op("Transpose", g, perm=[0, 1, 3, 2, 4])
    return b.op("Reshape", g, b.init([1, windows * tokens, heads * dim], np.int64))


@pytest.mark.parametrize("c", [[8, 8, 8], [8, -8, 8]])
def test_attention_with_negative_steps(c):
    b = Builder((1, 10, 12), 4)
    c = np.array(c)
    t = np.array([[1, 2, 3], [1, 0, -2], [-1, 1, 4]]) * np.sign(c)[:, None]
    g = attention(b, 2, 5, 3, 4, c, t)
    model = lowered(b, b.quant(b.affine(g, 12, 0), 8, 2))
    _, consts = layer(model, "qd_attention")
    assert np.array_equal(consts["neg"].reshape(-1), c < 0)


def test_lowered_graph_runs_in_qonnx():
    b = Builder((1, 4, 3, 8), 1)
    y = b.quant(b.add(b.affine(b.quant(b.affine("x", 8, E_X), 8, 2), 8, 2, -4), "x"), 8, -2)
    model, value = lowered(b, y), lowered(b, y, integers=False)
    x = images(b, 1).astype(np.float32)
    (i,), (v,) = (execute_onnx(ModelWrapper(m.model), {"x": x}).values() for m in (model, value))
    assert np.array_equal(i * 2.0 ** int(model.get_metadata_prop("logit_exponent")), v)


def test_lookup_table():
    b = Builder((1, 6, 5), 2)
    x = b.quant(b.affine("x", 5, E_X), 8, 1)
    index = b.op("Cast", b.add(b.mul(x, b.init(0.5)), b.init(128.0)), to=7)
    y = b.quant(b.affine(b.op("Gather", b.const(b.ints(10, 256), -4, 10), index, axis=0), 5, -4), 8, -2)
    assert "lookup" in stems(lowered(b, y))


def test_classifier_and_metadata():
    b = Builder((1, 4, 5), 2)
    w = b.op("Transpose", b.const(b.ints(8, (3, 5)), -7, 8), perm=[1, 0])
    y = b.quant(b.add(b.op("MatMul", "x", w), b.const(b.ints(10, 3), -7)), 24, -7)
    model = lowered(b, y)
    assert stems(model) == ["int_linear"] and model.get_metadata_prop("logit_exponent") == "-7"


# ---- errors ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kw, message", [
    (dict(mode="ROUND"), "rounding_mode ROUND"), (dict(zero=1.0), "zero point"), (dict(scale=0.3), "power of two")])
def test_other_quantizers_are_refused_by_name(kw, message):
    b = Builder((1, 4, 5))
    y = b.quant(b.affine("x", 5, E_X), 8, 1, **kw)
    with pytest.raises(LoweringError, match=message) as e:
        lowered(b, y)
    assert "n" in str(e.value) and y in str(e.value)


def test_leftovers_are_listed():
    b = Builder((1, 4, 5))
    y = b.quant(b.op("Tanh", b.quant(b.affine("x", 5, E_X), 8, 1)), 8, -6)
    with pytest.raises(LoweringError, match="Tanh"):
        lowered(b, y)


def test_constants_off_the_grid_are_refused():
    b = Builder((1, 4, 5))
    y = b.quant(b.mul("x", b.init(1 / 3)), 8, 1)
    with pytest.raises(LoweringError, match="quantize it"):
        lowered(b, y)


def test_a_wrong_pass_is_caught(monkeypatch):
    def off_by_one(m, o, lo, hi):
        t, pol = threshold_constants(m, o, lo, hi)
        return np.clip(t + 1, lo, hi + 1), pol

    monkeypatch.setattr(lower_threshold, "threshold_constants", off_by_one)
    b = Builder((1, 8, 8, 16), 3)
    y = b.sign(b.affine("x", 16, E_X))
    with pytest.raises(LoweringMismatch, match=r"pass lower_threshold.*first at \("):
        lowered(b, y)


# ---- reference -------------------------------------------------------------------------------------------------------

def test_reference_equals_stock_qonnx():
    b = Builder((1, 4, 3, 6), 4)
    bits = b.sign(b.affine("x", 6, E_X))
    acc = b.op("MatMul", bits, b.op("Transpose", b.bipolar((6, 6)), perm=[1, 0]))
    y = b.quant(b.prelu(b.quant(b.add(b.affine(acc, 6, 0), "x"), 10, -1), 6, -1), 8, 0)
    model = b.build(y)
    infer_shapes(model)
    model = ModelWrapper(model.model)
    ref = reference(model, images(b, 3))
    for k, image in enumerate(images(b, 3)):
        ctx = execute_onnx(model, {"x": image[None].astype(np.float32)}, return_full_exec_context=True)
        assert all(np.array_equal(ref[t][k], ctx[t][0]) for t in ref)
