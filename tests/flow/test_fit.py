"""Foldings that fit a device: prices, regions, budgets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import fit, folding, graph, memory_plan, ops
from bhvit.finn_flow.build_steps import Context, _fit
from bhvit.finn_flow.config import BuildConfig, MemoryConfig
from bhvit.finn_flow.devices import DEVICES, Device
from bhvit.finn_flow.fold_search import TOKENS, Search
from bhvit.finn_flow.layers.cost import MUX_LUT
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import STREAM, ULTRA
from bhvit.finn_flow.prices import DEFAULT, Prices, choices, cost

from . import networks

PLANNED = Prices(planned=True, ultra=True, loader=True)


def lowered(tokens=196, channels=64):
    model = networks.residual(tokens=tokens, channels=channels)
    ops.to_integers(model)
    graph.insert_duplicates(model)
    return graph.specialize(model, networks.PART)


def linear(**attrs):
    return layers()["binary_linear"](token_dims=[49], in_channels=512, out_channels=1024, sh1=4, act=0, **attrs)


def test_memories_are_priced_as_what_they_can_be():
    deep = linear(PE=1, SIMD=128)                                     # 4096 words of 128 bits
    weights = next(s for s in deep.stores() if s.name == "WEIGHT")
    assert choices(weights, DEFAULT) == [weights.cost]
    assert {c.uram for c in choices(weights, PLANNED)} == {0, 2}
    assert all(not c.uram for c in choices(weights, replace(PLANNED, loader=False)))
    assert cost(deep, PLANNED) < cost(deep) - 120 * 29 + 2 * 900, "two UltraRAMs instead of thirty block RAMs"
    outside = deep.model_copy(update={"styles": f"WEIGHT={STREAM}"})
    two_words = MUX_LUT * 128 + 7                                     # of a FIFO in front of words from outside
    assert cost(outside, PLANNED) == pytest.approx(cost(deep, replace(PLANNED, uram=0)) + two_words)


def test_prices_decide_the_shape_of_weight_memories():
    def words(**prices):
        layer = linear()
        model = ops.new_model([("x", [1, 49, 512], layer.inputs()[0].dtype)], ["y"])
        constants = layer.random_constants(np.random.default_rng(0))
        model.graph.node.append(ops.make_node(layer, ["x"], ["y"], constants, model, "fc", rtl=True))
        found = folding.choose(model, 54272, replace(PLANNED, **prices))["fc"]
        return found["PE"] * found["SIMD"], found["TP"]

    wide, deep = words(uram=1e6), words(uram=2000.0, bram18=1e5)
    assert deep[0] < wide[0] and deep[1] > 1, "dear block RAM, cheap UltraRAM: a deep memory that serves several tokens"


def test_regions_move_together():
    model = lowered()
    prices = replace(PLANNED, uram=5.0, bram18=400.0)
    alone, both = Search(model, 4000, prices), Search(model, 4000, prices)
    names = [n.name for n in alone.nodes]
    for node in alone.nodes:
        alone.found[node.name] = alone.best(node.name)
    alone.sweep(names[::-1])
    both.run()
    assert both.total(names) <= alone.total(names)
    assert all(layer.frame_cycles <= 4000 for layer in both.found.values())
    for region in both.regions():
        tokens = {both.found[n].inputs()[0].tokens for n in region}
        assert len(tokens) == 1 and all(getattr(both.found[n], "TP", 1) in TOKENS for n in region)


@pytest.mark.parametrize("scarce", ["lut", "bram18", "dsp"])
def test_what_is_scarce_is_spared(scarce):
    model, config = lowered(), MemoryConfig(fifo_share=0.0)
    ample = Device(lut=400_000, ff=1, bram18=4000, uram=0, dsp=4000)
    roomy = fit.fit(model, 400, ample, config)
    device = replace(ample, **{scarce: max(1, int(roomy.use[scarce] / 0.9))})
    lines: list[str] = []
    tight = fit.fit(model, 400, device, config, lines.append)
    assert len(lines) == fit.ROUNDS and "fullest budget" in lines[0]
    assert tight.use[scarce] <= roomy.use[scarce]
    assert tight.worst == min(float(x.split()[-1]) for x in lines) or tight.worst < 1.01 * min(
        float(x.split()[-1]) for x in lines)
    limits = fit.budgets(device, config)
    assert limits["bram18"] == 0.85 * device.bram18 and limits["lut"] == 0.75 * device.lut
    folded = folding.apply(lowered(), tight.foldings)
    graph.insert_width_converters(folded)
    assert max(ops.layer_from_node(n).frame_cycles for n in folded.graph.node) <= 400


def test_fifos_keep_a_part_of_the_budgets():
    device = DEVICES["xczu7ev"]
    less, all_of_it = (fit.budgets(device, MemoryConfig(fifo_share=f)) for f in (0.2, 0.0))
    assert less["uram"] == pytest.approx(0.8 * all_of_it["uram"]) and less["dsp"] == all_of_it["dsp"]


def test_unknown_device_is_named(tmp_path):
    config = BuildConfig(model="m", weights={"random": 1}, part="xqvu1", target_cycles=400, optimize="fit")
    with pytest.raises(UserError, match="resources are not known") as e:
        _fit(Context(tmp_path, config, print), lowered())
    assert "xqvu1" in str(e.value) and "optimize: cost" in str(e.value)


def test_weights_outside_are_marked_before_folding():
    model = lowered()
    memory_plan.keep_outside(model, MemoryConfig(styles={"mix.WEIGHT": STREAM, "stem.WEIGHT": ULTRA}))
    assert [n.name for n in model.graph.node if "stream" in ops.layer_from_node(n).styles] == ["mix"]
    planned = memory_plan.plan(folding.apply(model, folding.choose(model, 400)), networks.PART,
                               MemoryConfig(styles={"mix.WEIGHT": STREAM}))
    rows = {(r["node"], r["memory"]): r for r in memory_plan.report(planned, networks.PART)["memories"]}
    assert rows["mix", "WEIGHT"]["style"] == STREAM and rows["mix", "WEIGHT"]["lut"] == 0
    with pytest.raises(UserError, match="cannot be stream") as e:
        memory_plan.plan(lowered(), networks.PART, MemoryConfig(styles={"sign.THRESHOLD": STREAM}))
    assert "linear layer" in str(e.value)


def test_foldings_are_measured_by_the_memory_plan():
    """What the plan would make of a graph, told without changing it, is what the plan makes of it."""
    model, config = lowered(), MemoryConfig(share=0.02, ultra_constants=True)
    graph.insert_width_converters(folding.apply(model, folding.choose(model, 400)))
    use = memory_plan.use(model, DEVICES["xczu7ev"], config)
    found = memory_plan.report(memory_plan.plan(model, networks.PART, config), networks.PART, config)
    assert use["lut"] == pytest.approx(found["total"]["lut"] + found["logic_lut"], abs=1)
    assert (use["bram18"], use["uram"]) == (found["total"]["bram18"], found["total"]["uram"])
    assert use["dsp"] == sum(ops.layer_from_node(n).resources().dsp for n in model.graph.node)
