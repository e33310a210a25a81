"""Choose the row order of every map (docs/contract.md, section 5) and make windowed layers implementable.

A circular stencil needs rows from the other end of the map. Two strategies:

* ``rotate`` (default): the shift layer sees the map extended by its first rows and puts out a rotated order: row k of
  the stream is map row (row0 + k) mod H. Only a few rows are stored, not a frame. Later layers of the stage work in
  that order: zero-padded convolutions mask rows by their map position, their residual is rotated alike, position
  embeddings are permuted, a 2x2 patchify halves row0 (the shift before it starts one row later where it would be odd).
* ``frame``: a frame buffer in front of every shift restores the natural order everywhere.

Outputs of the network do not change; the comparison is repeated here.
"""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from .. import ops
from ..layers.base import Layer
from ..layers.registry import layers
from .finish import insert_duplicates, name_nodes, remove_duplicates
from .lower import compare
from .match import Graph, LoweringError

KEEP = {"threshold", "affine", "binary_linear", "int_linear", "tile", "channel_pool", "map_pool", "lookup", "add",
        "fifo", "layer_norm", "position_embedding"}
"""Layers that work token by token: the row order passes through."""
ANY = {"global_pool", "qd_attention", "argmax"}
"""Layers for which the order of rows makes no difference, or whose streams are no maps."""


def plan_rows(model: ModelWrapper, check_images: np.ndarray | None = None, rows: Literal["rotate", "frame"] = "rotate",
              ) -> ModelWrapper:
    """A copy of a lowered graph in which every shift and convolution reads extended rows.

    Args:
        model: result of ``lower``. check_images: (N, H, W, C); None: one random image.
    Raises:
        LoweringError: a map arrives in an order that a layer cannot take. LoweringMismatch: the outputs changed.
    """
    before = model
    model = ModelWrapper(copy.deepcopy(model.model), fix_missing_initializer_valueinfo=False)
    remove_duplicates(model)
    RowPlanner(model, rows).run()
    insert_duplicates(model)
    name_nodes(model)
    (name,) = Graph(model).inputs
    if check_images is None:
        shape = model.get_tensor_shape(name)[1:]
        check_images = np.random.default_rng(0).integers(0, 256, (1, *shape))
    inputs = {name: np.asarray(check_images)}
    compare(model, inputs, ops.execute(before, inputs), f"the graph with row order `{rows}`")
    return model


class RowPlanner:
    """Walks the graph in stream order; ``order`` holds row0 of every map stream."""

    def __init__(self, model: ModelWrapper, rows: str):
        if rows not in ("rotate", "frame"):
            raise ValueError(f"rows={rows!r}: choose rotate or frame")
        self.model, self.rows, self.g = model, rows, Graph(model)
        self.order = {t: 0 for t in self.g.inputs}
        self.nodes: list[NodeProto] = []
        self.made: dict[tuple, str] = {}
        self.extended: set[str] = set()

    def run(self) -> None:
        for node in self.g.nodes():
            layer = ops.layer_from_node(node)
            step = getattr(self, f"_{layer.stem}", None)
            if step is not None:
                step(node, layer)
            elif layer.stem in KEEP:
                self._keep(node, layer)
            elif layer.stem in ANY:
                self._set(node, None)
            else:
                raise LoweringError(f"{node.name}: no rule for the row order of layer {layer.stem}")
            self.nodes.append(node)
        for t in self.g.outputs:
            if self.order.get(t):
                raise LoweringError(f"graph output {t} is a map in rotated order; put out a vector or use rows='frame'")
        g = self.model.graph
        kept = [copy.deepcopy(n) for n in self.nodes]
        del g.node[:]
        g.node.extend(kept)
        Graph(self.model).sweep()

    # ---- rules
    def _set(self, node: NodeProto, row0: int | None) -> None:
        for t in node.output:
            self.order[t] = row0 if row0 is not None and len(self._dims(t)) == 3 else None

    def _dims(self, tensor: str) -> tuple[int, ...]:
        p = self.g.producer.get(tensor)
        if p is None:
            return tuple(self.model.get_tensor_shape(tensor)[1:])
        return ops.layer_from_node(p).outputs()[list(p.output).index(tensor)].dims

    def _keep(self, node: NodeProto, layer: Layer) -> None:
        """Residuals follow the order of the first input."""
        n = len(layer.inputs())
        row0 = self.order.get(node.input[0])
        for k in range(1, n):
            node.input[k] = self._turned(node.input[k], row0)
        if layer.stem == "position_embedding" and row0:
            v = self.model.get_initializer(node.input[n])
            self.model.set_initializer(node.input[n], np.ascontiguousarray(np.roll(v, -row0, axis=1)))
        self._set(node, row0)

    def _turned(self, tensor: str, row0: int | None) -> str:
        """The tensor in the order that starts at ``row0``."""
        have = self.order.get(tensor)
        if have is None or row0 is None or have == row0:
            return tensor
        h = self._dims(tensor)[0]
        return self._wrap(tensor, (row0 - have) % h, h)

    def _wrap(self, tensor: str, start: int, count: int, frame: int = 0) -> str:
        key = (tensor, start, count, frame)
        if key in self.made:
            return self.made[key]
        h, w, c = self._dims(tensor)
        p = self.g.producer.get(tensor)
        k = list(p.output).index(tensor) if p is not None else 0
        dtype = (ops.layer_from_node(p).outputs()[k].dtype.name if p is not None
                 else self.model.get_tensor_datatype(tensor).name)
        exp = getCustomOp(p).exponents()[1][k] if p is not None else 0
        layer = layers()["wrap_rows"](height=h, width=w, channels=c, dtype=dtype, start=start, count=count, frame=frame)
        out = f"{tensor}_rows{len(self.made)}"
        name = f"{p.name if p is not None else 'in'}_rows{len(self.made)}"
        node = ops.make_node(layer, [tensor], [out], {}, self.model, name, exp, exp)
        self.nodes.append(node)
        self.g.index(node)
        self.made[key] = out
        self.order[out] = (self.order[tensor] + start) % h
        return out

    def _patchify(self, node: NodeProto, layer: Layer) -> None:
        row0 = self.order[node.input[0]]
        if row0 % layer.patch:
            node.input[0] = self._wrap(node.input[0], -row0 % layer.patch, layer.height)
            row0 = self.order[node.input[0]]
        self._set(node, row0 // layer.patch)

    def _window_concat(self, node: NodeProto, layer: Layer) -> None:
        self._replace(node, layer, row0=self.order[node.input[0]])
        self._set(node, None)

    def _window_merge(self, node: NodeProto, layer: Layer) -> None:
        # the residual waits here for a whole frame anyway: turned back by what the shift behind turns forward, every
        # block starts in the same order, and identical blocks can share one engine
        row0 = self._partner(node.output[0])
        if self.rows == "rotate":
            row0 = (row0 - 2) % layer.height
        self._replace(node, layer, row0=row0)
        self._set(node, row0)

    def _partner(self, tensor: str) -> int:
        """Row order of the first map that a later layer combines with ``tensor``."""
        seen, stack = set(), [tensor]
        while stack:
            t = stack.pop(0)
            for n in self.g.consumers(t):
                layer = ops.layer_from_node(n)
                if id(n) in seen or layer.stem not in KEEP:
                    continue
                seen.add(id(n))
                known = [self.order[i] for i in n.input[: len(layer.inputs())] if self.order.get(i) is not None]
                if known:
                    return known[0]
                stack += list(n.output)
        return 0

    def _shift(self, node: NodeProto, layer: Layer) -> None:
        u, y = node.input[:2]
        if self.order[u] != self.order[y]:
            raise LoweringError(f"{node.name}: its inputs arrive in different row orders")
        h, row0, frame = layer.height, self.order[y], int(self.rows == "frame")
        if frame:
            start = (-2 - row0) % h  # extended row 2 is map row 0
        else:
            start = (row0 + 2) % 2 if self._before_patchify(node.output[0]) else 0
        start %= h
        ext = self._wrap(y, start, h + 4, frame)
        p = self.g.producer[u]
        same = ops.is_layer(p) and ops.layer_class(p).stem == "affine" and p.input[0] == y
        if same and len(self.g.consumers(u)) == 1 and not ops.layer_from_node(p).res1:
            self._extend_affine(p, ext)
        else:
            u = self._wrap(u, start, h + 4, frame)
        node.input[0], node.input[1] = u, ext
        self._replace(node, layer, ext=4)
        self._set(node, (row0 + start + 2) % h)

    def _extend_affine(self, node: NodeProto, ext: str) -> None:
        """Recompute U on the extended rows instead of storing them a second time; runs after the wrap_rows."""
        layer = ops.layer_from_node(node)
        node.input[0] = ext
        dims = [*self._dims(ext)]
        self._replace(node, layer, dims=dims)
        self.model.set_tensor_shape(node.output[0], [1, *dims])
        at = next(i for i, n in enumerate(self.nodes) if n is node)
        self.nodes.append(self.nodes.pop(at))

    def _before_patchify(self, tensor: str) -> bool:
        """Whether a patchify follows before the next layer that changes the row order."""
        seen, stack = set(), [tensor]
        while stack:
            for n in self.g.consumers(stack.pop()):
                stem = ops.layer_class(n).stem
                if stem == "patchify":
                    return True
                if id(n) not in seen and stem in KEEP:
                    seen.add(id(n))
                    stack += list(n.output)
        return False

    def _binary_conv(self, node: NodeProto, layer: Layer) -> None:
        row0, h = self.order[node.input[0]], layer.height
        if row0 == 0:
            self._set(node, 0)
            return
        rot = max(layer.dilations)
        node.input[0] = self._wrap(node.input[0], 0, h + 2 * rot)
        self._replace(node, layer, ext=2 * rot, row0=row0, rot=rot)
        self._set(node, (row0 + rot) % h)

    @staticmethod
    def _replace(node: NodeProto, layer: Layer, **fields: object) -> None:
        ops.set_layer(node, type(layer)(**{**layer.model_dump(), **fields}))
