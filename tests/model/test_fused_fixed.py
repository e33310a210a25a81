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

SHAPE, C = (3, 5, 7), 24


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def grid(shape, e, lo, hi, seed=0):
    """A fixed-point tensor with values over its whole range."""
    ints = torch.randint(lo, hi + 1, shape, generator=torch.Generator().manual_seed(seed))
    return Fixed(ints.float() * 2.0**e, e, lo, hi)


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
def test_epilogue(act, res1, res2, ratio):
    layer = Epilogue(C, Widths(), 8, act=act, res1=res1, ratio=ratio, res2=res2)
    acc = grid((*SHAPE, C), 0, -60, 60)
    first = grid((*SHAPE, C), -4, -128 * ratio, 127 * ratio, 1) if res1 else None
    second = grid((*SHAPE, C), -4, -128, 127, 2) if res2 else None
    vectors = [draw(C, seed=s).double() for s in range(3, 8)]
    slopes = dict(zip("pn", vectors[2:4]), o2=vectors[4]) if act else {}
    layer.calibrate(acc, 0.1 * vectors[0], vectors[1], first, res2=second, **slopes)
    check(both(layer, [acc.value, first and first.value, second and second.value], layer))


def test_quantizer():
    layer = FixedQuant(6)
    layer.set_exponent(-3)
    x = 4 * draw(40, C)  # beyond both ends
    check(both(layer, [x], layer))
    strided = draw(6, C, 5).transpose(1, 2)
    with fused.active(torch.float32):
        assert torch.equal(layer(strided), layer.quant(strided))


@pytest.mark.parametrize("scaled", [False, True])
def test_threshold(scaled):
    layer = Threshold(C, Widths(), scaled)
    x = grid((*SHAPE, C), -6, -128, 127)
    layer.calibrate(x, 0.3 * draw(C, seed=1).double(), 0.4 * draw(C, seed=2).double() if scaled else None)
    check(both(layer, [x.value], layer))


def test_sign_alone():
    layer = sign_act()
    x = draw(4, C, 6)
    x[0, 0, 0] = 0
    check(both(layer, [x], layer))


def test_shift():
    layer = Shift(C, Widths())
    scales = {b: LayerScale(C, 0.4) for b in BRANCHES}
    u, y = grid((2, 6, 5, C), -4, -128, 127), grid((2, 6, 5, C), -3, -128, 127, 1)
    layer.calibrate(u, y, scales)
    check(both(layer, [u.value, y.value], layer))


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_whole_network(config):
    net, x = random_float(load_config(config))
    net.freeze(x)
    net.train()
    (plain, gradients), (quick, others) = both(lambda: net(x), [], net)
    assert torch.equal(plain, quick) and gradients.keys() == others.keys()
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


def test_the_comparison_sees_a_gradient_that_misses_the_ends(monkeypatch):
    """A quantizer whose gradient also flows beyond its range must fail the comparison."""
    call = fused_fixed._call

    def through(name, *arguments):
        if name == "bv_floor_back":
            arguments[-1].copy_(arguments[2])
        else:
            call(name, *arguments)

    monkeypatch.setattr(fused_fixed, "_call", through)
    layer = FixedQuant(6)
    layer.set_exponent(-3)
    with pytest.raises(AssertionError):
        check(both(layer, [4 * draw(40, C)], layer))
