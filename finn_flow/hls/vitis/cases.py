"""What is taken through Vitis: the cases of the C simulation, or nodes of a build with their own constants."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from bhvit.errors import UserError

from ..csim import HlsCase, layer_cases
from ..network import graph_of


def kernel_cases(stems: Sequence[str], *, spread: bool = False, first: int | None = None) -> list[HlsCase]:
    """The cases that `bhvit hls csim` simulates, the same constants and data.

    Args:
        spread: all shapes and foldings, instead of the examples of the declarations. first: at most so many a layer.
    """
    from ...layers.registry import layers

    return [c for s in stems for c in layer_cases(layers()[s], quick=not spread)[:first]]


def build_cases(build: Path, wanted: Sequence[str]) -> list[HlsCase]:
    """Nodes of a build, with random inputs.

    Args:
        wanted: names of nodes or stems.
    Raises:
        UserError: there is no such build or node.
    """
    from ... import graph, ops

    model = graph_of(build)
    found = [n for n in model.graph.node if {n.name, graph.stem(n)} & set(wanted)]
    known = {x for n in model.graph.node for x in (n.name, graph.stem(n))}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise UserError(f"The build has no layer `{name}`.", build,
                            do=f"did you mean {' or '.join(near)}?" if near else "nodes are listed in "
                               "report/implementation.json")
    cases = []
    for n in found:
        layer, constants = ops.layer_of(n, model)
        cases.append(HlsCase.random(layer, n.name, constants=constants))
    return cases

