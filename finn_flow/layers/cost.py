"""Resource formulas shared by the declarations, fitted to Yosys results (evidence level: estimate)."""

from __future__ import annotations

#: look-up tables a bit of a multiplexer of two words (rtl/bv_util.sv, bv_mux2)
MUX_LUT = 0.5
#: RAMB18 aspect ratios: depth, width
RAMB18 = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))


def block_rams(width: int, depth: int) -> int:
    """18-kbit block RAMs of a memory, in the best aspect ratio."""
    return min(-(-width // w) * -(-depth // d) for d, w in RAMB18)


def deepest(width: int, depth: int) -> int:
    """Words of one block RAM in the aspect ratio that :func:`block_rams` takes."""
    return min(RAMB18, key=lambda r: -(-width // r[1]) * -(-depth // r[0]))[0]
