"""Foldings that fit a device: prices follow scarcity.

A folding that is cheapest at fixed prices may need twice the block RAM of a device and half of its look-up tables.
:func:`fit` chooses foldings again and again, each time with the prices of what exceeds its budget raised and of what is
left over lowered (a subgradient method on the Lagrangian of the budgets), and keeps the best. What a folding needs is
told by two counts: at the prices of its round, which lead the prices on, and by the memory plan, which chooses the
best: it moves memories to what is left, and prices do not.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from . import folding, graph, memory_plan, ops
from .config import MemoryConfig
from .devices import Device
from .prices import Prices, cheapest

KINDS = ("lut", "bram18", "uram", "dsp")
#: rounds of prices, and the exponent of the first step
ROUNDS, STEP = 12, 0.5


@dataclass(frozen=True)
class Fit:
    """Outcome: foldings, what they need, the share of each budget, and the prices that led there."""

    foldings: dict[str, dict[str, int]]
    use: dict[str, float]
    share: dict[str, float]
    prices: Prices

    @property
    def worst(self) -> float:
        """Largest share of a budget; at most 1 when the design fits."""
        return max(self.share.values())


def budgets(device: Device, config: MemoryConfig) -> dict[str, float]:
    """What folding may use: the shares of the build file less what FIFOs will take, whose depths come later."""
    left = 1 - config.fifo_share
    shares = {"lut": config.lut_share, "bram18": config.share, "uram": config.share, "dsp": config.lut_share}
    return {k: shares[k] * getattr(device, k) * (1 if k == "dsp" else left) for k in KINDS}


def usage(model: ModelWrapper, prices: Prices) -> dict[str, float]:
    """Resources of a folded graph, every memory made of what is cheapest (evidence level: estimate)."""
    use = dict.fromkeys(KINDS, 0.0)
    for n in model.graph.node:
        layer = ops.layer_from_node(n)
        use["dsp"] += layer.resources().dsp
        use["lut"] += layer.logic_lut
        for s in layer.styled_stores():
            c = cheapest(s, prices)
            for k in ("lut", "bram18", "uram"):
                use[k] += getattr(c, k)
    return use


def shares(use: dict[str, float], limits: dict[str, float]) -> dict[str, float]:
    """Part of each budget that is used."""
    return {k: use[k] / limits[k] if limits[k] else (math.inf if use[k] else 0.0) for k in KINDS}


def prices_of(device: Device, config: MemoryConfig) -> Prices:
    """First prices: equal shares of the device cost the same."""
    lut = device.lut
    return Prices(1.0, lut / max(device.dsp, 1), lut / max(device.bram18, 1), lut / max(device.uram, 1), planned=True,
                  ultra=config.may_be_ultra(device), loader=config.ultra_constants)


def fit(model: ModelWrapper, target: int, device: Device, config: MemoryConfig,
        say: Callable[[str], None] = lambda _: None, tokens: int | None = None) -> Fit:
    """The folding for ``target`` cycles that leaves the most of the scarcest resource.

    tokens: at most so many tokens per beat, where the target allows.

    Raises:
        UserError: the target cannot be met by any folding.
    """
    limits = budgets(device, config)
    room = config.model_copy(update={k: getattr(config, k) * (1 - config.fifo_share) for k in ("share", "lut_share")})
    prices, best, known = prices_of(device, config), None, {}
    for i in range(ROUNDS):
        found = folding.choose(model, target, prices, tokens)
        folded = copy.deepcopy(model)
        graph.insert_width_converters(folding.apply(folded, found))
        use = usage(folded, prices)
        share = shares(use, limits)
        key = json.dumps(found, sort_keys=True)
        if key not in known:
            known[key] = memory_plan.use(folded, device, room)
        planned = known[key]
        now = Fit(found, planned, shares(planned, limits), prices)
        say(f"  fitting: {planned['lut']:.0f} LUT, {planned['bram18']:.0f} BRAM18, {planned['uram']:.0f} URAM, "
            f"{planned['dsp']:.0f} DSP; fullest budget {now.worst:.2f}")
        if best is None or now.worst < best.worst:
            best = now
        step = STEP / (1 + i / 4)
        prices = prices.raised({k: min(2.0, max(0.6, share[k])) ** step for k in KINDS})
    assert best is not None
    return best
