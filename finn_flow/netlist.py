"""Static timing stand-in: logic levels between registers of a Yosys netlist (``write_json``).

A look-up table, as logic or read as memory, is one level; a carry chain is one level however long it is; wide
multiplexers behind look-up tables (MUXF7 to MUXF9) are none. Registers, DSP slices (all their ports are registered),
block RAM and UltraRAM begin and end paths, and so do the ports: in a stitched design they meet registers of a FIFO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: most levels that the project allows
LIMIT = 8
_LUT = re.compile(r"LUT[1-6]|LUT6_2|INV")
_MUX = re.compile(r"MUXF[789]|BUFG")
_RAM = re.compile(r"(RAM|ROM)\d+(X|M).*|SRL.*")
_READ = re.compile(r"ADDR[A-H]|DPRA\d*|A\d*|Q|Q31")


#: cell, output of a dual look-up table, whether inside a carry chain that is counted
_Node = tuple[str, str, bool]


@dataclass(frozen=True)
class Path:
    """Longest path: its levels and the cells on it, from source to end."""

    levels: int
    cells: tuple[str, ...]


def _matters(cell: dict, port: str, out: str) -> bool:
    """Whether output ``out`` depends on input ``port``: no only where the contents of a dual look-up table say so."""
    if cell["type"] != "LUT6_2" or "INIT" not in cell.get("parameters", {}):
        return True
    table = int(cell["parameters"]["INIT"], 2)
    i, size = int(port[1]), 32 if out == "O5" else 64
    return any((table >> v & 1) != (table >> (v ^ 1 << i) & 1) for v in range(size) if v ^ 1 << i < size)


def longest_path(netlist: dict, top: str) -> Path:
    """The path with most levels in module ``top`` of a ``write_json`` netlist.

    Raises:
        ValueError: a combinational loop.
    """
    module = netlist["modules"][top]
    drivers: dict[int, tuple[str, str]] = {}                             # net -> cell, port
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                drivers.update({b: (name, port) for b in bits if isinstance(b, int)})
    levels_of: dict[_Node, int] = {}
    before: dict[_Node, _Node | None] = {}
    active: set[_Node] = set()

    def inputs(name: str) -> list[tuple[str, int]]:
        cell = module["cells"][name]
        return [(p, b) for p, bits in cell["connections"].items() if cell["port_directions"][p] == "input"
                for b in bits if isinstance(b, int)]

    def at(net: int, chained: bool = False) -> tuple[int, _Node | None]:
        """Levels until ``net`` and the node that drives it; chained: as the carry of a chain already counted."""
        if net not in drivers:
            return 0, None
        name, out = drivers[net]
        cell = module["cells"][name]
        kind = cell["type"]
        carry = kind.startswith("CARRY")
        if not (carry or _LUT.fullmatch(kind) or _MUX.fullmatch(kind) or _RAM.fullmatch(kind)):
            return 0, None
        node = (name, out if kind == "LUT6_2" else "", carry and chained)
        if node not in levels_of:
            if node in active:
                raise ValueError(f"combinational loop through {name} ({kind})")
            active.add(node)
            best: tuple[int, _Node | None] = (0, None)
            for port, b in inputs(name):
                if (_RAM.fullmatch(kind) and not _READ.fullmatch(port)) or not _matters(cell, port, out):
                    continue
                best = max(best, at(b, carry and port == "CI"), key=lambda f: f[0])
            active.discard(node)
            # a chain is counted at its end only: the carries below it are `chained`
            levels_of[node] = best[0] + (0 if node[2] or _MUX.fullmatch(kind) else 1)
            before[node] = best[1]
        return levels_of[node], node

    worst, last, end = 0, None, ""
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind.startswith("CARRY") or _LUT.fullmatch(kind) or _MUX.fullmatch(kind):
            continue
        for port, b in inputs(name):
            levels, node = at(b)
            if levels > worst:
                worst, last, end = levels, node, f"{name}.{port}"
    for name, port in module["ports"].items():
        if port["direction"] == "output":
            for b in port["bits"]:
                if isinstance(b, int) and (found := at(b))[0] > worst:
                    (worst, last), end = found, name
    cells = [end]
    while last is not None:
        cells.append(f"{module['cells'][last[0]]['type']} {last[0]}")
        last = before[last]
    return Path(worst, tuple(reversed(cells)))
