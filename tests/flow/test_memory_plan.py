"""The memory plan: what is chosen for which device, and what the build does with it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import graph, memory_plan, ops
from bhvit.finn_flow.config import MemoryConfig
from bhvit.finn_flow.devices import device_of
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import BLOCK, DISTRIBUTED, ULTRA, Store
from bhvit.finn_flow.streams import DType
from bhvit.finn_flow.wrapper import wrapper

ZCU104, ZCU102, Z2 = "xczu7ev-ffvc1156-2-e", "xczu9eg-ffvb1156-2-e", "xc7z020clg400-1"


def chain(*depths: int, width: int = 8):
    """A graph of FIFOs with these depths, between kernels that have no memory."""
    st = [1000, width // 8]
    model = ops.new_model([("x", [1, *st], DType.from_name("INT8"))], ["y"])
    for i, d in enumerate(depths):
        fifo = layers()["fifo"](dims=st, depth=d, SIMD=width // 8)
        out = "y" if i == len(depths) - 1 else f"t{i}"
        model.graph.node.append(ops.make_node(fifo, ["x" if i == 0 else f"t{i - 1}"], [out], {}, model, f"f{i}",
                                              rtl=True))
    return model


def styles(model) -> list[str]:
    return [ops.layer_from_node(n).styles for n in model.graph.node]


def test_styles_follow_prices_and_budgets():
    few = memory_plan.plan(chain(50000, 10000, 450, 100), ZCU104)
    assert styles(few) == ["RAM=ultra", "RAM=block", "RAM=block", "RAM=distributed"]
    model = memory_plan.plan(chain(*[50000] * 50), ZCU104)  # 2 URAM or 25 BRAM18 each; 81 and 530 may be used
    kinds = [s.removeprefix("RAM=") for s in styles(model)]
    assert kinds.count(ULTRA) == 40 and kinds.count(BLOCK) == 10
    found = memory_plan.report(model, ZCU104)
    assert found["fits"] and found["total"]["bram18"] == 250 and found["total"]["uram"] == 80
    assert found["share"]["uram"] == round(80 / 96, 4) and found["device"]["bram18"] == 624
    shallow = memory_plan.plan(chain(*[10000] * 120), ZCU104)  # 5 BRAM18 each: what is too much becomes UltraRAM
    assert "".join(styles(shallow)).count(ULTRA) == 14 and memory_plan.report(shallow, ZCU104)["fits"]
    assert ULTRA not in "".join(styles(memory_plan.plan(chain(*[50000] * 30), ZCU102)))
    block = memory_plan.plan(chain(*[50000] * 50), ZCU104, MemoryConfig(plan="block"))
    assert ULTRA not in "".join(styles(block)) and not memory_plan.report(block, ZCU104)["fits"]
    assert set(styles(memory_plan.plan(chain(50000, 300), ZCU104, MemoryConfig(plan="tool")))) == {""}


def test_too_much_for_the_device_is_told():
    model = memory_plan.plan(chain(*[50000] * 30), Z2)
    found = memory_plan.report(model, Z2)
    assert not found["fits"] and found["share"]["bram18"] > 0.85 and found["share"]["uram"] is None


def test_solve_equals_exhaustive_search():
    stores = [Store("A", 8, 50000), Store("A", 16, 3000), Store("A", 40, 600), Store("A", 7, 300, const=True)]
    sizes = [3, 2, 2, 2]
    options = [(g, s, store.with_style(s).cost) for g, store in enumerate(stores) for s in store.styles()]
    have = {"lut": 3000.0, "bram18": 50.0, "uram": 4.0}
    kinds = {k: v * 0.8 for k, v in have.items()}
    counts = memory_plan.solve(sizes, options, kinds, have)

    def value(n: list[int]) -> float:
        used = {k: sum(m * getattr(c, k) for m, (_, _, c) in zip(n, options)) for k in kinds}
        over = sum(max(0.0, used[k] - kinds[k]) / have[k] for k in kinds)
        return used["lut"] + 120 * used["bram18"] + 900 * used["uram"] + 1e8 * over

    def splits(n: int, parts: int) -> list[tuple[int, ...]]:
        return [(n,)] if parts == 1 else [(i, *r) for i in range(n + 1) for r in splits(n - i, parts - 1)]

    best = min(value([x for part in choice for x in part])
               for choice in product(*(splits(sizes[g], len(s.styles())) for g, s in enumerate(stores))))
    assert value(counts) == pytest.approx(best, rel=1e-3)
    for g, n in enumerate(sizes):
        assert sum(c for c, (o, _, _) in zip(counts, options) if o == g) == n


def test_fifos_take_what_their_memory_has():
    model = memory_plan.plan(chain(50000, 70), ZCU104, MemoryConfig(styles={"f0.RAM": ULTRA, "f1.RAM": DISTRIBUTED}))
    assert styles(model) == ["RAM=ultra", "RAM=distributed"]
    assert [ops.layer_from_node(n).depth for n in model.graph.node] == [65536, 128]
    assert [graph.stem(n) for n in model.graph.node] == ["fifo", "fifo"]
    assert '.RAM_STYLE("ultra")' in wrapper(ops.layer_from_node(model.graph.node[0]), "f0", {})


@pytest.mark.parametrize("key, style, message", [("f0.ROM", BLOCK, "RAM"), ("other.RAM", BLOCK, "memory.json")])
def test_unknown_memories_are_told(key, style, message):
    with pytest.raises(UserError, match=r"memory\.styles") as e:
        memory_plan.plan(chain(100), ZCU104, MemoryConfig(styles={key: style}))
    assert message in str(e.value.do)


def test_ultra_ram_is_only_for_devices_that_have_it():
    with pytest.raises(UserError, match="cannot be ultra") as e:
        memory_plan.plan(chain(100), Z2, MemoryConfig(styles={"f0.RAM": ULTRA}))
    assert "has no UltraRAM" in e.value.why
    unknown = memory_plan.plan(chain(*[50000] * 3), "xc7a200tfbg484-1")
    assert ULTRA not in "".join(styles(unknown)) and memory_plan.report(unknown, "xc7a200tfbg484-1")["fits"] is None


def test_styles_of_fifos_wait_for_their_depths():
    """A folded graph has no FIFOs yet, an explored one shallow ones: other names are refused before sizing."""
    config = MemoryConfig(styles={"a_out0_fifo.RAM": ULTRA})
    model = chain(2)
    model.graph.node[0].name = "a_out0_fifo"
    memory_plan.check(model, config, ZCU104)
    assert styles(memory_plan.plan(model, ZCU104, config, sized=False)) == [""]
    memory_plan.use(chain(2), device_of(ZCU104), config)
    with pytest.raises(UserError, match=r"memory\.styles"):
        memory_plan.plan(model, ZCU104, config)
    for key in ("f0.ROM", "other.RAM"):
        with pytest.raises(UserError, match=r"memory\.styles"):
            memory_plan.check(model, MemoryConfig(styles={key: BLOCK}), ZCU104)


def test_only_constants_that_a_loader_can_write_become_ultra_ram():
    model = ops.new_model([("x", [1, 4096, 64], DType.from_name("INT8"))], ["y"])
    embedding = layers()["position_embedding"](dims=[4096, 64], SIMD=8)
    threshold = layers()["threshold"](dims=[4096, 64])
    for layer, ends, name in ((embedding, ("x", "z"), "pe"), (threshold, ("z", "y"), "t")):
        constants = {k: c.dtype.random(np.random.default_rng(0), (1, *c.shape)) for k, c in layer.constants().items()}
        model.graph.node.append(ops.make_node(layer, [ends[0]], [ends[1]], constants, model, name, rtl=True))
    assert styles(memory_plan.plan(model, ZCU104)) == ["PE=block", "THRESHOLD=distributed"]
    loader = dict(ultra_constants=True)
    loaded = memory_plan.plan(model, ZCU104, MemoryConfig(**loader, styles={"pe.PE": ULTRA}))
    assert styles(loaded) == ["PE=ultra", "THRESHOLD=distributed"]
    for config in (MemoryConfig(styles={"pe.PE": ULTRA}), MemoryConfig(**loader, styles={"t.THRESHOLD": ULTRA})):
        with pytest.raises(UserError, match="initial contents") as e:
            memory_plan.plan(model, ZCU104, config)
        assert ("ultra_constants" in e.value.do) == (not config.ultra_constants)


def test_devices():
    assert (device_of(ZCU104).bram18, device_of(ZCU104).uram, device_of(ZCU104).dsp) == (624, 96, 1728)
    assert device_of("xck26-sfvc784-2LV-c").uram == 64 and device_of(Z2).uram == 0 and device_of("other") is None
