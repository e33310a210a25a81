"""Values and integers: golden models of nodes and whole graphs, on any number of frames at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from bhvit.errors import UserError

from ..layers.base import Constants, Layer
from ..streams import Stream
from .nodes import is_layer, layer_from_node, layer_of, stream_inputs


class NotInteger(UserError, ValueError):
    """A tensor holds values that are no integers at the exponent a node expects: the lowering is wrong there."""


def to_integers(model: ModelWrapper) -> ModelWrapper:
    """Leave the value domain: every stream tensor holds integers, all exponents are 0, tensors carry integer types.

    Raises:
        ValueError: the graph has a node that is no hardware layer, or two ends of a tensor disagree on its exponent.
    """
    exps: dict[str, tuple[int, str]] = {}
    for node in model.graph.node:
        if not is_layer(node):
            raise ValueError(f"{node.name} ({node.op_type}) is not a hardware layer")
        inst = getCustomOp(node)
        e_in, e_out = inst.exponents()
        for t, e in [*zip(stream_inputs(node), e_in), *zip(node.output, e_out)]:
            if exps.setdefault(t, (e, node.name))[0] != e:
                raise ValueError(f"tensor {t}: {exps[t][1]} takes exponent {exps[t][0]}, {node.name} takes {e}")
        inst.set_nodeattr("in_exp", [0] * len(e_in))
        inst.set_nodeattr("out_exp", [0] * len(e_out))
    annotate(model)
    return model


def annotate(model: ModelWrapper) -> None:
    """Write the declared shapes and integer types to all stream tensors of a graph in the integer domain."""
    for node in model.graph.node:
        layer = layer_from_node(node)
        for t, st in [*zip(node.input, layer.inputs()), *zip(node.output, layer.outputs())]:
            shape = model.get_tensor_shape(t)
            model.set_tensor_shape(t, [shape[0] if shape else 1, *st.dims])
            model.set_tensor_datatype(t, DataType[st.dtype.name])


def to_int(x: np.ndarray, st: Stream, exp: int, where: str) -> np.ndarray:
    """Integers (F, *dims) of a stream's values (integer * 2**exp). Raises NotInteger, naming ``where``."""
    v = np.asarray(x)
    if exp:
        v = v.astype(np.float64) * 2.0**-exp
    i = np.rint(v).astype(np.int64)
    if not np.array_equal(i, v):
        raise NotInteger(f"{where}: values are no multiples of 2^{exp}")
    if i.size and (i.min() < st.dtype.min or i.max() > st.dtype.max or (st.dtype.bipolar and (i == 0).any())):
        raise NotInteger(f"{where}: values in [{i.min()}, {i.max()}] (integers at exponent {exp}) do not fit "
                         f"{st.dtype.name}")
    return i.reshape(-1, *st.dims)


def run_golden(node: NodeProto, layer: Layer, constants: Constants, inputs: Sequence[np.ndarray],
               e_in: Sequence[int], e_out: Sequence[int]) -> list[np.ndarray]:
    """Golden model of one node on value-domain inputs; float64 for nonzero exponents, else int64."""
    ints = [to_int(x, st, e, f"{node.name} input {i}")
            for i, (x, st, e) in enumerate(zip(inputs, layer.inputs(), e_in))]
    outs = layer.golden(ints, constants)
    return [y * 2.0**e if e else y for y, e in zip(outs, e_out)]


def execute(model: ModelWrapper, inputs: dict[str, np.ndarray], *, keep: Iterable[str] | None = None,
            ) -> dict[str, np.ndarray]:
    """Run a graph of hardware layers with their golden models on any number of frames at once.

    Args:
        inputs: (F, *dims) by graph input name. keep: tensors to return besides the graph outputs; "*" in it: all.
        Tensors inside an engine that blocks share come as (F, rounds, *dims).
    Raises:
        NotInteger: a tensor does not hold what the consumer declares.
    """
    wanted = set(keep or ()) | {o.name for o in model.graph.output}
    everything = "*" in wanted
    nodes = list(model.graph.node)
    last = {t: i for i, n in enumerate(nodes) for t in n.input}
    done: set[int] = set()
    ctx = dict(inputs)
    for i, node in enumerate(nodes):
        if i in done:
            continue
        layer, constants = layer_of(node, model)
        if layer.stem == "loop" and layer.rounds > 1:
            body = _engine(nodes, i)
            done.update(body)
            ctx.update(_run_engine(model, node, layer.rounds, [nodes[j] for j in body], ctx, wanted, everything))
        else:
            e_in, e_out = getCustomOp(node).exponents()
            outs = run_golden(node, layer, constants, [ctx[t] for t in stream_inputs(node)], e_in, e_out)
            ctx.update(zip(node.output, outs))
        if not everything:
            for t in {*node.input, *node.output}:
                if last.get(t, i) <= i and t not in wanted:
                    ctx.pop(t, None)
    return ctx if everything else {t: ctx[t] for t in wanted if t in ctx}


def _engine(nodes: list[NodeProto], gate: int) -> list[int]:
    """Indices of the nodes between the gate of an engine and its return, in stream order."""
    inside, found = {nodes[gate].output[0]}, []
    for j in range(gate + 1, len(nodes)):
        if inside & set(nodes[j].input):
            found.append(j)
            inside.update(nodes[j].output)
    return found


def _run_engine(model: ModelWrapper, gate: NodeProto, rounds: int, body: list[NodeProto], ctx: dict[str, np.ndarray],
                wanted: set[str], everything: bool) -> dict[str, np.ndarray]:
    """What an engine puts out: its result, and of its inside what is wanted, (F, rounds, *dims)."""
    new, back = stream_inputs(gate)
    x, kept = ctx[new], {}
    for r in range(rounds):
        local = {gate.output[0]: x}
        for node in body:
            layer, constants = layer_of(node, model)
            constants = {k: v[r:r + 1] for k, v in constants.items()}
            e_in, e_out = getCustomOp(node).exponents()
            outs = run_golden(node, layer.of_set(r), constants, [local[t] for t in stream_inputs(node)], e_in, e_out)
            local.update(zip(node.output, outs))
        for t, v in local.items():
            if everything or t in wanted:
                kept.setdefault(t, []).append(v)
        x = local[back]
    return {gate.output[1]: x, **{t: np.stack(v, axis=1) for t, v in kept.items()}}
