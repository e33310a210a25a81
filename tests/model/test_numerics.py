"""Scales, quantizers and the range check."""

import pytest
import torch

from bhvit.model.layers.epilogue import Epilogue
from bhvit.model.layers.fixed import Fixed
from bhvit.model.numerics import (
    RangeError,
    Widths,
    bits_for,
    check_ranges,
    exponent_for_max,
    exponent_mse,
    int_range,
)
from bhvit.model.quantizers import (
    BinaryWeight,
    FixedConst,
    FixedQuant,
    centred_binary,
    sign_act,
)


@pytest.mark.parametrize("top", [1e-6, 0.3, 1.0, 127.0, 127.5, 128.0, 1e5])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_exponent_is_the_smallest_that_fits(top, bits):
    e = exponent_for_max(top, bits)
    hi = int_range(bits)[1]
    assert int(top / 2.0**e + 0.5) <= hi
    assert int(top / 2.0 ** (e - 1) + 0.5) > hi


def test_exponent_of_bad_values():
    assert exponent_for_max(0.0, 8) == 0
    with pytest.raises(ValueError, match="inf or nan"):
        exponent_for_max(float("inf"), 8)


def test_exponent_mse_ignores_an_outlier():
    x = torch.cat([torch.randn(10000), torch.tensor([40.0])])
    assert exponent_mse(x, 8) < exponent_for_max(40.0, 8)
    assert exponent_mse(x, 8, e_min=3) == 3


def test_quantizer_rounds_down_and_saturates():
    x = torch.linspace(-20, 20, 1001)
    q = FixedQuant(6)
    q.set_exponent(-1)
    assert torch.equal(q(x), torch.floor(x / 0.5).clamp(-32, 31) * 0.5)
    assert q(torch.tensor([-0.01])).item() == -0.5  # floor, not nearest


def test_bits_for():
    assert [bits_for(0, 0), bits_for(-1, 1), bits_for(-2, 1), bits_for(-128, 127), bits_for(0, 128)] == [2, 2, 2, 8, 9]


def test_sign_of_zero_is_plus_one():
    assert sign_act()(torch.tensor([0.0, -0.0, -1e-30])).tolist() == [1, 1, -1]
    binary, scale = centred_binary(torch.tensor([[1.0, 2.0, 3.0]]))
    assert binary.tolist() == [[-1, 1, 1]] and scale.item() == 2
    w = BinaryWeight((1, 3))
    w.set(torch.tensor([[0.0, -1.0, 1.0]]))
    assert w().tolist() == [[1, -1, 1]]


def test_constant_rounds_to_nearest_saturates_and_snaps():
    c = FixedConst((4,), 4)
    c.set(torch.tensor([0.26, 0.24, 9.0, -9.0]), -1)
    assert c.integers().tolist() == [1, 0, 7, -8]
    before = c()
    c.snap()
    assert torch.equal(c(), before) and torch.equal(c.latent, before)


def test_constant_grows_to_what_it_needs():
    c = FixedConst((2,), 24, grow=True)
    c.set(torch.tensor([100.0, -3.0]), 0)
    assert c.q.bits == 8


def test_gradients_pass():
    q = FixedQuant(4)
    q.set_exponent(0)
    x = torch.tensor([0.5, 100.0], requires_grad=True)
    q(x).sum().backward()
    assert x.grad.tolist() == [1, 0]
    x = torch.tensor([0.25, -0.5, 2.0], requires_grad=True)
    sign_act()(x).sum().backward()
    assert x.grad.tolist() == [1.5, 1.0, 0.0]


def _epilogue(bound: int = 64) -> Epilogue:
    torch.manual_seed(0)
    e = Epilogue(4, Widths(), 8, act=True, res1=True, res2=True)
    acc = Fixed(torch.randint(-bound, bound, (50, 4)).float(), 0, -bound, bound)
    res = Fixed(torch.randint(-128, 128, (50, 4)).float() / 16, -4, -128, 127)
    ones = torch.ones(4, dtype=torch.float64)
    e.calibrate(acc, ones * 0.05, ones * 0.3, res, ones * 0.1, ones * 0.02, ones * 0.1, res)
    return e


def test_range_check_passes_and_reports():
    worst = check_ranges(torch.nn.ModuleDict({"layer": _epilogue()}))
    assert 0 < worst["layer"] < 2**24


def test_range_check_names_layer_and_value():
    e = _epilogue()
    e.inputs[1] = 1 << 20  # as if the accumulator were that large
    with pytest.raises(RangeError, match=r"layer deep\.layer: m \* acc.*2\^3"):
        check_ranges(torch.nn.ModuleDict({"deep": torch.nn.ModuleDict({"layer": e})}))


def test_tiny_slopes_keep_the_residual_in_range():
    torch.manual_seed(0)
    e = Epilogue(4, Widths(), 8, act=True, res2=True, slope_bits=10)
    acc = Fixed(torch.randint(-64, 64, (50, 4)).float(), 0, -64, 64)
    res = Fixed(torch.randint(-2048, 2048, (50, 4)).float() / 256, -8, -2048, 2047)
    ones = torch.ones(4, dtype=torch.float64)
    e.calibrate(acc, ones * 0.05, ones * 0, None, ones * 1e-7, ones * 1e-8, ones * 0, res)
    worst = check_ranges(torch.nn.ModuleDict({"layer": e}))
    assert 0 < worst["layer"] < 2**24
