"""Fused kernels of the fixed-point phase against the plain modules: values bit by bit, every gradient."""

from __future__ import annotations

import contextlib

import pytest
import torch
from model_nets import CONFIGS, random_float

from bhvit.model.config import load_config
from bhvit.model.layers import fused, fused_fixed
from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed
from bhvit.model.layers.float_parts import LayerScale
from bhvit.model.layers.shift import BRANCHES, Shift
from bhvit.model.layers.threshold import Threshold
from bhvit.model.numerics import Widths
from bhvit.model.quantizers import FixedQuant, sign_act

SHAPE, C = (3, 11, 9), 24  # more rows than are summed in one piece


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def grid(shape, e, lo, hi, seed=0):
    """A fixed-point tensor with values over its whole range."""
    ints = torch.randint(lo, hi + 1, shape, generator=torch.Generator().manual_seed(seed))
    return Fixed(ints.float() * 2.0**e, e, lo, hi)


@pytest.fixture(autouse=True, params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """Names of the kernels that run: a comparison of the plain modules with themselves shows nothing."""
    names = set()
    for module in (fused, fused_fixed):
        def call(name, *arguments, inner=module._call):
            names.add(name)
            inner(name, *arguments)

        monkeypatch.setattr(module, "_call", call)
    return names


def both(function, tensors, module):
    """(plain, fused) values and gradients of `function(*tensors)`; None tensors stay away."""
    found = []
    for use in (False, True):
        leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
        module.zero_grad()
        with fused.active(torch.float32) if use else contextlib.nullcontext():
            out = function(*leaves)
        (out * draw(*out.shape, seed=9)).sum().backward()
        grads = {f"input {i}": t.grad for i, t in enumerate(leaves) if t is not None}
        grads |= {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        found.append((out.detach(), grads))
    return found


def check(found):
    (plain, gradients), (quick, others) = found
    assert torch.equal(plain, quick) and len(plain.unique()) > 1
    assert gradients.keys() == others.keys()
    for name, want in gradients.items():
        assert want.shape == others[name].shape and want.abs().max() > 0, name
        assert float((others[name] - want).abs().max()) <= 2.0**-18 * float(want.abs().max()), name


@pytest.mark.parametrize("act, res1, res2, ratio", [
    (False, False, False, 1), (False, True, False, 1), (True, False, False, 1), (True, True, False, 1),
    (True, True, True, 1), (True, True, True, 4), (True, True, True, 3), (True, False, True, 1)])
def test_epilogue(act, res1, res2, ratio, called):
    layer = Epilogue(C, Widths(), 8, act=act, res1=res1, ratio=ratio, res2=res2)
    acc = grid((*SHAPE, C), 0, -60, 60)
    first = grid((*SHAPE, C), -4, -128 * ratio, 127 * ratio, 1) if res1 else None
    second = grid((*SHAPE, C), -4, -128, 127, 2) if res2 else None
    vectors = [draw(C, seed=s).double() for s in range(3, 8)]
    slopes = dict(zip("pn", vectors[2:4]), o2=vectors[4]) if act else {}
    layer.calibrate(acc, 0.1 * vectors[0], vectors[1], first, res2=second, **slopes)
    check(both(layer, [acc.value, first and first.value, second and second.value], layer))
    assert called >= {"bv_fixed", "bv_fixed_back"}


def test_residuals_of_another_shape_are_refused():
    layer = Epilogue(C, Widths(), 8, act=False, res1=True)
    layer.calibrate(grid((*SHAPE, C), 0, -60, 60), draw(C).double(), draw(C).double(), grid((*SHAPE, C), -4, -8, 7))
    for res in (None, draw(1, C)):
        with fused.active(torch.float32), pytest.raises(ValueError, match="residual of shape"):
            layer(draw(*SHAPE, C), res)


def test_quantizer(called):
    layer = FixedQuant(6)
    layer.set_exponent(-3)
    x = 4 * draw(40, C)  # beyond both ends
    check(both(layer, [x], layer))
    assert called == {"bv_floor", "bv_floor_back"}
    strided = draw(6, C, 5).transpose(1, 2)
    with fused.active(torch.float32):
        assert torch.equal(layer(strided), layer.quant(strided))


@pytest.mark.parametrize("scaled", [False, True])
def test_threshold(scaled, called):
    layer = Threshold(C, Widths(), scaled)
    x = grid((*SHAPE, C), -6, -128, 127)
    layer.calibrate(x, 0.3 * draw(C, seed=1).double(), 0.4 * draw(C, seed=2).double() if scaled else None)
    check(both(layer, [x.value], layer))
    assert called >= {"bv_decide", "bv_decide_back"}


def test_sign_alone(called):
    layer = sign_act()
    x = draw(4, C, 6)
    x[0, 0, 0] = 0
    check(both(layer, [x], layer))
    assert called == {"bv_decide", "bv_decide_back"}


def test_shift(called):
    layer = Shift(C, Widths())
    scales = {b: LayerScale(C, 0.4) for b in BRANCHES}
    u, y = grid((2, 6, 5, C), -4, -128, 127), grid((2, 6, 5, C), -3, -128, 127, 1)
    layer.calibrate(u, y, scales)
    check(both(layer, [u.value, y.value], layer))
    assert called >= {"bv_shift", "bv_shift_sums", "bv_floor_back"}


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_whole_network(config, called):
    net, x = random_float(load_config(config))
    net.freeze(x)
    net.train()
    (plain, gradients), (quick, others) = both(lambda: net(x), [], net)
    assert torch.equal(plain, quick) and gradients.keys() == others.keys()
    assert called >= {"bv_fixed_back", "bv_decide_back", "bv_floor_back", "bv_shift_sums"}
    for key, want in gradients.items():
        assert float((others[key] - want).norm()) <= 1e-4 * float(want.norm()), key


def test_maps_of_another_type_stay_plain():
    """bf16 would not be exact: a deployed teacher inside bf16 training is computed as it is."""
    x = draw(4, C)
    with fused.active(torch.bfloat16):
        assert not fused_fixed.usable(x)
    with fused.active(torch.float32):
        assert fused_fixed.usable(x) and not fused_fixed.usable(x.double()) and not fused_fixed.usable(x[0])
    assert not fused_fixed.usable(x)


@pytest.mark.parametrize("kernel, argument", [("bv_floor_back", -1), ("bv_fixed_back", -4), ("bv_fixed_back", -1),
                                              ("bv_decide_back", -2), ("bv_decide_back", -1), ("bv_fixed", -1)])
def test_the_comparison_sees_a_wrong_kernel(monkeypatch, kernel, argument):
    """One element of a result that is wrong (a value by a step, a gradient by a hundredth) must fail the comparison."""
    call = fused_fixed._call

    def wrong(name, *arguments):
        call(name, *arguments)
        if name == kernel:
            flat = arguments[argument].view(-1)
            at = flat.abs().argmax()
            flat[at] = 0.99 * flat[at]

    monkeypatch.setattr(fused_fixed, "_call", wrong)
    x = grid((*SHAPE, C), -6, -128, 127)
    if kernel == "bv_floor_back":
        layer = FixedQuant(6)
        layer.set_exponent(-3)
    elif kernel.startswith("bv_fixed"):
        layer = Epilogue(C, Widths(), 8, act=False)
        layer.calibrate(x, draw(C, seed=1).double(), draw(C, seed=2).double())
    else:
        layer = Threshold(C, Widths(), scaled=True)
        layer.calibrate(x, 0.3 * draw(C, seed=1).double(), 0.4 * draw(C, seed=2).double())
    with pytest.raises(AssertionError):
        check(both(layer, [x.value], layer))
