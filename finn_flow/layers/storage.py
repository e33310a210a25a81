"""The memories of a kernel: declared once as :class:`Store`; estimate, RTL style parameters and report derive from it.

A store is one ``bv_ram`` (buffer) or ``bv_rom`` (constants) of the kernel, or several equal ones. Its style says what
it is made of: "distributed" (look-up tables), "block" (block RAM), "ultra" (UltraRAM), or "auto": the tool chooses.
Weights may also stay in the memory of the system and arrive as a stream ("stream").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .cost import block_rams, deepest

AUTO, DISTRIBUTED, BLOCK, ULTRA, STREAM = STYLES = ("auto", "distributed", "block", "ultra", "stream")
#: UltraRAM: depth, width
URAM = (4096, 72)


@dataclass(frozen=True)
class Cost:
    """What a memory is made of."""

    lut: float = 0.0
    bram18: int = 0
    uram: int = 0


@dataclass(frozen=True)
class Store:
    """``copies`` equal memories of ``depth`` words of ``width`` bits.

    Attributes:
        name: the kernel's parameter ``<NAME>_STYLE``, and for constants ``<NAME>_FILE``. const: constants (``bv_rom``).
        fixed: the kernel has no such parameter, the style is always "auto". plain: a register array, no ``bv_ram``.
        loadable: constants that can come from the start-up loader (the kernel has ``<NAME>_TARGET`` and a load port).
        fetched: constants of the blocks of an engine that are written set by set while it runs (rtl/bv_sets.sv).
        streamable: constants that can come as a stream (the kernel has ports ``<name>_data``, ``_valid``, ``_ready``).
    """

    name: str
    width: int
    depth: int
    const: bool = False
    copies: int = 1
    fixed: bool = False
    plain: bool = False
    loadable: bool = False
    streamable: bool = False
    fetched: bool = False
    style: str = AUTO

    @property
    def bits(self) -> int:
        return self.width * self.depth * self.copies

    @property
    def rom(self) -> bool:
        """Whether nothing is ever written into it."""
        return self.const and not self.fetched

    @property
    def kind(self) -> str:
        return "const" if self.const else "buffer"

    def styles(self, ultra_constants: bool = False) -> tuple[str, ...]:
        """Styles that this store can have. UltraRAM has no initial contents: constants there must be loadable."""
        if self.fixed:
            return (AUTO,)
        ultra = not self.const or self.fetched or (ultra_constants and self.loadable)
        return (DISTRIBUTED, BLOCK, ULTRA) if ultra else (DISTRIBUTED, BLOCK)

    @property
    def legal(self) -> tuple[str, ...]:
        """Every style that the kernel has."""
        return (*self.styles(ultra_constants=True), STREAM) if self.streamable else self.styles(ultra_constants=True)

    @property
    def chosen(self) -> str:
        """The style, that which the tool chooses for "auto"."""
        if self.style != AUTO:
            return self.style
        return BLOCK if _automatic_block(self) else DISTRIBUTED

    @property
    def cost(self) -> Cost:
        """Resources, as the device maps the memory (evidence level: estimate, fitted to Yosys)."""
        style, n = self.chosen, self.copies
        if style == STREAM:
            return Cost()
        if style == ULTRA and self.const:  # a loader writes whole words
            return Cost(0, 0, n * -(-self.width // URAM[1]) * -(-self.depth // URAM[0]))
        if style == ULTRA:
            return Cost(n * ultra_luts(self.width, self.depth), 0, n * ultra_rams(self.width, self.depth))
        if style == BLOCK:
            return Cost(n * block_luts(self.width, self.depth), n * block_rams(self.width, self.depth))
        return Cost(n * (rom_luts if self.rom else ram_luts)(self.width, self.depth))

    def with_style(self, style: str) -> Store:
        return replace(self, style=style)


def slot_stores(segments: int, words: int) -> tuple[Store, ...]:
    """List of free places and table of places of a buffer (``bv_slots``) of ``words`` words for frames of segments."""
    bits = max(1, (words - 1).bit_length())
    slots = segments + min(2, segments)
    return (Store("FREE", bits, slots, fixed=True, style=DISTRIBUTED),
            Store("TABLE", bits, 2 * segments, fixed=True, style=DISTRIBUTED))


def pack(width: int) -> int:
    """Words that share a row of UltraRAM (as in bv_ram)."""
    return 8 if width <= 9 else 4 if width <= 18 else 2 if width <= 36 else 1


def ultra_rams(width: int, depth: int) -> int:
    """UltraRAMs of a buffer: 4096 rows of 72 bits each."""
    return -(-width // URAM[1]) * -(-depth // pack(width) // URAM[0])


def ultra_luts(width: int, depth: int) -> float:
    """Look-up tables around a buffer in UltraRAM: the word's place in its row, and several blocks in depth."""
    words = pack(width)
    blocks = -(-depth // words // URAM[0])
    select = 0 if words == 1 else width * words / 4 + 2 * words
    return select + (0 if blocks == 1 else min(width, 72) * words * blocks / 3)


def block_luts(width: int, depth: int) -> float:
    """Look-up tables that join block RAMs in depth."""
    blocks = -(-depth // deepest(width, depth))
    return 0.0 if blocks == 1 else width * blocks / 3 + 2 * blocks


def ram_luts(width: int, depth: int) -> float:
    """Look-up tables as memory: RAM32M16 holds 14 bits in 8 of them, RAM64M8 7 bits; then multiplexers."""
    if depth <= 32:
        return -(-width // 14) * 8
    blocks = -(-depth // 64)
    return -(-width // 7) * 8 * blocks + (0 if blocks == 1 else width * (blocks - 1) / 2.1 + blocks)


def rom_luts(width: int, depth: int) -> float:
    """Constants as logic: a LUT6 holds 64 words of one bit, or 32 of two bits; MUXF7 to MUXF9 join up to eight."""
    if depth <= 512:
        return width * (0.5 if depth <= 32 else -(-depth // 64))
    return width * depth / 64 * 1.25


def _automatic_block(store: Store) -> bool:
    """Whether Yosys takes block RAM for "auto": its prices are 129 a block, 1 a look-up table, 16 a RAM64M8."""
    width, depth = store.width, store.depth
    cells = width / 14 if depth <= 32 else width / 7 * -(-depth // 64)
    return (rom_luts(width, depth) if store.rom else 16 * cells) > 129 * block_rams(width, depth)
