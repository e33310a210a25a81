"""Hardware graphs: edges, order, names, and the passes between lowering and stitching.

A *streaming* graph consists of specialized layer nodes only (``Bv..._rtl`` or ``_hls``, all exponents 0), and every
stream tensor has one producer and at most one consumer. The passes here bring a lowered graph into that form:
:func:`specialize`, :func:`insert_duplicates`, :func:`insert_width_converters`, :func:`insert_fifos`. Each returns the
model it was given.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import ops
from .layers.base import FoldingError, Layer
from .layers.registry import layers
from .streams import Stream

#: stems that only move data; they are transparent when a user is told which layer is concerned
PLUMBING = ("fifo", "width_converter", "duplicate")
#: cycles between beats, at the rate of the slowest node, from which a FIFO may take a beat every other cycle only
APART = 4

#: SystemVerilog keywords: no module may have such a name
_WORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins
binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event eventually expect
export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global
highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input
inside instance int integer interconnect interface intersect join join_any join_none large let liblist library
local localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled
signed small soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1
sync_accept_on sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1
tri tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var
vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""
KEYWORDS = frozenset(_WORDS.split())


class GraphError(UserError, ValueError):
    """The graph is not what the step needs; the message names the node or tensor."""


@dataclass(frozen=True)
class Edge:
    """A stream tensor. ``source``/``sink`` are node indices, None at the boundary of the graph."""

    tensor: str
    source: int | None
    source_port: int
    sink: int | None
    sink_port: int


def edges(model: ModelWrapper) -> list[Edge]:
    """All stream tensors in the order of their producers (graph inputs first), one per consumer."""
    nodes = list(model.graph.node)
    sinks: dict[str, list[tuple[int | None, int]]] = defaultdict(list)
    for i, n in enumerate(nodes):
        for p, t in enumerate(ops.stream_inputs(n)):
            sinks[t].append((i, p))
    for p, o in enumerate(model.graph.output):
        sinks[o.name].append((None, p))
    constant = {t.name for t in model.graph.initializer}
    found = []
    sources: list[tuple[str, int | None, int]] = [
        (g.name, None, p) for p, g in enumerate(g for g in model.graph.input if g.name not in constant)]
    sources += [(t, i, p) for i, n in enumerate(nodes) for p, t in enumerate(n.output)]
    for t, source, port in sources:
        for sink, sink_port in sinks.get(t) or [(None, -1)]:
            found.append(Edge(t, source, port, sink, sink_port))
    return found


def source_stream(model: ModelWrapper, e: Edge) -> Stream | None:
    return None if e.source is None else ops.layer_from_node(model.graph.node[e.source]).outputs()[e.source_port]


def sink_stream(model: ModelWrapper, e: Edge) -> Stream | None:
    return None if e.sink is None else ops.layer_from_node(model.graph.node[e.sink]).inputs()[e.sink_port]


def edge_passes(model: ModelWrapper, e: Edge) -> int:
    """Frames that an edge carries for one frame of the network: more than one inside an engine that blocks share."""
    layer = ops.layer_from_node(model.graph.node[e.source]) if e.source is not None else None
    if layer is None:
        return 1
    if layer.stem == "loop":
        return layer.rounds if e.source_port == 0 else 1
    return layer.passes


def sort(model: ModelWrapper) -> ModelWrapper:
    """Topological order, stable. What returns to the gate of an engine (layer ``loop``) comes behind it."""
    nodes = list(model.graph.node)
    producer = {t: i for i, n in enumerate(nodes) for t in n.output}
    order: list[int] = []
    state = [0] * len(nodes)
    for root in range(len(nodes)):
        stack = [root]
        while stack:
            i = stack[-1]
            if state[i] == 0:
                state[i] = 1
                behind = [ops.stream_inputs(nodes[i])[1]] if is_loop(nodes[i]) else []
                before = [producer[t] for t in nodes[i].input if t in producer and t not in behind]
                if any(state[j] == 1 for j in before):
                    raise GraphError(f"{nodes[i].name}: the graph has a cycle")
                stack += [j for j in reversed(before) if state[j] == 0]
            else:
                stack.pop()
                if state[i] == 1:
                    state[i] = 2
                    order.append(i)
    _replace_nodes(model, [nodes[i] for i in order])
    return model


def _replace_nodes(model: ModelWrapper, nodes: Iterable[NodeProto]) -> None:
    copies = []
    for n in nodes:
        c = NodeProto()
        c.CopyFrom(n)
        copies.append(c)
    del model.graph.node[:]
    model.graph.node.extend(copies)


def legal_names(model: ModelWrapper) -> ModelWrapper:
    """Give every node a unique name that is a legal Verilog identifier."""
    used: set[str] = set()
    for i, n in enumerate(model.graph.node):
        base = re.sub(r"\W+", "_", n.name or f"{n.op_type}_{i}").strip("_") or f"node_{i}"
        if base[0].isdigit():
            base = f"n{base}"
        if base in KEYWORDS or base.startswith("bv_"):
            base = f"{base}_0"
        name, k = base, 1
        while name in used:
            name, k = f"{base}_{k}", k + 1
        used.add(name)
        n.name = name
    return model


def specialize(model: ModelWrapper, part: str) -> ModelWrapper:
    """FINN's SpecializeLayers, keeping the node names (FINN numbers the nodes anew)."""
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers

    legal_names(model)
    names = {n.output[0]: n.name for n in model.graph.node}
    model = model.transform(SpecializeLayers(part))
    for n in model.graph.node:
        n.name = names[n.output[0]]
    return model


def insert_duplicates(model: ModelWrapper) -> ModelWrapper:
    """A ``duplicate`` behind every stream that has several consumers."""
    by_tensor: dict[str, list[Edge]] = defaultdict(list)
    for e in edges(model):
        by_tensor[e.tensor].append(e)
    nodes = list(model.graph.node)
    rtl = any(ops.implementation(n) for n in nodes)
    added = []
    for t, es in by_tensor.items():
        if len(es) < 2:
            continue
        if len(es) > 8:
            raise GraphError(f"tensor {t} has {len(es)} consumers; a duplicate has at most 8 copies")
        st = source_stream(model, es[0]) or sink_stream(model, es[0])
        assert st is not None
        first = es[0]
        source = f"{nodes[first.source].name}_out" if first.source is not None else "in"
        name = f"{source}{first.source_port}_fork"
        outs = [f"{t}_copy{i}" for i in range(len(es))]
        _fix_output(es, outs)
        layer = layers()["duplicate"](dims=list(st.dims), dtype=st.dtype.name, copies=len(es), SIMD=st.SIMD, TP=st.TP,
                                      passes=edge_passes(model, first))
        added.append(ops.make_node(layer, [t], outs, {}, model, name, rtl=rtl))
        for e, o in zip(es, outs):
            if e.sink is not None:
                nodes[e.sink].input[e.sink_port] = o
            else:
                model.graph.output[e.sink_port].name = o
    if added:
        _replace_nodes(model, [*nodes, *added])
        sort(model)
    return model


def _fix_output(es: list[Edge], outs: list[str]) -> None:
    if sum(e.sink is None for e in es) > 1:
        raise GraphError(f"tensor {es[0].tensor} is a graph output twice")


def _insert(model: ModelWrapper, make) -> ModelWrapper:
    """Put the node that ``make(edge, name, tensor_in, tensor_out)`` returns (or None) into every edge."""
    nodes = [NodeProto() for _ in model.graph.node]
    for c, n in zip(nodes, model.graph.node):
        c.CopyFrom(n)
    old = edges(model)
    order: list[NodeProto] = []
    before: dict[int, list[NodeProto]] = defaultdict(list)
    last: list[NodeProto] = []
    for e in old:
        if e.sink is None and e.sink_port < 0:
            continue  # nobody reads this output
        src = f"{nodes[e.source].name}_out{e.source_port}" if e.source is not None else f"in{e.source_port}"
        # a graph output keeps its tensor name: the new node takes over producing it
        inner = f"{e.tensor}__{len(before) + len(last)}"
        new = make(e, src, e.tensor if e.sink is not None else inner, inner if e.sink is not None else e.tensor)
        if new is None:
            continue
        if e.sink is not None:
            nodes[e.sink].input[e.sink_port] = new.output[0]
            before[e.sink].append(new)
        else:
            if e.source is None:
                raise GraphError(f"graph input {e.tensor} is a graph output")
            nodes[e.source].output[e.source_port] = new.input[0]
            shape = model.get_tensor_shape(e.tensor)
            model.set_tensor_shape(new.input[0], shape)
            model.set_tensor_datatype(new.input[0], model.get_tensor_datatype(e.tensor))
            last.append(new)
    for i, n in enumerate(nodes):
        order += [*before[i], n]
    _replace_nodes(model, [*order, *last])
    return sort(model)


def insert_width_converters(model: ModelWrapper) -> ModelWrapper:
    """A ``width_converter`` wherever the two ends of a stream cut it into different beats.

    Raises:
        GraphError: the two ends disagree on shape or type, or no converter can be made.
    """

    def make(e: Edge, name: str, t_in: str, t_out: str) -> NodeProto | None:
        a, b = source_stream(model, e), sink_stream(model, e)
        if a is None or b is None:
            return None
        where = f"{e.tensor}: {model.graph.node[e.source].name} -> {model.graph.node[e.sink].name}"
        if a.dtype != b.dtype or a.channels != b.channels or a.tokens != b.tokens:
            raise GraphError(f"{where}: produces {a.dims} {a.dtype.name}, expects {b.dims} {b.dtype.name}")
        if (a.SIMD, a.TP) == (b.SIMD, b.TP):
            return None
        if "width_converter" not in layers():
            raise GraphError(f"{where}: beats differ and there is no width_converter layer")
        try:
            layer = ops.make_layer(layers()["width_converter"], dims=list(a.dims), dtype=a.dtype.name, SIMD_IN=a.SIMD,
                                   SIMD_OUT=b.SIMD, TP_IN=a.TP, TP_OUT=b.TP, passes=edge_passes(model, e))
        except FoldingError as err:
            raise GraphError(f"{where}: {err.what}") from None
        return ops.make_node(layer, [t_in], [t_out], {}, model, name + f"_dwc{e.sink_port}", rtl=True)

    return legal_names(_insert(model, make))


def insert_fifos(model: ModelWrapper, depth: int = 2) -> ModelWrapper:
    """A FIFO of ``depth`` beats in every edge, graph inputs and outputs included; IDs follow the dataflow order.

    Where beats are far apart at the rate of the slowest node it is slow, which saves a multiplexer as wide as a beat.
    """
    slowest = max((ops.layer_from_node(n).frame_cycles for n in model.graph.node), default=0)

    def make(e: Edge, name: str, t_in: str, t_out: str) -> NodeProto | None:
        st = source_stream(model, e) or sink_stream(model, e)
        assert st is not None
        layer = layers()["fifo"](dims=list(st.dims), dtype=st.dtype.name, SIMD=st.SIMD, TP=st.TP, depth=depth,
                                 passes=edge_passes(model, e))
        layer = layer.model_copy(update={"slow": APART * layer.frame_cycles <= slowest})
        return ops.make_node(layer, [t_in], [t_out], {}, model, name + "_fifo", rtl=True)

    _insert(model, make)
    legal_names(model)
    for i, n in enumerate(fifos(model)):
        ops.set_layer(n, ops.layer_from_node(n).model_copy(update={"ID": i}))
    return model


def gates(model: ModelWrapper) -> dict[str, str]:
    """Name of the gate (layer ``loop``) by name of every node in the engine behind it. The graph is sorted."""
    found: dict[str, str] = {}
    inside: dict[str, str] = {}
    for n in model.graph.node:
        if is_loop(n):
            inside[n.output[0]] = n.name
            continue
        gate = next((inside[t] for t in n.input if t in inside), None)
        if gate is not None:
            found[n.name] = gate
            inside.update(dict.fromkeys(n.output, gate))
    return found


def is_loop(node: NodeProto) -> bool:
    """Whether the node is the gate of an engine that blocks share."""
    return ops.is_layer(node) and stem(node) == "loop"


def stem(node: NodeProto) -> str:
    """Stem of the node's layer."""
    return ops.layer_class(node).stem


def fifos(model: ModelWrapper) -> list[NodeProto]:
    """The FIFO nodes in dataflow order; position = ID."""
    return [n for n in model.graph.node if stem(n) == "fifo"]


def set_depths(model: ModelWrapper, depths: dict[str, int]) -> ModelWrapper:
    """Set FIFO depths by node name. What a FIFO's memory was to be made of is forgotten where the depth changes."""
    for n in fifos(model):
        fields: Layer = ops.layer_from_node(n)
        if depths.get(n.name, fields.depth) != fields.depth:
            ops.set_layer(n, fields.model_copy(update={"depth": int(depths[n.name]), "styles": ""}))
    return model


def check_streaming(model: ModelWrapper) -> None:
    """Raise GraphError unless the graph can be stitched."""
    for n in model.graph.node:
        if not ops.is_layer(n) or ops.implementation(n) is None:
            raise GraphError(f"{n.name} ({n.op_type}) is not a specialized layer of this project")
    seen: dict[str, int] = defaultdict(int)
    for e in edges(model):
        seen[e.tensor] += 1
        if seen[e.tensor] > 1:
            raise GraphError(f"tensor {e.tensor} has several consumers: run insert_duplicates")
        a, b = source_stream(model, e), sink_stream(model, e)
        if a and b and (a.dtype, a.SIMD, a.TP, a.tokens, a.channels) != (b.dtype, b.SIMD, b.TP, b.tokens, b.channels):
            raise GraphError(f"tensor {e.tensor}: {model.graph.node[e.source].name} produces {a}, "
                             f"{model.graph.node[e.sink].name} expects {b}")
