"""Fused training kernels against the plain modules, values and every gradient."""

import pytest
import torch

from bhvit.errors import UserError
from bhvit.model.layers import fused
from bhvit.model.layers.float_parts import ChannelNorm, LayerScale, RPReLU, sign_act
from bhvit.model.layers.mlp import MlpMixin

TOLERANCE = {torch.bfloat16: 2.0**-6, torch.float32: 2.0**-18}  # of a tensor's largest element: rounding, a few terms


@pytest.fixture(autouse=True, params=[torch.bfloat16, torch.float32], ids=["bf16", "float32"])
def maps(request, monkeypatch):
    """Both types of maps, whichever this processor would choose."""
    monkeypatch.setattr(fused, "map_type", lambda: request.param)
    return request.param


def draw(*shape, seed=0):
    """Values that bf16 holds exactly, so that both sides see the same input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16).float()


def close(a, b):
    assert a.shape == b.shape
    return float((a.float() - b.float()).abs().max()) <= TOLERANCE[fused.map_type()] * float(b.abs().max()) + 1e-6


def both(function, tensors, parameters):
    """Value and gradients of `function(*tensors)`, plain and fused; None tensors stay away."""
    found = []
    for use in (False, True):
        leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
        for p in parameters:
            p.grad = None
        if use:
            with fused.active():
                out = function(*leaves)
        else:
            out = function(*leaves)
        out = out if isinstance(out, tuple) else (out,)
        sum((o.float() * draw(*o.shape, seed=9 + i)).sum() for i, o in enumerate(out)).backward()
        grads = [t.grad for t in leaves if t is not None] + [p.grad for p in parameters]
        found.append([*(o.detach() for o in out), *(g.clone() for g in grads)])
    return zip(*found)


def scattered(module, seed=3):
    for i, p in enumerate(module.parameters()):
        p.data += 0.5 * draw(*p.shape, seed=seed + i)
    return module


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("norm, act, scale, part, second", [
    (True, True, True, 8, True), (True, True, False, 32, False), (True, True, True, 0, False),
    (True, False, False, 0, True), (False, True, False, 0, True), (False, True, False, 16, False),
    (True, True, False, 32, True)])
def test_norm_act(norm, act, scale, part, second, threads):
    channels, shape = 32, (3, 7, 11)
    modules = [scattered(ChannelNorm(channels)) if norm else None, scattered(RPReLU(channels), 5) if act else None,
               scattered(LayerScale(channels, 0.7), 7) if scale else None]
    maps = [(draw(*shape, channels) + 0.5).to(torch.bfloat16).float(), draw(*shape, part, seed=1) if part else None,
            draw(*shape, channels, seed=2) if second else None]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for plain, quick in both(lambda y, r, s: fused.norm_act(y, *modules, residual=r, second=s), maps,
                                 [p for m in modules if m is not None for p in m.parameters()]):
            assert close(quick, plain)
    finally:
        torch.set_num_threads(before)


def test_running_statistics_and_evaluation():
    plain, quick = ChannelNorm(8), ChannelNorm(8)
    x = (3 + 2 * draw(40, 8)).to(torch.bfloat16).float()
    for _ in range(3):
        plain(x)
        with fused.active():
            quick(x)
    assert torch.allclose(plain.running_mean, quick.running_mean, rtol=1e-5)
    assert torch.allclose(plain.running_var, quick.running_var, rtol=1e-5)
    assert int(quick.num_batches_tracked) == 3
    with torch.no_grad(), fused.active():
        assert close(quick.eval()(x), plain.eval()(x))


def test_gradients_behind_running_statistics():
    """In eval mode a batch norm is an affine map, forwards and backwards."""
    norm = scattered(ChannelNorm(8)).eval()
    norm.running_mean += 0.3
    norm.running_var *= 2.0
    for plain, quick in both(norm, [draw(40, 8)], list(norm.parameters())):
        assert close(quick, plain)


@pytest.mark.parametrize("ratio", [0, 1, 2, 3, 4, 8])
def test_signs(ratio):
    move = torch.nn.Parameter(draw(24, seed=4))
    x = draw(5, 9, 24) * 2  # still exact
    x[0, 0] = -move.detach()  # sign(0) = +1
    results = list(both(lambda x: fused.sign_move(sign_act(), x, move, ratio), [x], [move]))
    assert results[0][1].dtype == fused.map_type()
    assert torch.equal(results[0][0], results[0][1].float()) and (results[0][1][0, 0] == 1).all()
    assert all(close(quick, plain) for plain, quick in results)


@pytest.mark.parametrize("side", [(5, 8), (2, 2), (1, 3)])
@pytest.mark.parametrize("kind", ["box", "pure"])
def test_shift_branches(side, kind):
    """`cross` = the branches of an MLP and the residual, on maps where taps meet as well."""
    mlp = MlpMixin.__new__(MlpMixin)
    torch.nn.Module.__init__(mlp)
    mlp.shift = kind
    for i, branch in enumerate(("h3", "w3", "ch3", "h5", "w5", "ch5")):
        mlp.add_module(f"layerscale_{branch}", scattered(LayerScale(8, 0.5), 20 + 2 * i))

    def branches(u, y):
        return mlp.shifted_residual(u, y) if fused.is_active() else y + mlp.shift_branches(u)

    maps = [draw(3, *side, 8), draw(3, *side, 8, seed=1)]
    assert all(close(quick, plain) for plain, quick in both(branches, maps, list(mlp.parameters())))


def test_gradients_of_a_wrong_kernel_are_seen(monkeypatch):
    """The comparison can fail: a derivative of the sign without its slope."""
    call = fused._call

    def without_slope(name, *arguments):
        if name == "bv_sign_back":
            arguments = (*arguments[:6], torch.zeros_like(arguments[6]), *arguments[7:])
        call(name, *arguments)

    monkeypatch.setattr(fused, "_call", without_slope)
    move = torch.nn.Parameter(draw(24, seed=4))
    results = list(both(lambda x: fused.sign_move(sign_act(), x, move), [draw(5, 9, 24)], [move]))
    assert close(*reversed(results[0])) and not all(close(quick, plain) for plain, quick in results)


def test_a_compiler_that_fails_is_reported(monkeypatch, tmp_path):
    broken = tmp_path / "fused.cpp"
    broken.write_text("this is no C++")
    monkeypatch.setattr(fused, "SOURCES", (broken,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused.library.cache_clear()
    try:
        with pytest.raises(UserError, match="fused=false"), fused.active():
            pass
    finally:
        fused.library.cache_clear()


def test_a_cache_that_cannot_be_written_is_reported(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fused.library.cache_clear()
    try:
        with pytest.raises(UserError, match="XDG_CACHE_HOME"), fused.active():
            pass
    finally:
        fused.library.cache_clear()


def test_map_type_follows_the_processor(monkeypatch):
    monkeypatch.undo()
    for flags, dtype in (("flags : fpu avx2", torch.float32),
                         ("flags : avx512f avx512_bf16 vendor_id : AuthenticAMD", torch.bfloat16),
                         ("flags : avx512f avx512_bf16 vendor_id : GenuineIntel", torch.float32),  # half of the rate
                         ("flags : avx512_bf16 amx_bf16 vendor_id : GenuineIntel", torch.bfloat16),
                         ("Features : asimd bf16 i8mm", torch.bfloat16)):
        monkeypatch.setattr(fused, "_processor", lambda flags=flags: flags)
        fused.map_type.cache_clear()
        assert fused.map_type() == dtype
    monkeypatch.undo()
    fused.map_type.cache_clear()


def test_backward_outside_of_another_type(maps):
    """Gradients take the type that the forward pass had."""
    x, move = draw(5, 9, 24).requires_grad_(), torch.nn.Parameter(draw(24, seed=4))
    with fused.active():
        out = fused.sign_move(sign_act(), x, move)
    with fused.active(torch.float32 if maps == torch.bfloat16 else torch.bfloat16):
        out.float().sum().backward()
    assert x.grad.dtype == torch.float32 and float(x.grad.abs().max()) > 0
