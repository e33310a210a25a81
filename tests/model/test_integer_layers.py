"""Deployed layers against independent integer arithmetic, written from docs/contract.md."""

import math

import numpy as np
import pytest
import torch

from bhvit.model.layers.shapes import TAPS


def ints(x, e):
    """Value tensor -> int64 array, checked to lie on the grid."""
    y = x.detach().double().numpy() * 2.0**-e
    assert np.array_equal(y, np.rint(y))
    return y.astype(np.int64)


def const(c):
    return c.integers().numpy().astype(np.int64)


def sat(x, bits):
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def integer_epilogue(e, acc, e_acc, res1=None, e1=0, res2=None, e2=0):
    """Integers of an epilogue: acc, res1, res2 int64, last axis channels."""
    e_p = e.m.exponent + e_acc
    t = const(e.m) * acc + const(e.o)
    if res1 is not None:
        r, er = (int(const(e.r)[0]), e.r.exponent) if e.ratio > 1 else (1, 0)
        assert e1 + er >= e_p
        t = t + (r << (e1 + er - e_p)) * res1
    if not e.act:
        return sat(t >> (e.y.exponent - e_p), e.y.bits)
    z = sat(t >> (e.z.exponent - e_p), e.z.bits)
    e_s = e.z.exponent + e.p.exponent
    u = np.where(z >= 0, const(e.p), const(e.n)) * z + const(e.o2)
    if res2 is not None:
        assert e2 >= e_s
        u = u + (res2 << (e2 - e_s))
    return sat(u >> (e.y.exponent - e_s), e.y.bits)


@pytest.fixture
def captured(frozen):
    """The network and, for every module, its inputs and output on the images."""
    _, net, images = frozen
    seen, hooks = {}, []
    for name, m in net.hw.named_modules():
        hooks.append(m.register_forward_hook(lambda _m, i, o, n=name: seen.__setitem__(n, (i, o))))
    with torch.no_grad():
        net(images[:4])
    for h in hooks:
        h.remove()
    return net.hw, seen


def epilogues(hw):
    from bhvit.model.layers.epilogue import Epilogue

    return [(n, m) for n, m in hw.named_modules() if isinstance(m, Epilogue)]


def test_every_epilogue(captured):
    hw, seen = captured
    checked = 0
    for name, e in epilogues(hw):
        inputs, out = seen[name]
        e_acc, _, e1, _, e2, _ = (int(v) for v in e.inputs)
        args = [ints(inputs[0], e_acc)]
        extra = {}
        if e.has_res1:
            extra |= {"res1": ints(inputs[1], e1), "e1": e1}
        if e.has_res2:
            extra |= {"res2": ints(inputs[2], e2), "e2": e2}
        got = integer_epilogue(e, args[0], e_acc, **extra)
        assert np.array_equal(got, ints(out, e.y.exponent)), name
        checked += 1
    assert checked > 25


def test_thresholds(captured):
    from bhvit.model.layers.threshold import Threshold

    hw, seen = captured
    for name, t in ((n, m) for n, m in hw.named_modules() if isinstance(m, Threshold)):
        (x,), out = seen[name]
        x = ints(x, int(t.inputs[0]))
        arg = (x * const(t.m) if t.scaled else x) + const(t.o)
        assert np.array_equal(np.where(arg >= 0, 1, -1), out.numpy()), name


def test_shift(captured):
    hw, seen = captured
    for s in range(4):
        mlp = hw.stages[s][0].mlp
        (u, y), out = seen[f"stages.{s}.0.mlp.shift"]
        u_e, _, y_e, _ = (int(v) for v in mlp.shift.inputs)
        u, y = ints(u, u_e), ints(y, y_e)
        side = u.shape[1]
        e_p = u_e + mlp.shift.coef[0].exponent
        acc = (y << (y_e - e_p)) + const(mlp.shift.o)
        for (dr, dc), c in zip(TAPS, mlp.shift.coef):
            rows, cols = (np.arange(side) + dr) % side, (np.arange(side) + dc) % side
            acc = acc + u[:, rows][:, :, cols] * const(c)
        got = sat(acc >> (mlp.shift.v.exponent - e_p), mlp.shift.v.bits)
        assert np.array_equal(got, ints(out, mlp.shift.v.exponent)), s


def test_binary_conv_with_zero_padding(captured):
    hw, seen = captured
    conv = hw.stages[1][0].convs[1]
    (b,), _ = seen["stages.1.0.convs.1"]
    acc = seen["stages.1.0.convs.1.epilogue"][0][0].numpy()
    b, w, d = b.numpy(), conv.weight.signs().numpy(), conv.dilation
    n, c, h, _ = b.shape
    per = c // conv.groups
    want = np.zeros((n, h, h, c))
    for o in range(c):
        first = o // (c // conv.groups) * per
        for i in range(per):
            for ky in range(3):
                for kx in range(3):
                    for y in range(h):
                        yy = y + (ky - 1) * d
                        if not 0 <= yy < h:
                            continue
                        for x in range(h):
                            xx = x + (kx - 1) * d
                            if 0 <= xx < h:
                                want[:, y, x, o] += w[o, i, ky, kx] * b[:, first + i, yy, xx]
    assert np.array_equal(want, acc)


def test_window_concat(captured):
    hw, seen = captured
    layer = hw.stages[2][0].concat
    (u,), out = seen["stages.2.0.concat"]
    e = int(layer.blend.inputs[0])
    u, w, p, n = ints(u, e), layer.w, layer.padding, layer.n
    ca, cb, o = const(layer.blend.ca), const(layer.blend.cb), const(layer.blend.o)
    ka, sh = layer.blend.ca.exponent - layer.blend.cb.exponent, -layer.blend.cb.exponent
    assert ka >= 0 and sh >= 0 and layer.blend.y.exponent == e
    merge = []
    for i in range(n):
        for j in range(n):
            r0, c0 = i * w - p, j * w - p
            cell = u[:, max(r0, 0):r0 + w, max(c0, 0):c0 + w]
            top, total = cell.max((1, 2)), cell.sum((1, 2))
            merge.append(sat((((ca * top) << ka) + cb * total + o) >> sh, layer.blend.y.bits))
    tokens = []
    for i in range(n):
        for j in range(n):
            tokens += [u[:, i * w + r, j * w + c] for r in range(w) for c in range(w)] + merge
    assert np.array_equal(np.stack(tokens, 1), ints(out, e))


def test_window_merge(captured):
    hw, seen = captured
    layer = hw.stages[2][0].merge
    (v,), out = seen["stages.2.0.merge"]
    b, w, n = layer.blend, layer.w, layer.n
    e = int(b.inputs[0])
    v = ints(v, e).reshape(v.shape[0], n * n, w * w + n * n, -1)
    ka, sh = b.ca.exponent - b.cb.exponent, b.y.exponent - e - b.cb.exponent
    want = np.zeros(tuple(out.shape), np.int64)
    for row in range(n * w):
        for col in range(n * w):
            cell = (row // w) * n + col // w
            local = v[:, cell, (row % w) * w + col % w]
            total = v[:, :, w * w + cell].sum(1)
            value = ((const(b.ca) * local) << ka) + const(b.cb) * total + const(b.o)
            want[:, row, col] = sat(value >> sh, b.y.bits)
    assert np.array_equal(want, ints(out, b.y.exponent))


def rounded_rsqrt(v: int, k: int) -> int:
    """floor(2^k / sqrt(v) + 1/2) in integers: the largest r with (2r - 1)^2 * v <= 4^(k+1)."""
    return (math.isqrt((1 << (2 * k + 2)) // v) + 1) // 2


@pytest.mark.parametrize("frozen", ["nano"], indirect=True)  # the other one normalises tokens by batch norm
def test_layer_norm(captured):
    hw, seen = captured
    layer = hw.stages[3][0].token_norm
    (x,), _ = seen["stages.3.0.token_norm"]
    e, eps, _ = (int(v) for v in layer.inputs)
    x = ints(x, e)
    c = x.shape[-1]
    n = ints(seen["stages.3.0.token_norm.n"][1], layer.n.exponent)
    for token, want in zip(x.reshape(-1, c), n.reshape(-1, c)):
        s, q = int(token.sum()), int((token * token).sum())
        r = rounded_rsqrt(c * q - s * s + eps, layer.k)
        got = sat(((c * token - s) * r) >> layer.s1, layer.n.bits)
        assert np.array_equal(got, want)


def test_reciprocal_square_root_is_the_integer_rule():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.arange(1, 3000), rng.integers(1, 1 << 34, 3000), np.arange(1, 400) ** 2])
    r = np.floor(float(1 << 23) / np.sqrt(values.astype(np.float64)) + 0.5)
    assert all(int(a) == rounded_rsqrt(int(v), 23) for a, v in zip(r, values))


@pytest.mark.parametrize("flip", [False, True])
def test_qd_attention(captured, flip):
    """Levels by the contract's comparison; `flip` makes the first head's step negative."""
    hw, seen = captured
    layer = hw.stages[2][0].attention
    (q, k, v), out = seen["stages.2.0.attention"]
    table = const(layer.table)
    if flip:
        layer.c.set_integers(layer.c.integers() * torch.tensor([-1] + [1] * (layer.heads - 1))[:, None, None])
        with torch.no_grad():
            out = layer(q, k, v)
    c, t = const(layer.c).reshape(-1), [const(x).reshape(-1) for x in layer.t]
    q, k, v = (layer._heads(x).numpy().astype(np.int64) for x in (q, k, v))
    logits = q @ k.transpose(0, 1, 2, 4, 3)
    e = table[(logits.max(-1, keepdims=True) - logits) // 2]
    total = e.sum(-1, keepdims=True)
    level = np.zeros_like(e)
    for h in range(layer.heads):
        es = int(abs(c[h])).bit_length() - 1
        for step in range(3):
            if c[h] > 0:
                level[:, :, h] += (e[:, :, h] << es) >= t[step][h] * total[:, :, h]
            else:
                level[:, :, h] += (e[:, :, h] << es) <= -t[step][h] * total[:, :, h]
    g = (level @ v).transpose(0, 1, 3, 2, 4).reshape(tuple(out.shape))
    if flip:
        layer.c.set_integers(layer.c.integers().abs())
    assert np.array_equal(g, out.numpy().astype(np.int64))


def test_negative_step_is_calibrated_with_reversed_comparison(captured):
    hw, seen = captured
    (q, k, v), _ = seen["stages.2.0.attention"]
    from bhvit.model.layers.float_parts import QD
    from bhvit.model.layers.qd_attention import QDAttention
    from bhvit.model.numerics import Widths

    old = hw.stages[2][0].attention
    heads = old.heads
    layer = QDAttention(heads * old.dim, heads, old.n_windows, old.tokens, Widths())
    alpha, zero = torch.full((heads,), -0.2), torch.full((heads,), 2.0)
    quantizer = QD(heads)
    quantizer.load_state_dict({"alpha": alpha, "zero_point": zero, "init_state": torch.ones(1)})
    layer.calibrate(q, k, v, quantizer)
    assert (const(layer.c) < 0).all()
    qh, kh = layer._heads(q), layer._heads(k)
    p = torch.softmax(qh @ kh.transpose(-1, -2) / math.sqrt(old.dim), -1)
    want = (3 * p / alpha[:, None, None] + zero[:, None, None]).round().clamp(0, 3)
    with torch.no_grad():
        got = layer.levels(qh, kh)
    assert (got != want).float().mean() < 0.02 and len(want.unique()) >= 3


def test_head(captured):
    hw, seen = captured
    c = hw.head.classifier
    (x,), out = seen["head.classifier"]
    e = hw.head.mean.y.exponent
    got = ints(x, e) @ const(c.weight).T + const(c.o)
    assert np.array_equal(got, ints(out, c.logits.exponent)) and c.logits.exponent == e + c.weight.exponent
