"""Table look-ups of a quantized tensor."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .fixed import Fixed, bits_for
from .match import Graph, LoweringError, label


def gather(g: Graph, tensor: str) -> tuple[np.ndarray, Fixed, str] | None:
    """(table, table as integers, index tensor) when the tensor is ``table[index]`` with a constant vector."""
    node = g.producer.get(tensor)
    if node is None or node.op_type not in ("Gather", "GatherND") or g.const(node.input[0]) is None:
        return None
    table = g.const(node.input[0])
    if g.const(node.input[1]) is not None or table.ndim != 1:
        return None
    return table, g.fixed(node.input[0]), node.input[1]


def lower_lookup(low: Lowering) -> int:
    """Gather of a constant vector at an index that is linear in one quantized tensor."""
    g, done = low.g, 0
    for node in g.nodes("Gather", "GatherND"):
        out = node.output[0]
        if out not in g.producer or (found := gather(g, out)) is None:
            continue
        _, table, index = found
        f = low.form(index)
        typed = low.type_of(f.terms[0].root) if len(f.terms) == 1 else None
        if typed is None or f.terms[0].index is not None:
            continue
        (dtype, e), where = typed, label(node)
        k, c = f.terms[0].coef.scaled(e), f.const
        if k.i.size != 1 or c.i.size != 1 or not dtype.signed or dtype.bipolar:
            raise LoweringError(f"{where}: its index must be one signed tensor times a constant plus a constant")
        positions = np.arange(dtype.min, dtype.max + 1) * float(k.value) + float(c.value)
        if (positions != np.rint(positions)).any() or positions.min() < 0 or positions.max() >= table.i.size:
            raise LoweringError(f"{where}: its index runs from {positions[0]} to {positions[-1]}, the table has "
                                f"{table.i.size} entries")
        values = table.i[positions.astype(np.int64)]
        layer = low.layer("lookup", where, dims=list(g.shape(out))[1:], in_bits=dtype.bits, out_bits=bits_for(values))
        low.emit_at(layer, [f.terms[0].root], [out], {"table": values}, where, [e], [table.e])
        done += 1
    return done
