"""Constant sets that stay in the memory of the system: which layers ask for them, and through which ports.

Of the sets of an engine that blocks share, a layer needs one at a time. Layers with ``held`` = 2 keep two on the chip
and ask for the next one when the gate has let its frame in (rtl/bv_sets.sv); several of them share a port
(rtl/bv_fetch.sv).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from . import graph, load, ops
from .config import MemoryConfig
from .layers.base import Layer

#: bits of a layer's constants, all sets together, from which its sets are fetched
WORTH = 1 << 16
#: ports that the layers share, each good for 8 bytes a cycle
PORTS = 3


@dataclass
class Port:
    """A port of the design: requests weight<i>_R, words weight<i>_V. nodes: who shares it."""

    name: str
    nodes: list[str] = field(default_factory=list)
    image: bytes = b""

    def entry(self) -> dict[str, Any]:
        """What design.json says of it."""
        return {"port": f"{self.name}_V", "node": ", ".join(self.nodes), "memory": "sets",
                "words": len(self.image) // 8, "bytes": 8, "asked": True}


@dataclass
class Plan:
    """Ports, and the offset of each layer's sets in the memory of its port."""

    ports: list[Port]
    offsets: dict[str, int]

    def connections(self, node: str) -> list[str]:
        """Ports of a node's instance."""
        return [f".{k}_V_{s}({node}_{k}_{s})" for k in ("ask", "set") for s in ("TDATA", "TVALID", "TREADY")]

    def wires(self) -> list[str]:
        """Declarations of the nets between the layers and the ports."""
        found = []
        for p in self.ports:
            found += [f"  wire [63:0] {n}_ask_TDATA, {n}_set_TDATA; wire {n}_ask_TVALID, {n}_ask_TREADY, "
                      f"{n}_set_TVALID, {n}_set_TREADY;" for n in p.nodes]
            found.append(f"  wire [63:0] {p.name}_words;")
            found += [f"  assign {n}_set_TDATA = {p.name}_words;" for n in p.nodes]
        return found

    def instances(self) -> list[str]:
        """What joins the layers of each port."""
        found = []
        for p in self.ports:
            def all_of(net: str, p: Port = p) -> str:
                return "{" + ", ".join(f"{n}_{net}" for n in reversed(p.nodes)) + "}"

            found.append(
                f"  bv_fetch #(.ASKERS({len(p.nodes)})) u_{p.name} (\n    .clk(ap_clk), .rst(!ap_rst_n),\n"
                f"    .ask_data({all_of('ask_TDATA')}),\n    .ask_valid({all_of('ask_TVALID')}),\n"
                f"    .ask_ready({all_of('ask_TREADY')}),\n    .set_data({p.name}_words),\n"
                f"    .set_valid({all_of('set_TVALID')}),\n    .set_ready({all_of('set_TREADY')}),\n"
                f"    .out_data({p.name}_R_TDATA), .out_valid({p.name}_R_TVALID), .out_ready({p.name}_R_TREADY),\n"
                f"    .in_data({p.name}_V_TDATA), .in_valid({p.name}_V_TVALID), .in_ready({p.name}_V_TREADY)\n  );")
        return found


def plan(model: ModelWrapper) -> Plan:
    """Ports for the layers whose sets are fetched, the largest first to the port with the least to do.

    Their numbers follow those of the streamed memories.
    """
    first = sum(len(load.streamed(ops.layer_from_node(n))) for n in model.graph.node)
    held = []
    for n in model.graph.node:
        if ops.layer_from_node(n).held:
            layer, constants = ops.layer_of(n, model)
            held.append((n.name, load.set_image(layer, constants)))
    held.sort(key=lambda h: -len(h[1]))
    ports = [Port(f"weight{first + i}") for i in range(min(PORTS, len(held)))]
    offsets = {}
    for name, image in held:
        port = min(ports, key=lambda p: len(p.image))
        offsets[name] = len(port.image)
        port.nodes.append(name)
        port.image += image
    return Plan(ports, offsets)


def keep(model: ModelWrapper, config: MemoryConfig) -> ModelWrapper:
    """Mark the layers whose sets stay in the memory of the system: those of the engines of `memory.fetch` that are
    worth it. Folding must know that they cost less.

    Raises:
        UserError: a stage has no engine of three blocks or more.
    """
    for stage in config.fetch:
        gates = {n.name: n for n in model.graph.node
                 if graph.is_loop(n) and re.match(rf"stage{stage}_block", n.name) and ops.layer_from_node(n).rounds > 2}
        if not gates:
            raise UserError(f"`memory.fetch` names stage {stage}, which has no engine of three blocks or more.",
                            "memory.fetch", do="name stages whose blocks share an engine (`share`)")
        inside = graph.gates(model)
        for n in model.graph.node:
            layer = ops.layer_from_node(n)
            if inside.get(n.name) in gates and layer.fetchable and ops.implementation(n) == "rtl" and worth(layer):
                ops.set_layer(n, layer.model_copy(update={"held": 2}))
    return model


def worth(layer: Layer) -> bool:
    """Whether a layer has so many constants that fetching its sets pays."""
    return layer.sets > 2 and sum(s.bits for s in layer.stores() if s.const) >= WORTH
