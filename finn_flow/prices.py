"""What resources are worth when foldings are compared, in look-up tables, and the cost of a layer at such prices."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .layers.base import Layer
from .layers.storage import AUTO, DISTRIBUTED, ULTRA, Cost, Store
from .memory_plan import TINY


@dataclass(frozen=True)
class Prices:
    """Prices of a look-up table, a DSP slice, a block RAM of 18 kbit and an UltraRAM.

    Attributes:
        planned: memories are priced as the cheapest of what they can be made of; otherwise as the tool makes them.
        ultra: the device has UltraRAM. loader: constants may be loaded into it.
    """

    lut: float = 1.0
    dsp: float = 60.0
    bram18: float = 120.0
    uram: float = 900.0
    planned: bool = False
    ultra: bool = False
    loader: bool = False

    def of(self, cost: Cost) -> float:
        """Price of a memory."""
        return self.lut * cost.lut + self.bram18 * cost.bram18 + self.uram * cost.uram

    @property
    def scope(self) -> Prices:
        """What decides which memories are possible, at fixed prices: equal for all rounds of a search for prices."""
        return Prices(planned=self.planned, ultra=self.ultra, loader=self.loader)

    def raised(self, factors: dict[str, float]) -> Prices:
        """Prices times the factors given."""
        return replace(self, **{k: getattr(self, k) * f for k, f in factors.items()})


DEFAULT = Prices()


def choices(store: Store, prices: Prices) -> list[Cost]:
    """What a memory can be made of on a device."""
    if not prices.planned or store.fixed or store.depth <= TINY or store.style != AUTO:
        return [store.cost]
    styles = [s for s in store.styles(prices.loader) if s != ULTRA or prices.ultra]
    return [store.with_style(s).cost for s in styles or (DISTRIBUTED,)]


def cheapest(store: Store, prices: Prices) -> Cost:
    """The cheapest of what a memory can be made of."""
    return min(choices(store, prices), key=prices.of)


@dataclass(frozen=True)
class Needs:
    """What a layer takes whatever the prices: look-up tables of its logic and of the smallest FIFOs behind its outputs,
    DSPs, and for every memory what it can be made of."""

    lut: float
    dsp: int
    memories: tuple[tuple[Cost, ...], ...]

    def at(self, prices: Prices) -> float:
        """In look-up tables, every memory made of what is cheapest."""
        return prices.lut * self.lut + prices.dsp * self.dsp + sum(min(map(prices.of, m)) for m in self.memories)


def needs(layer: Layer, scope: Prices) -> Needs:
    """Of ``scope`` only what memories can be made of counts."""
    return Needs(layer.logic_lut + sum(st.width + 8 for st in layer.outputs()), layer.resources().dsp,
                 tuple(tuple(choices(s, scope)) for s in layer.styled_stores()))


def cost(layer: Layer, prices: Prices = DEFAULT) -> float:
    """Resources in LUT equivalents, the smallest FIFOs behind the outputs included."""
    return needs(layer, prices).at(prices)
