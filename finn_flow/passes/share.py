"""One engine for the identical blocks of a stage.

The blocks of a stage differ only in their constants. :func:`share` keeps the first block's layers, gives each the
constants of all blocks as sets, and puts a gate (layer ``loop``) in front: every frame passes the engine once per
block. Where blocks quantize with different steps, their shifts are made equal exactly: ``(m*a + o) >> s`` is
``(2^d*m*a + 2^d*o) >> (s+d)``. What cannot be absorbed in constants (scales of residuals, the epsilon of a layer norm)
becomes a constant per set.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from onnx import NodeProto
from pydantic import ValidationError
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from .. import graph, ops
from ..layers.base import Constants, FoldingError, Layer
from ..layers.registry import layers
from .unify import CannotShare, unify

#: frames at most under way in an engine
IN_FLIGHT = 4


def stages_with_blocks(model: ModelWrapper) -> dict[int, int]:
    """Number of blocks by stage, as the nodes' names say."""
    found: dict[int, int] = {}
    for n in model.graph.node:
        if m := re.match(r"stage(\d+)_block(\d+)(?:to(\d+))?_", n.name):
            stage, last = int(m[1]), int(m[3] or m[2])
            found[stage] = max(found.get(stage, 0), last)
    return dict(sorted(found.items()))


def share_stages(model: ModelWrapper, groups: Mapping[int, list[int]], in_flight: Mapping[int, int]) -> ModelWrapper:
    """:func:`share` for stages by number; ``in_flight``: by stage, :data:`IN_FLIGHT` where nothing is said."""
    for stage, numbers in groups.items():
        share(model, stage, numbers, in_flight.get(stage, IN_FLIGHT))
    return model


def share(model: ModelWrapper, stage: int, groups: list[int] | None = None,
          in_flight: int = IN_FLIGHT) -> ModelWrapper:
    """Give the blocks of one stage engines that they share.

    Args:
        model: specialized graph of integers with duplicates, before folding; changed and returned.
        groups: numbers of successive blocks that share an engine, e.g. [4, 2] (powers of two fit foldings best);
            default: one engine for all. A group of one stays as it is. in_flight: frames under way in an engine.
    Raises:
        UserError: the stage has no two blocks, or they differ in more than constants; the message names the layers.
    """
    blocks = stages_with_blocks(model).get(stage, 0)
    where = f"stage {stage}"
    groups = [blocks] if groups is None else groups
    if blocks < 2:
        stages = ", ".join(str(s) for s, n in stages_with_blocks(model).items() if n > 1)
        raise UserError("There is nothing to share.", where, f"the stage has {blocks or 'no'} block",
                        f"name stages with two blocks or more: {stages or 'there are none'}")
    if sum(groups) != blocks or min(groups) < 1:
        raise UserError("The groups of blocks that share engines do not fit the stage.", where,
                        f"{' + '.join(map(str, groups))} is not {blocks}", "name groups of successive blocks, e.g. "
                        f"[{blocks - 1}, 1]")
    first = 1
    for number in groups:
        if number > 1:
            _share(model, stage, first, number, in_flight)
        first += number
    return model


def _share(model: ModelWrapper, stage: int, start: int, blocks: int, in_flight: int) -> None:
    """One engine for blocks start .. start + blocks - 1."""
    where = f"stage {stage}"
    try:
        entries = [_entry(model, stage, b) for b in range(start, start + blocks)]
        last = start + blocks - 1
        more = stages_with_blocks(model)[stage] > last
        end = _entry(model, stage, last + 1) if more else _end(model, stage, last)
        bodies = [_body(model, x, y) for x, y in zip(entries, [*entries[1:], end])]
        pairs = [_pair(bodies[0], entries[0], body, x) for body, x in zip(bodies[1:], entries[1:])]
        made = _merge(model, f"stage{stage}_block{start}", bodies[0], pairs, entries[0], entries[1], blocks, in_flight)
    except CannotShare as e:
        raise UserError("The blocks of a stage cannot share one engine.", where, str(e),
                        f"take {stage} out of `share`") from e
    gone = {n.name for body in bodies for n in body}
    gate = made[0]
    kept: list[NodeProto] = []
    for n in model.graph.node:
        if n.name in gone:
            continue
        c = NodeProto()
        c.CopyFrom(n)
        for i, t in enumerate(c.input):
            if t == end:
                c.input[i] = gate.output[1]
        kept.append(c)
    for o in model.graph.output:
        if o.name == end:
            raise UserError("A shared stage cannot be the end of the network.", where)
    del model.graph.node[:]
    model.graph.node.extend([*kept, *made])
    graph.sort(model)
    used = {t for n in model.graph.node for t in n.input}
    for t in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(t)


def _producers(model: ModelWrapper) -> dict[str, NodeProto]:
    return {t: n for n in model.graph.node for t in n.output}


def _origin(tensor: str, producers: dict[str, NodeProto]) -> str:
    """The tensor behind duplicates."""
    while tensor in producers and graph.stem(producers[tensor]) == "duplicate":
        tensor = producers[tensor].input[0]
    return tensor


def _boundary(model: ModelWrapper, stage: int, block: int) -> set[str]:
    """Streams between the nodes named after a block and others; forks and row buffers may be named after producers."""
    producers, prefix = _producers(model), f"stage{stage}_block{block}_"
    found = set()
    for n in model.graph.node:
        for t in map(lambda t: _origin(t, producers), ops.stream_inputs(n)):
            if n.name.startswith(prefix) != (t in producers and producers[t].name.startswith(prefix)):
                found.add(t)
    return found


def _ancestors(tensor: str, producers: dict[str, NodeProto]) -> set[str]:
    """The streams that a stream is made from, itself included."""
    found, todo = {tensor}, [tensor]
    while todo:
        t = todo.pop()
        for s in ops.stream_inputs(producers[t]) if t in producers else ():
            if s not in found:
                found.add(s)
                todo.append(s)
    return found


def _entry(model: ModelWrapper, stage: int, block: int) -> str:
    """The one stream that enters a block: all others that cross its boundary follow from it."""
    found, producers = _boundary(model, stage, block), _producers(model)
    for t in found:
        if all(t in _ancestors(o, producers) for o in found):
            return t
    raise CannotShare(f"block {block} has several inputs among {', '.join(sorted(found))}")


def _end(model: ModelWrapper, stage: int, block: int) -> str:
    """The one stream that leaves the last block: all others that cross its boundary lead to it."""
    found, producers = _boundary(model, stage, block), _producers(model)
    prefix = f"stage{stage}_block{block}_"
    inside = {t for t in found if t in producers and producers[t].name.startswith(prefix)}
    for t in inside:
        if found & inside <= _ancestors(t, producers):
            return t
    raise CannotShare(f"block {block} has several outputs among {', '.join(sorted(found))}")


def _body(model: ModelWrapper, start: str, end: str) -> list[NodeProto]:
    """The nodes between two tensors, in stream order."""
    inside, body = {start}, []
    for n in model.graph.node:
        if inside & set(ops.stream_inputs(n)):
            body.append(n)
            inside.update(t for t in n.output if t != end)
    needed, kept = {end}, []
    for n in reversed(body):
        if needed & set(n.output):
            kept.insert(0, n)
            needed.update(ops.stream_inputs(n))
    return kept


def _pair(first: list[NodeProto], x: str, other: list[NodeProto], y: str) -> dict[str, NodeProto]:
    """The node of ``other`` that does what each node of ``first`` (by name) does: a walk along both ones' streams."""
    def consumers(body: list[NodeProto]) -> dict[str, list[tuple[int, NodeProto]]]:
        out: dict[str, list[tuple[int, NodeProto]]] = {}
        for n in body:
            for port, t in enumerate(ops.stream_inputs(n)):
                out.setdefault(t, []).append((port, n))
        return out

    a, b = consumers(first), consumers(other)
    found: dict[str, NodeProto] = {}
    todo = [(x, y)]
    while todo:
        s, t = todo.pop(0)
        ones, twos = a.get(s, []), b.get(t, [])
        if [(p, graph.stem(n)) for p, n in ones] != [(p, graph.stem(n)) for p, n in twos]:
            raise CannotShare(f"`{s}` and `{t}` go to different layers")
        for (_, n), (_, m) in zip(ones, twos):
            if n.name in found:
                if found[n.name].name != m.name:
                    raise CannotShare(f"{n.name} matches {found[n.name].name} and {m.name}")
                continue
            found[n.name] = m
            todo += zip(n.output, m.output)
    if len(found) != len(first) or len({m.name for m in found.values()}) != len(other):
        missing = Counter(graph.stem(n) for n in first) - Counter(graph.stem(n) for n in other)
        raise CannotShare(f"the blocks have {len(first)} and {len(other)} layers ({dict(missing)})")
    return found


def _merge(model: ModelWrapper, block: str, body: list[NodeProto], pairs: list[dict[str, NodeProto]], entry: str,
           exit_: str, rounds: int, in_flight: int) -> list[NodeProto]:
    """The gate and the engine's nodes, which are RTL or HLS as those of the first block."""
    engine = f"{block}to{int(block.rpartition('block')[2]) + rounds - 1}"
    gate = f"{engine}_gate"
    into, out, back = f"{gate}_in", f"{gate}_out", f"{gate}_back"
    p = _producers(model)[entry]
    st = ops.layer_from_node(p).outputs()[list(p.output).index(entry)]
    loop = layers()["loop"](dims=list(st.dims), dtype=st.dtype.name, rounds=rounds, in_flight=in_flight)
    nodes = [ops.make_node(loop, [entry, back], [into, out], {}, model, gate, rtl=True)]
    rename = {entry: into, exit_: back}
    for n in body:
        rename |= {t: f"{t}_shared" for t in n.output if t != exit_}
    for n in body:
        group = [ops.layer_of(m, model) for m in (n, *(pair[n.name] for pair in pairs))]
        layer, constants = _unified(n.name, group, rounds)
        name = n.name.replace(f"{block}_", f"{engine}_")
        if name == n.name:  # named after a producer in front of the block
            name = f"{engine}_entry_{graph.stem(n)}"
        nodes.append(ops.make_node(layer, [rename[t] for t in ops.stream_inputs(n)], [rename[t] for t in n.output],
                                   constants, model, name, rtl=True))
        if ops.implementation(n) == "hls":
            ops.implement(nodes[-1], "hls")
    return copy.deepcopy(nodes)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return str(error)


def _unified(name: str, group: list[tuple[Layer, Constants]], rounds: int) -> tuple[Layer, Constants]:
    try:
        layer, each = unify([g[0] for g in group], [g[1] for g in group])
    except CannotShare as e:
        raise CannotShare(f"{name}: {e}") from None
    except (FoldingError, ValueError) as e:  # the kernel has no such widths: a declaration refuses them
        raise CannotShare(f"{name}: {_reason(e)}") from None
    constants = {k: np.concatenate([c[k] for c in each]) for k in each[0]}
    fields = {"passes": rounds} | ({"sets": rounds, "repeat": 0} if constants else {"sets": 1})
    return type(layer)(**{**layer.model_dump(), **fields}), constants
