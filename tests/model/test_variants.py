"""Variants of the paper: each computes what its equation says, trains, and deploys bit by bit or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from model_nets import lively_images, random_float

from bhvit.model.config import ConfigError, load_config, parse_config
from bhvit.model.export import export
from bhvit.model.layers import fused
from bhvit.model.layers.float_parts import QD, binary_conv, binary_linear
from bhvit.model.layers.qd_attention import QDAttention
from bhvit.model.layers.shapes import TAPS, shifted
from bhvit.model.layers.shift import BRANCHES, branch_taps
from bhvit.model.network import BHViT
from bhvit.model.numerics import Widths, check_ranges
from bhvit.model.trace import counting_levels, run_integers
from bhvit.model.twin import Recorder

NANO = load_config(Path(__file__).parent / "configs" / "nano.yaml").model_dump(mode="json")
DEPLOYED = {
    "fixed thresholds": {"attention": "qd_fixed"}, "one bit": {"attention": "binary"},
    "convolution": {"mixer": "convolution"}, "attention": {"mixer": "attention"},
    "average": {"merge_tokens": "average", "pool_padding": 0}, "pure shifts": {"shift": "pure"},
    "no shifts": {"shift": "off"}, "plain signs": {"weight_sign": "plain"}, "one convolution": {"dilations": [1]},
    "two convolutions": {"dilations": [1, 2], "downsample": "fp"}, "no norm in front": {"pre_norm": False},
    "bare product": {"context_norm": False}, "sum": {"merge_output": "sum"}, "bare convolution": {"downsample": "conv"},
}
#: every variant in some network of `make test`; each alone in `make test-full`
TOGETHER = {
    "attention, plain signs, sum": ("attention", "plain signs", "sum"),
    "convolution, no shifts, bare convolution": ("convolution", "no shifts", "bare convolution"),
    "one bit, average, one convolution": ("one bit", "average", "one convolution"),
    "fixed thresholds, two convolutions, pure shifts": ("fixed thresholds", "two convolutions", "pure shifts"),
    "bare product, no norm in front": ("bare product", "no norm in front"),
}
ALONE = [pytest.param(name, marks=pytest.mark.full) for name in DEPLOYED]
REFUSED = {"gsb": {"attention": "gsb"}, "residual": {"msgdc_residual": True},
           "no merge tokens": {"merge_tokens": "off"}, "one dilation": {"dilations": [1, 1, 1]}}


def variant(name: str):
    changes = {key: value for one in TOGETHER.get(name, (name,)) for key, value in (DEPLOYED | REFUSED)[one].items()}
    return parse_config({**NANO, **changes, "name": name.replace(",", "").replace(" ", "_")})


def test_every_variant_is_in_some_network():
    assert sorted(name for names in TOGETHER.values() for name in names) == sorted(DEPLOYED)
    for names in TOGETHER.values():  # and none undoes another
        keys = [key for name in names for key in DEPLOYED[name]]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", [*TOGETHER, *REFUSED, *ALONE])
def test_every_variant_trains(name):
    torch.manual_seed(0)
    net = BHViT(variant(name)).train()
    images = lively_images(net.config, 8)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(net(images), torch.arange(8) % 5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    idle = [n for n, p in net.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("name", [*TOGETHER, *ALONE])
def test_deployed(name):
    config = variant(name)
    twin, images = random_float(config)
    net = BHViT(config)
    net.load_state_dict(twin.state_dict())
    net.freeze(images)
    check_ranges(net)
    with torch.no_grad():
        want, got = twin(images), net(images)
    assert torch.corrcoef(torch.stack([want.flatten(), got.flatten()]))[0, 1] > 0.7
    with counting_levels(net) as levels:
        logits, _ = run_integers(net, images)
    assert len({tuple(r) for r in logits.tolist()}) > 12
    if config.attention == "binary":
        assert levels[1] == levels[2] == 0 and levels[0] and levels[3]
    again = BHViT.from_deployed(config, net.deployed_state())
    with torch.no_grad():
        assert torch.equal(again(images), got)
    net.train()
    net(images).square().mean().backward()  # fine-tuning
    assert all(p.grad is not None for n, p in net.named_parameters() if ".attention." not in n)


@pytest.mark.full
@pytest.mark.parametrize("name", DEPLOYED)
def test_exported(name, tmp_path):
    """Stock qonnx equals PyTorch at every quantizer."""
    twin, images = random_float(variant(name))
    export(twin.freeze(images), tmp_path / "n.onnx", check_images=2)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    twin, images = random_float(variant(name))
    with pytest.raises(ConfigError, match="cannot be deployed"):
        twin.freeze(images)
    assert not twin.frozen


# --- what the equations say --------------------------------------------------------------------------------


def test_plain_weight_signs():
    """Equation 4: s * sign(w), gradient times s where |w| <= 1; the default centres and does not multiply."""
    w = torch.tensor([[0.5, -0.25, 2.0, 0.7], [-1.0, 0.1, 0.2, 0.3]])
    layer = binary_linear(4, 2, centred=False)
    with torch.no_grad():
        layer.weight.copy_(w)
    scale = w.abs().mean(1, keepdim=True)
    assert torch.allclose(layer.quant_weight().value, scale * torch.sign(w))
    layer(torch.eye(4)).sum().backward()
    assert torch.allclose(layer.weight.grad, scale * (w.abs() <= 1))
    centred = binary_conv(4, 2, 1)
    with torch.no_grad():
        centred.weight.copy_(w[:, :, None, None])
    want = scale * torch.sign(w - w.mean(1, keepdim=True))
    assert torch.allclose(centred.quant_weight().value[:, :, 0, 0], want)
    assert not torch.equal(torch.sign(w), torch.sign(want))


def test_residual_inside_the_branches():
    """Equation 7."""
    torch.manual_seed(0)
    net = BHViT(variant("residual"))
    block = net.vit.encoder.layerA[0].GC.eval()
    u = torch.randn(2, 24, 24, 8)
    b = torch.sign(u.permute(0, 3, 1, 2) + block.move.bias)
    want = sum(getattr(block, f"act{k}")(getattr(block, f"cov{k}")(b).permute(0, 2, 3, 1) + u) for k in (1, 2, 3))
    assert torch.allclose(block(u), block.norm(want), atol=1e-6)
    block.residual = False
    assert not torch.allclose(block(u), block.norm(want), atol=1e-2)


def test_without_norms_in_front():
    """Equation 6: H = X + MSGDC(X), H + MLP(H)."""
    torch.manual_seed(0)
    net = BHViT(variant("no norm in front"))
    assert not any("layernorm_before" in key or "layernorm_after" in key for key in net.state_dict())
    block, x = net.vit.encoder.layerA[0].eval(), torch.randn(2, 24, 24, 8)
    h = x + block.GC(x)
    assert torch.equal(block(x), h + block.output(block.intermediate(h)) + block.shift_branches(h))
    with fused.active(torch.float32):
        assert torch.allclose(block(x), block.mlp(h), atol=1e-5)


def test_bare_product():
    """Equation 11: the levels times the values, then the residuals; only RPReLU stays behind."""
    torch.manual_seed(0)
    net = BHViT(variant("bare product"))
    attention = net.vit.encoder.layerB[0].attention.attention.eval()
    assert not any("norm_context" in key for key in net.state_dict())
    u = torch.randn(2, 6, 6, attention.moveq.shape[0])
    with Recorder(attention) as r:
        attention(u)
    q, k, v = (r.output(getattr(attention, f"rprelu{z}")) for z in "qkv")
    bits = (v + attention.movev2 >= 0).float() * 2 - 1
    a = r.output(attention.att_prob_quantizer)
    product = (a @ bits.reshape(*bits.shape[:3], attention.heads, -1).transpose(2, 3)).transpose(2, 3).reshape(v.shape)
    assert torch.allclose(r.input(attention.rprelu_context), product + q + k + v, atol=1e-5)


def test_local_plus_merge_tokens():
    """Equation 12 without weights."""
    torch.manual_seed(0)
    net = BHViT(variant("sum"))
    assert not any(key.endswith("parm") for key in net.state_dict())
    attention = net.vit.encoder.layerB[0].attention.attention.eval()
    u = torch.randn(2, 6, 6, attention.moveq.shape[0])
    with Recorder(attention) as r:
        got = attention(u)
    v, w, n = r.output(attention.rprelu_context), attention.w, attention.n
    merge = v[:, :, w * w:].mean(1).reshape(-1, n, n, v.shape[-1])
    for y, x in ((0, 0), (5, 4)):
        window = y // w * n + x // w
        want = v[:, window, y % w * w + x % w] + merge[:, y // w, x // w]
        assert torch.allclose(got[:, y, x], want, atol=1e-6)


def test_bare_down_sampling():
    """Section 4.1: a 2 x 2 convolution with stride 2."""
    torch.manual_seed(0)
    net = BHViT(variant("bare convolution"))
    down = net.vit.encoder.patch_embed1
    assert {name for name, _ in down.named_parameters()} == {"proj.weight"} == set(down.state_dict())
    x = torch.randn(2, 24, 24, 8)
    want = sum(x[:, i::2, j::2] @ down.proj.weight[:, :, i, j].T for i in (0, 1) for j in (0, 1))
    assert torch.allclose(down(x), want, atol=1e-5)


def test_fixed_thresholds():
    """Equation 10: round(3A) >= sigma - 1/2, summed; no parameters."""
    torch.manual_seed(0)
    p = torch.softmax(3 * torch.randn(2, 3, 2, 9, 9), -1)
    quantizer = QD(2, learned=False).train()
    want = sum(((3 * p).round() >= sigma - 0.5).float() for sigma in (1, 2, 3))
    assert torch.equal(quantizer(p), want) and want.max() == 3
    assert not list(quantizer.parameters()) and not quantizer.state_dict()


def test_one_bit_attention():
    """Equation 3: a * clip(round((A - b) / a), 0, 1) with b = -zero_point * a."""
    torch.manual_seed(0)
    p = torch.softmax(2 * torch.randn(2, 3, 2, 9, 9), -1)
    quantizer = QD(2, bits=1).eval()
    with torch.no_grad():
        quantizer.alpha.copy_(torch.tensor([0.2, 0.3]))
        quantizer.zero_point.copy_(torch.tensor([0.1, -0.2]))
    a = quantizer.alpha.detach()[:, None, None]
    b = -quantizer.zero_point.detach()[:, None, None] * a
    want = a * ((p - b) / a).round().clamp(0, 1)
    assert torch.allclose(quantizer(p), want) and len(want.unique()) == 3
    quantizer.train()
    loose = p.clone().requires_grad_()
    quantizer.init_state.fill_(1)
    quantizer(loose).sum().backward()
    v = (p - b) / a
    inside = (v.round() >= 0) & (v.round() <= 1)
    assert torch.equal(loose.grad != 0, inside)


@pytest.mark.parametrize("alpha", [0.2, -0.2])
@pytest.mark.parametrize("kind", [{"bits": 1}, {"bits": 2}, {"learned": False}], ids=str)
def test_hardware_levels(kind, alpha):
    """The comparisons of the hardware are the float quantizer, up to the rounding of their constants."""
    torch.manual_seed(0)
    quantizer = QD(2, **kind).eval()
    if kind.get("learned", True):
        with torch.no_grad():
            quantizer.alpha.fill_(alpha)
            quantizer.zero_point.fill_(0.2 if alpha > 0 else 3.1 if kind["bits"] == 2 else 0.9)
    attention = QDAttention(16, 2, 1, 20, Widths(exp_table=12, threshold=10))
    q, k, v = (torch.where(torch.randn(4, 20, 16) >= 0, 1.0, -1.0) for _ in range(3))
    attention.calibrate(q, k, v, quantizer)
    q, k = attention._heads(q), attention._heads(k)
    p = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
    want, got = quantizer.hardware_levels(p), attention.levels(q, k)
    assert (want != got).float().mean() < 0.01 and len(want.unique()) > 1
    step = quantizer.hardware_step().float()[:, None, None]
    assert torch.allclose(want * step, quantizer(p), atol=1e-6)


def test_average_of_the_windows():
    """Section 4.2: 7 x 7 average pooling, its cells the windows."""
    config = variant("average")
    tokens = BHViT(config).vit.encoder.layerB[0].attention.attention.token_FA
    tokens.norm = torch.nn.Identity()
    u = torch.randn(2, 6, 6, 12)
    out = tokens(u)
    windows = out[:, :, :9].mean(2)  # (B, 4, C)
    assert torch.allclose(out[:, 0, 9:], windows, atol=1e-6) and torch.equal(out[:, 0, 9:], out[:, 3, 9:])
    assert "a1" not in tokens.state_dict()


def test_no_merge_tokens():
    net = BHViT(variant("no merge tokens")).eval()
    attention = net.vit.encoder.layerB[0].attention.attention
    assert attention.token_FA(torch.randn(2, 6, 6, 12)).shape == (2, 4, 9, 12)
    assert attention(torch.randn(2, 6, 6, 12)).shape == (2, 6, 6, 12)
    assert not any(k.endswith(("a1", "parm")) for k in net.state_dict())


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_pure_shifts(side):
    """Figure 5: the whole map moves by one, by two, down and to the right, around the edges."""
    torch.manual_seed(0)
    block = BHViT(variant("pure shifts")).vit.encoder.layerA[0].double()
    scales = block.shift_scales()
    for s in scales.values():
        torch.nn.init.normal_(s.alpha)
        torch.nn.init.normal_(s.move)
    u = torch.randn(2, side, side, 8, dtype=torch.float64)
    want = 0
    for d, names in ((1, ("h3", "w3", "ch3")), (2, ("h5", "w5", "ch5"))):
        steps = zip(u.chunk(4, -1), (d, -d, d, -d), (1, 1, 2, 2))
        mixed = torch.cat([part.roll(step, axis) for part, step, axis in steps], -1)
        for name, moved in zip(names, (u.roll(d, 1), u.roll(d, 2), mixed)):
            want = want + scales[name](moved)
    assert torch.allclose(block.shift_branches(u), want, atol=1e-12)
    coef = sum(branch_taps(b, 8, "pure") * scales[b].alpha for b in BRANCHES)
    stencil = sum(shifted(u, *t) * c for t, c in zip(TAPS, coef)) + sum(s.move for s in scales.values())
    assert torch.allclose(stencil, want, atol=1e-12)


def test_mixers():
    """Table 7: one token mixer everywhere; the blocks' names count on over the stages."""
    for name, layers, other in (("convolution", "layerA", "layerB"), ("attention", "layerB", "layerA")):
        net = BHViT(variant(name))
        encoder = net.vit.encoder
        assert len(getattr(encoder, layers)) == 4 and len(getattr(encoder, other)) == 0
        assert [encoder.blocks(s)[0] for s in range(4)] == list(getattr(encoder, layers))
    assert [b.attention.attention.heads for b in encoder.layerB] == [1, 1, 2, 2]
