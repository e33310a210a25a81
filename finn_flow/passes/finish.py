"""Bookkeeping after the layer passes: remove reshapes, give every stream one shape, insert duplicates."""

from __future__ import annotations

import re
from math import prod

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from .. import ops
from ..layers.registry import layers
from .match import Graph, LoweringError, label

_FREE = {"dims": 0, "token_dims": 1}  # fields that hold a stream's shape, without so many last axes


def leftovers(model: ModelWrapper) -> list[str]:
    """Names and reasons of the nodes that no pass turned into hardware."""
    g, out = Graph(model), []
    for n in g.nodes():
        if ops.is_layer(n) or n.op_type == "Reshape":
            continue
        fed = [t for t in n.input if t in g.inputs or ((p := g.producer.get(t)) is not None
               and (ops.is_layer(p) or p.op_type == "Reshape" or p.op_type == "Quant"))]
        if fed or n.op_type in ("Quant", "BipolarQuant"):
            out.append(f"{label(n)}: no hardware layer computes this"
                       + (f" (its input {fed[0]} is a quantized tensor)" if fed else ""))
    return out


def remove_reshapes(model: ModelWrapper) -> None:
    """Drop Reshapes between hardware layers; a stream has the shape that its producer gives it.

    Raises:
        LoweringError: something else than hardware layers and order-keeping reshapes is left.
    """
    g = Graph(model)
    left = leftovers(model)
    if left:
        raise LoweringError("nodes are left that have no hardware form:\n  " + "\n  ".join(left[:12])
                            + (f"\n  and {len(left) - 12} more" if len(left) > 12 else ""))
    alias: dict[str, str] = {}
    for n in g.nodes():
        if n.op_type == "Reshape":
            alias[n.output[0]] = alias.get(n.input[0], n.input[0])
        elif ops.is_layer(n):
            for k, t in enumerate(n.input):
                n.input[k] = alias.get(t, t)
    for o in model.graph.output:
        if o.name in alias:
            rename(g, alias[o.name], o.name)
    nodes = [n for n in model.graph.node if n.op_type != "Reshape"]
    for n in [n for n in model.graph.node if n.op_type == "Reshape"]:
        model.graph.node.remove(n)
    if any(not ops.is_layer(n) for n in nodes):
        raise LoweringError("nodes are left that have no hardware form: "
                            + ", ".join(label(n) for n in nodes if not ops.is_layer(n)))
    Graph(model).sweep()
    unify_shapes(model)


def rename(g: Graph, old: str, new: str) -> None:
    """Rename a tensor everywhere."""
    for n in g.nodes():
        if n.op_type == "Reshape" and n.output[0] == new:
            continue
        for names in (n.input, n.output):
            for k, t in enumerate(names):
                if t == old:
                    names[k] = new


def unify_shapes(model: ModelWrapper) -> None:
    """Forward propagation of stream shapes into the layers whose leading dimensions are free; checks the others."""
    shapes = {i.name: tuple(model.get_tensor_shape(i.name))[1:] for i in model.graph.input}
    for node in model.graph.node:
        layer = ops.layer_from_node(node)
        first = shapes[node.input[0]]
        for name, cut in _FREE.items():
            if name in type(layer).model_fields:
                dims = list(first[: len(first) - cut]) or [1]
                layer = type(layer)(**{**layer.model_dump(), name: dims})
        if layer.stem == "position_embedding":
            reshape_constant(model, node, layer)
        ops.set_layer(node, layer)
        for k, (t, st) in enumerate(zip(node.input, layer.inputs())):
            have = shapes[t]
            if prod(have[:-1]) != st.tokens or have[-1] != st.channels:
                raise LoweringError(f"{label(node)}: input {k} has shape {have}, the layer takes {st.dims}")
        for t, st in zip(node.output, layer.outputs()):
            shapes[t] = st.dims
            model.set_tensor_shape(t, [1, *st.dims])


def reshape_constant(model: ModelWrapper, node: NodeProto, layer) -> None:
    """A position embedding has the shape of its stream."""
    (const,) = layer.constants().values()
    v = model.get_initializer(node.input[1])
    model.set_initializer(node.input[1], v.reshape(v.shape[0], *const.shape))


def insert_duplicates(model: ModelWrapper) -> int:
    """A `duplicate` layer behind every tensor with several consumers; number inserted."""
    g, done = Graph(model), 0
    names = [i for i in g.inputs] + [t for n in model.graph.node for t in n.output]
    for t in names:
        uses = [(n, k) for n in g.consumers(t) for k, i in enumerate(n.input) if i == t]
        if len(uses) + (t in g.outputs) < 2:
            continue
        if t in g.outputs:
            raise LoweringError(f"tensor {t} is a graph output and also used inside")
        n0 = uses[0][0]
        k0 = uses[0][1]
        stream = ops.layer_from_node(n0).inputs()[k0]
        exp = getCustomOp(n0).exponents()[0][k0]
        p = g.producer.get(t)
        dims = ops.layer_from_node(p).outputs()[list(p.output).index(t)].dims if p is not None else stream.dims
        dtype = ops.layer_from_node(p).outputs()[list(p.output).index(t)].dtype if p is not None else stream.dtype
        layer = layers()["duplicate"](dims=list(dims), dtype=dtype.name, copies=len(uses))
        outs = [f"{t}_copy{i}" for i in range(len(uses))]
        source = f"{p.name}_out{list(p.output).index(t)}" if p is not None else "in0"
        node = ops.make_node(layer, [t], outs, {}, model, f"{source}_fork", exp, exp)
        for (n, k), o in zip(uses, outs):
            n.input[k] = o
        at = next((i for i, n in enumerate(model.graph.node) if p is not None and t in n.output), -1)
        model.graph.node.insert(at + 1, node)
        done += 1
    Graph(model).sweep()
    return done


def remove_duplicates(model: ModelWrapper) -> int:
    """Inverse of :func:`insert_duplicates`."""
    found = [n for n in model.graph.node if ops.is_layer(n) and ops.layer_class(n).stem == "duplicate"]
    alias = {o: n.input[0] for n in found for o in n.output}
    for n in model.graph.node:
        for k in range(len(n.input)):
            while n.input[k] in alias:
                n.input[k] = alias[n.input[k]]
    for n in found:
        model.graph.node.remove(n)
    Graph(model).sweep()
    return len(found)


def name_nodes(model: ModelWrapper) -> None:
    """Number in stream order the nodes named after their kind alone; others keep their place in the network."""
    count: dict[str, int] = {}
    rename_to: dict[str, str] = {}
    for n in model.graph.node:
        stem = ops.layer_class(n).stem
        new = n.name
        if re.fullmatch(rf"{stem}_\d+", n.name):
            new = f"{stem}_{count.get(stem, 0)}"
            count[stem] = count.get(stem, 0) + 1
        for k in range(len(ops.stream_inputs(n)), len(n.input)):
            const = list(ops.layer_from_node(n).constants())[k - len(ops.stream_inputs(n))]
            rename_to[n.input[k]] = f"{new}_{const}"
            n.input[k] = rename_to[n.input[k]]
        n.name = new
    for i in model.graph.initializer:
        i.name = rename_to.get(i.name, i.name)
    for v in model.graph.value_info:
        v.name = rename_to.get(v.name, v.name)
    for a in model.graph.quantization_annotation:
        a.tensor_name = rename_to.get(a.tensor_name, a.tensor_name)
