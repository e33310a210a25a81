"""Constants in look-up tables, mapped by rule instead of by the optimizer of Yosys.

A column of a constant memory of 64 words is one LUT6 whose contents are the column, and two columns of 32 words are one
LUT6_2, since they have all address bits in common. Yosys makes gates of such memories and maps those, to about twice as
many look-up tables. A rule holds only for a memory with exactly the contents of the image that is simulated; any other
memory goes its usual way.
"""

from __future__ import annotations

import numpy as np

from .layers.base import Constants, Layer
from .layers.storage import DISTRIBUTED

#: words up to which a rule is made, by family: as many LUT6 as the multiplexers of the device join
DEEPEST = {"xcup": 512, "xc7": 256}
#: what joins two halves of so many words each
_JOINS = {64: "MUXF7", 128: "MUXF8", 256: "MUXF9"}
_PORTS = ("RD_CLK", "RD_EN", "RD_ARST", "RD_SRST", "RD_ADDR", "RD_DATA", "WR_CLK", "WR_EN", "WR_ADDR", "WR_DATA")
_NUMBERS = ("MEMID", "SIZE", "OFFSET", "ABITS", "WIDTH", "INIT", "RD_PORTS", "RD_CLK_ENABLE", "RD_CLK_POLARITY",
            "RD_TRANSPARENCY_MASK", "RD_COLLISION_X_MASK", "RD_WIDE_CONTINUATION", "RD_CE_OVER_SRST", "RD_ARST_VALUE",
            "RD_SRST_VALUE", "RD_INIT_VALUE", "WR_PORTS", "WR_CLK_ENABLE", "WR_CLK_POLARITY", "WR_PRIORITY_MASK",
            "WR_WIDE_CONTINUATION", "_TECHMAP_CONSTMSK_RD_SRST_", "_TECHMAP_CONSTVAL_RD_SRST_",
            "_TECHMAP_CONSTMSK_RD_ARST_", "_TECHMAP_CONSTVAL_RD_ARST_")


def rules(layer: Layer, constants: Constants, family: str = "xcup") -> str:
    """Verilog for `techmap`: a module for every constant memory of an instance that is look-up tables; "" for none."""
    deepest = DEEPEST[family]
    styles = {s.name: s.chosen for s in layer.styled_stores() if s.rom}
    found = []
    for name, image in layer.memories(constants).items():
        if styles.get(name) == DISTRIBUTED and 8 < image.depth <= deepest:
            bits = np.unpackbits(image.packed(), axis=1, bitorder="little")[:, :image.width]
            varied = bits.min(0) != bits.max(0)
            found.append(rule(f"bv_rom_rule_{len(found)}", bits))
            if varied.any() and not varied.all():  # Yosys takes constant columns out of a memory, as a rule
                found.append(rule(f"bv_rom_rule_{len(found)}", bits[:, varied]))
    return "\n".join(found)


def rule(name: str, bits: np.ndarray) -> str:
    """Module ``name`` for a memory with the contents ``bits`` (words, width), 0 or 1, with one registered read port."""
    words, width = bits.shape
    address = max(1, (words - 1).bit_length())
    blocks = 1 << max(0, address - 6)
    padded = np.zeros((max(32, 64 * blocks if words > 32 else 32), width), np.uint8)
    padded[:words] = bits
    columns, inverse = np.unique(padded, axis=1, return_inverse=True)     # equal columns share their look-up tables
    body = _pairs(columns) if words <= 32 else _singles(columns, blocks)
    picked = ", ".join(f"c[{i}]" for i in np.asarray(inverse).reshape(-1)[::-1])
    # word by word: Yosys takes no token of more than some 30 kbyte
    init = ",\n      ".join(f"{width}'h{_table(row)}" for row in bits[::-1])
    parameters = "\n".join(f"  parameter {n} = 0;" for n in _NUMBERS)
    return f"""(* techmap_celltype = "$mem_v2" *)
module {name} ({', '.join(_PORTS)});
{parameters}
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input [WR_PORTS-1:0] WR_CLK;
  input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
  input [WR_PORTS*ABITS-1:0] WR_ADDR;
  localparam [{words * width - 1}:0] CONTENTS = {{
      {init}}};
  wire _TECHMAP_FAIL_ = WR_PORTS != 0 || RD_PORTS != 1 || OFFSET != 0 || SIZE != {words} || WIDTH != {width} ||
      ABITS != {address} || RD_CLK_ENABLE != 1 || RD_CLK_POLARITY != 1 || INIT !== CONTENTS ||
      _TECHMAP_CONSTMSK_RD_SRST_ != 1 || _TECHMAP_CONSTVAL_RD_SRST_ != 0 ||
      _TECHMAP_CONSTMSK_RD_ARST_ != 1 || _TECHMAP_CONSTVAL_RD_ARST_ != 0;
  wire [{max(6, address) - 1}:0] a = RD_ADDR;
  wire [{columns.shape[1] - 1}:0] c;
{body}
  wire [WIDTH-1:0] word = {{{picked}}};  // the rule is tried on memories of other widths and ports as well
  wire [WIDTH-1:0] data;
  assign RD_DATA = data;
  \\$dffe #(.WIDTH(WIDTH), .CLK_POLARITY(1'b1), .EN_POLARITY(1'b1)) register (
      .CLK(RD_CLK[0]), .EN(RD_EN[0]), .D(word), .Q(data));
endmodule
"""


def _table(column: np.ndarray) -> str:
    """Contents of a look-up table, hexadecimal."""
    return np.packbits(column, bitorder="little")[::-1].tobytes().hex()


def _constant(column: np.ndarray) -> str | None:
    return f"1'b{column[0]}" if column.min() == column.max() else None


def _pairs(columns: np.ndarray) -> str:
    """Two columns of 32 words in every LUT6_2."""
    lines, open_ = [], None
    for i, column in enumerate(columns.T):
        if (value := _constant(column)) is not None:
            lines.append(f"  assign c[{i}] = {value};")
        elif open_ is None:
            open_ = i
        else:
            init = _table(np.concatenate([columns[:, open_], column]))
            lines.append(f"  LUT6_2 #(.INIT(64'h{init})) l{i} (.O5(c[{open_}]), .O6(c[{i}]), {_ADDRESS}, .I5(1'b1));")
            open_ = None
    if open_ is not None:
        init = _table(columns[:, open_])
        lines.append(f"  LUT5 #(.INIT(32'h{init})) l{open_} (.O(c[{open_}]), {_ADDRESS});")
    return "\n".join(lines)


_ADDRESS = ", ".join(f".I{i}(a[{i}])" for i in range(5))


def _singles(columns: np.ndarray, blocks: int) -> str:
    """A LUT6 for every 64 words of a column, joined by multiplexers."""
    lines = []
    for i, column in enumerate(columns.T):
        if (value := _constant(column)) is not None:
            lines.append(f"  assign c[{i}] = {value};")
            continue
        parts = []
        for k in range(blocks):
            block = column[64 * k:64 * k + 64]
            if blocks > 1 and (value := _constant(block)) is not None:
                parts.append(value)
                continue
            out = f"c[{i}]" if blocks == 1 else f"l{i}_{k}"
            lines += [] if blocks == 1 else [f"  wire {out};"]
            lines.append(f"  LUT6 #(.INIT(64'h{_table(block)})) t{i}_{k} (.O({out}), {_ADDRESS}, "
                         ".I5(a[5]));")
            parts.append(out)
        size = 64
        while len(parts) > 1:
            joined = []
            for k in range(0, len(parts), 2):
                out = f"c[{i}]" if len(parts) == 2 else f"m{i}_{size}_{k}"
                lines += [] if len(parts) == 2 else [f"  wire {out};"]
                lines.append(f"  {_JOINS[size]} j{i}_{size}_{k} (.O({out}), .I0({parts[k]}), .I1({parts[k + 1]}), "
                             f".S(a[{(size - 1).bit_length()}]));")
                joined.append(out)
            parts, size = joined, 2 * size
    return "\n".join(lines)
