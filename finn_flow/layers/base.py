"""The layer declaration: everything that is known about a hardware layer, in one class.

A subclass of :class:`Layer` is one file ``layers/<stem>.py``. It declares typed attributes, streams, constants, the
integer golden model, cycles, resources, RTL parameters and memory images, and examples. FINN custom ops, execution,
wrappers, parametrised tests and the documentation table are derived from it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from bhvit.errors import UserError

from ..streams import DType, Stream, pack_words
from .cost import MUX_LUT
from .storage import STREAM, Store


class FoldingError(UserError):
    """A folding, or another choice, that the layer does not have; ``do`` lists those that it has.

    No ValueError, so that it leaves a declaration's constructor as it is instead of inside pydantic's ValidationError.
    """


@dataclass(frozen=True)
class Const:
    """A constant of a layer: integer array of ``shape`` (without the leading ``sets`` axis) and element type."""

    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True)
class Memory:
    """Image of one on-chip memory: ``words`` (N, elements) of ``dtype`` packed element 0 first.

    Several fields may share a word: pass ``fields`` as a list of (elements array (N, E), dtype), lowest bits first.
    """

    fields: tuple[tuple[np.ndarray, DType], ...]

    @property
    def depth(self) -> int:
        return self.fields[0][0].shape[0]

    @property
    def width(self) -> int:
        return sum(a.shape[1] * t.bits for a, t in self.fields)

    def packed(self) -> np.ndarray:
        """Words as bytes, lowest first: uint8 (depth, bytes of a word)."""
        bits = np.concatenate(
            [np.unpackbits(pack_words(a, t), axis=1, bitorder="little")[:, : a.shape[1] * t.bits]
             for a, t in self.fields], axis=1)
        return np.packbits(bits, axis=1, bitorder="little")

    def hex_lines(self) -> list[str]:
        """One hexadecimal word a line, for ``$readmemh``."""
        data = self.packed()[:, ::-1]
        digits = (self.width + 3) // 4
        return [row.tobytes().hex()[-digits:] for row in data]


@dataclass(frozen=True)
class Resources:
    """Estimated resources of one instance (evidence level: estimate)."""

    lut: float = 0
    bram18: int = 0
    uram: int = 0
    dsp: int = 0
    bits: int = field(default=0, metadata={"doc": "memory bits, constants and buffers"})


Constants = dict[str, np.ndarray]
#: look-up tables of what fetches sets (bv_sets with its share of bv_fetch; Yosys), and of each memory that they go to
SETS_LUT = (160.0, 40.0)


class Layer(BaseModel):
    """Base of all layer declarations.

    Attributes are pydantic fields of type int, str or list[int]; they become FINN node attributes under the same name
    and RTL parameters under the upper-case name. ``PE``, ``SIMD`` and ``TP`` are foldings.

    Constants carry a leading axis of length ``sets``: an engine shared by identical blocks holds one set per block.
    Frame ``f`` uses set ``(f // repeat) % sets``; with ``repeat = 0`` the set that the engine's gate (layer ``loop``)
    says. ``passes``: how many frames the layer handles for one of the network; more than one inside such an engine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stem: ClassVar[str] = ""
    #: RTL parameters that a field does not provide: see :meth:`rtl_parameters`.
    sources: ClassVar[tuple[str, ...]] = ()
    #: other SystemVerilog files that the kernel instantiates
    #: whether the kernel takes constants of an engine's blocks set by set (see ``held``)
    fetchable: ClassVar[bool] = False
    fold_axes: ClassVar[dict[str, str]] = {}
    #: folding attribute -> name of the method or field with the extent that it must divide, or the tuple of its values

    sets: int = 1
    repeat: int = 1
    passes: int = 1
    #: sets on the chip where the others stay in the memory of the system (2; see rtl/bv_sets.sv); 0: all of them
    held: int = 0
    #: memory styles that are not "auto", e.g. "FRAME=ultra WEIGHT=block"; see :mod:`.storage`
    styles: str = ""

    @classmethod
    def op_type(cls) -> str:
        """CamelCase FINN op type of the stem."""
        return "".join(p.capitalize() for p in cls.stem.split("_"))

    # ---- to be provided by a layer -------------------------------------------------------------------------------
    @abstractmethod
    def inputs(self) -> list[Stream]:
        """Input streams: first the data, then residuals, in the order of the ports."""

    @abstractmethod
    def outputs(self) -> list[Stream]:
        """Output streams in the order of the ports."""

    def constants(self) -> dict[str, Const]:
        """Constants by name; their arrays have shape (sets, *shape)."""
        return {}

    @abstractmethod
    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        """Integer reference. inputs: int64 (F, *dims) in stream order; one array per output, likewise."""

    @abstractmethod
    def cycles(self) -> int:
        """Initiation interval of the layer in clock cycles per frame when nothing stalls it."""

    def resources(self) -> Resources:
        return Resources()

    def stores(self) -> tuple[Store, ...]:
        """Every memory of the kernel, constants and buffers; their style is "auto" where it can be chosen."""
        return ()

    def memories(self, constants: Constants) -> dict[str, Memory]:
        """Memory images by RTL parameter name (``<NAME>_FILE``)."""
        return {}

    def stream_passes(self) -> int:
        """How often a frame reads a memory that comes as a stream from its first word to its last."""
        return 1

    def rtl_parameters(self) -> dict[str, int]:
        """Parameters of ``bv_<stem>``; by default every int field in upper case."""
        return {k.upper(): v for k, v in self if isinstance(v, int) and k not in ("passes", "held")}

    @classmethod
    @abstractmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Attribute sets that drive the tests: at least three shapes and foldings."""

    # ---- derived -------------------------------------------------------------------------------------------------
    def model_post_init(self, _context: Any) -> None:
        self.check()
        if self.styles:
            self._check_styles()

    def _check_styles(self) -> None:
        known = {s.name: s for s in self.stores()}
        for name, style in self.style_map().items():
            legal = known[name].legal if name in known else ()
            if style not in legal:
                raise FoldingError(f"Memory style {name}={style} is not possible.", where=f"layer {self.stem}",
                                   do=f"choose one of {', '.join(legal)}" if legal
                                   else f"its memories: {', '.join(known) or 'none'}")

    def style_map(self) -> dict[str, str]:
        """Style by name of the memory, without those left to the tool."""
        return dict(item.split("=", 1) if "=" in item else (item, "") for item in self.styles.split())

    def styled_stores(self) -> tuple[Store, ...]:
        """:meth:`stores` with the styles of this instance."""
        chosen = self.style_map()
        return tuple(s.with_style(chosen.get(s.name, s.style)) for s in self.stores())

    @property
    def logic_lut(self) -> float:
        """Look-up tables of the layer without its memories (estimate)."""
        return self.resources().lut - sum(s.cost.lut for s in self.styled_stores())

    def total(self, lut: float, dsp: int = 0) -> Resources:
        """Resources of the layer: its logic, and its memories as they are declared."""
        stores = self.styled_stores()
        costs = [s.cost for s in stores]
        lut += SETS_LUT[0] + SETS_LUT[1] * sum(s.fetched for s in stores) if self.held else 0
        lut += sum(MUX_LUT * s.width + 7 for s in stores if s.style == STREAM)  # a FIFO of two words in front
        return Resources(lut=lut + sum(c.lut for c in costs), bram18=sum(c.bram18 for c in costs),
                         uram=sum(c.uram for c in costs), dsp=dsp, bits=sum(s.bits for s in stores))

    def check(self) -> None:
        """Raise FoldingError when a folding does not divide its extent; layers extend this."""
        if self.held and not (self.held == 2 < self.sets and self.fetchable and self.repeat == 0):
            raise FoldingError(f"held={self.held} is not possible.", where=f"layer {self.stem}",
                               do="2 where an engine has three sets or more and its kernel can fetch them; else 0")
        for axis, extent_name in self.fold_axes.items():
            extent = getattr(self, extent_name)
            extent = extent() if callable(extent) else extent
            if isinstance(extent, tuple):
                if getattr(self, axis) not in extent:
                    raise FoldingError(f"{axis}={getattr(self, axis)} is not possible.", where=f"layer {self.stem}",
                                       do=f"choose one of {', '.join(map(str, extent))}")
                continue
            check_divides(self.stem, axis, getattr(self, axis), extent_name, extent)

    def const_store(self, name: str, width: int, words: int, **more: bool) -> Store:
        """Memory of constants with ``words`` words for each set, as many sets as the chip holds."""
        if self.held:
            more = {"loadable": True, "fetched": True}
        return Store(name, width, words * (self.held or self.sets), const=True, **more)

    def random_constants(self, rng: np.random.Generator) -> Constants:
        """Random constants of the declared types; layers override where not every value makes sense."""
        return {k: c.dtype.random(rng, (self.sets, *c.shape)) for k, c in self.constants().items()}

    def random_inputs(self, rng: np.random.Generator, frames: int) -> list[np.ndarray]:
        return [st.dtype.random(rng, (frames, *st.dims)) for st in self.inputs()]

    def set_of_frame(self, frames: int) -> np.ndarray:
        """Index of the constant set of each frame (``repeat = 0``: as if every frame came alone)."""
        return (np.arange(frames) // max(1, self.repeat)) % self.sets

    def of_set(self, index: int) -> Layer:
        """The layer with one set only, that of ``index``: what an engine's layer does in one round."""
        return self.model_copy(update={"sets": 1, "repeat": 1, "passes": 1, "held": 0})

    @property
    def frame_cycles(self) -> int:
        """Cycles for one frame of the network."""
        return self.cycles() * self.passes


def check_divides(where: str, axis: str, value: int, extent_name: str, extent: int) -> None:
    if value < 1 or extent % value:
        choices = [d for d in range(1, extent + 1) if extent % d == 0]
        raise FoldingError(f"{axis}={value} does not divide {extent_name}={extent}.", where=f"layer {where}",
                           do=f"choose one of {', '.join(map(str, choices))}")


def floor_shift(x: np.ndarray, shift: int) -> np.ndarray:
    """floor(x / 2**shift) on int64 (shift >= 0)."""
    return x >> shift


def saturate(x: np.ndarray, dtype: DType) -> np.ndarray:
    return np.clip(x, dtype.min, dtype.max)
