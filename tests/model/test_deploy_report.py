"""The deployment report: what it says of saturating quantizers, of broken thresholds, and that its numbers are true."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from model_nets import lively_images

from bhvit.model import deploy_text
from bhvit.model.deploy import rows
from bhvit.model.fidelity import Fidelity, Rounding, on_grid
from bhvit.model.fidelity_stats import QuantizerStat
from bhvit.model.numerics import exponent_mse
from bhvit.model.quantizers import FixedQuant
from bhvit.model.trace import run_integers


@pytest.fixture(scope="session")
def images(frozen):
    return lively_images(frozen[1].config, 6, seed=3).numpy().astype(np.uint8)


def measure(twin, net, images, batch=4) -> dict:
    return rows(Fidelity(twin, net.hw).run(images, batch, quiet=True))


@pytest.fixture(scope="session")
def measured(frozen, images):
    return measure(frozen[0], frozen[1], images)


def by_name(report, part) -> dict:
    return {r["name"]: r for r in report[part]}


def test_decisions_agree_when_layers_see_the_float_tensors(measured):
    assert measured["signs"]["forced"] > 99 and measured["levels"]["forced"] > 98.5
    # by far not so when flips go on through a block, or through the network
    assert measured["signs"]["forced"] > measured["signs"]["block"] > measured["signs"]["free"]
    for row in measured["layers"]:
        assert sum(row["first_difference"].values()) <= 100 + 1e-9
        assert row["float_error"] < 0.15


def test_batches_do_not_matter(frozen, images, measured):
    other = measure(frozen[0], frozen[1], images, batch=6)
    for a, b in zip(measured["decisions"], other["decisions"]):
        assert a == b
    for a, b in zip(measured["quantizers"], other["quantizers"]):
        assert a["saturated_high"] == b["saturated_high"] and a["rms_error"] == pytest.approx(b["rms_error"], rel=1e-6)


def test_saturating_quantizer_is_explained(frozen, images, measured):
    """Its exponent lowered by three, a quantizer saturates; the report names it and where, and what would help."""
    twin, net, _ = frozen
    name = "stages.1.0.mlp.norm.y"
    assert by_name(measured, "quantizers")[name]["explanation"] is None and name not in measured["saturated"]
    broken = copy.deepcopy(net)
    quant = broken.hw.get_submodule(name)
    right = quant.exponent
    quant.set_exponent(right - 3)
    report = measure(twin, broken, images)
    row = by_name(report, "quantizers")[name]
    assert name in report["saturated"] and row["saturation"] > 1
    # independently: the integers at the quantizer, and the channel that is hit most
    ints = run_integers(broken, images, trace=True)[1][name]
    lo, hi = quant.limits
    hits = (ints == lo) | (ints == hi)
    assert row["saturation"] == pytest.approx(100 * hits.mean(), rel=1e-9)
    assert (row["saturated_low"], row["saturated_high"]) == ((ints == lo).sum(), (ints == hi).sum())
    channel = hits.reshape(-1, hits.shape[-1]).mean(0)
    text = row["explanation"]
    assert f"in channels {channel.argmax()} ({100 * channel.max():.1f} %)" in text
    assert f"Exponent {right - 3} does not have the least squared error" in text
    assert f"{right - 2} would lower the total error from {row['rms_error']:.3g}" in text
    assert row["clipping_error"] > 3 * row["rounding_error"]
    page = deploy_text.markdown(report | {
        "model": "x", "agreement": 1, "images": 6, "data": "d", "logit_error": 1, "top1": None, "report_images": 6,
        "calibration_images": 1, "report_images_used_for_calibration": False, "provenance": {}})
    assert text in page


def test_explanation_of_an_exponent_that_is_right():
    """A few percent of outliers are clipped on purpose: one exponent more would cost more than it saves."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (5000, 4))
    x[:, 2] = np.where(rng.random(5000) < 0.1, 1.05 * x[:, 2] + 3 * np.sign(x[:, 2]), x[:, 2])
    v = torch.from_numpy(x)
    quant = FixedQuant(4)
    quant.set_exponent(exponent_mse(v, 4))
    e = quant.exponent
    stat = QuantizerStat(quant)
    q = np.clip(np.floor(x * 2.0**-e + 0.5), -8, 7) * 2.0**e
    stat.own(v, torch.from_numpy(q), torch.from_numpy(q))
    stat.against_float(v, torch.from_numpy(q))
    row = stat.result()

    def rms(e):
        return np.sqrt(np.mean((np.clip(np.floor(x * 2.0**-e + 0.5), -8, 7) * 2.0**e - x) ** 2))

    assert row["saturation"] > 1 and row["rms_error"] == pytest.approx(rms(e))
    assert f"raise the total error from {rms(e):.3g} to {rms(e + 1):.3g}, one smaller to {rms(e - 1):.3g}." in \
        row["explanation"]
    assert "channels 2 (" in row["explanation"]
    assert row["clipping_error"]**2 + row["rounding_error"]**2 == pytest.approx(row["rms_error"]**2)
    assert row["sqnr_db"] == pytest.approx(20 * np.log10(x.std() / rms(e)))


@pytest.mark.parametrize("site", ["stages.1.0.mlp.threshold2", "stages.2.0.binarize_key"])
def test_broken_threshold_shows_at_its_place_only(frozen, images, measured, site):
    twin, net, _ = frozen
    broken = copy.deepcopy(net)
    threshold = broken.hw.get_submodule(site)
    ints = threshold.o.integers()
    signs = run_integers(net, images, trace=True)[1][f"{site}.sign"]
    channel = int(np.abs(signs.reshape(-1, len(ints)).mean(0)).argmin())  # its decisions go both ways ...
    ints[channel] += 300  # ... no more: this is larger than any value
    threshold.o.q.set_exponent(threshold.o.exponent, 24)
    threshold.o.set_integers(ints.double())
    report = measure(twin, broken, images)
    old, new = by_name(measured, "decisions"), by_name(report, "decisions")
    assert {n for n in old if old[n]["wrong"] != new[n]["wrong"]} == {f"{site}.sign"}
    row = new[f"{site}.sign"]
    assert next(iter(row["worst_channels"])) == str(channel)
    assert row["wrong"] > old[row["name"]]["wrong"] + 0.2 * row["count"] / len(ints)


def test_broken_attention_threshold_shows_in_the_levels(frozen, images, measured):
    twin, net, _ = frozen
    broken = copy.deepcopy(net)
    t = broken.hw.stages[3][0].attention.t[1]
    t.set_integers(t.integers().double() + 8)
    old, new = by_name(measured, "decisions"), by_name(measure(twin, broken, images), "decisions")
    changed = {n for n in old if old[n]["wrong"] != new[n]["wrong"]}
    assert changed == {"stages.3.0.attention.levels"}
    assert sum(map(sum, new["stages.3.0.attention.levels"]["confusion"])) == new["stages.3.0.attention.levels"]["count"]


def test_numbers_of_one_decision_and_one_quantizer(frozen, images, measured):
    """Once more, step by step, without hooks: the second threshold of the MLP of the last block."""
    twin, net, _ = frozen
    site, hw = "stages.3.0.mlp", net.hw.stages[3][0].mlp
    x = torch.from_numpy(images).float()
    with torch.no_grad():
        v = twin.vit.embeddings((x / 255 - twin.mean) / twin.std)
        e = twin.vit.encoder
        for s in range(3):
            v = getattr(e, f"patch_embed{s + 1}")(e.blocks(s)[0](v))
        block = e.blocks(3)[0]
        a = block.attention
        y = v + a.output(a.attention(block.layernorm_before(v)))
        u = block.layernorm_after(y)
        first = u + block.intermediate.move >= 0
        h = block.intermediate(u)
        want = h + block.output.move >= 0
        # the deployed layer fc1 reads the float network's bits and its U on the grid, moved as calibration decided
        q = hw.norm.y
        bias = 0 if q.bias is None else q.bias
        grid = (torch.floor((u.double() + bias) * 2.0**-q.exponent + 0.5).clamp(*q.limits) * 2.0**q.exponent).float()
        got_h = hw.fc1(first.float() * 2 - 1, torch.cat([grid] * hw.ratio, -1))
        got = got_h + hw.threshold2.o() >= 0
        y_grid = net.hw.stages[3][0].out.epilogue.y
        got_u = hw.norm(on_grid(y, y_grid, Rounding.of(y_grid)))
    row = by_name(measured, "decisions")[f"{site}.threshold2.sign"]
    assert row["count"] == want.numel() and row["wrong"] == int((want != got).sum())
    assert row["forced"] == pytest.approx(100 * float((want == got).double().mean()))
    row = by_name(measured, "quantizers")[f"{site}.norm.y"]
    assert row["float_error"] == pytest.approx(float((got_u - bias - u).square().mean().sqrt() / u.std(correction=0)),
                                               rel=1e-4)
    ints = run_integers(net, images, trace=True)[1][f"{site}.norm.y"]
    assert (row["smallest"], row["largest"]) == (ints.min(), ints.max())
