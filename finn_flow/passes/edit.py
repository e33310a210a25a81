"""Changes of a graph: replacing nodes, redirecting edges, removing what nobody uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


class Edits:
    """The changing half of :class:`.match.Graph`; keeps its indices up to date."""

    def insert(self, nodes: Iterable[NodeProto], replaces: Sequence[str]) -> None:
        """Put nodes into the graph in place of the producers of the tensors ``replaces``.

        The old nodes stay as dead code, and the order of nodes is not topological, until :meth:`sweep`.
        """
        for t in replaces:
            old = self.producer.pop(t)
            old.output[list(old.output).index(t)] = f"{t}__replaced"
            for i in old.input:
                self.consumer[i] = [n for n in self.consumer[i] if n is not old]
        for n in nodes:
            self.model.graph.node.append(n)
            self.index(self.model.graph.node[-1])

    def redirect(self, node: NodeProto, old: str, new: str) -> None:
        """Let a node read another tensor."""
        for k, t in enumerate(node.input):
            if t == old:
                node.input[k] = new
        self.consumer[old] = [n for n in self.consumer[old] if n is not node]
        self.consumer.setdefault(new, []).append(node)

    def index(self, node: NodeProto) -> None:
        """Enter an added node into the indices."""
        self.producer.update({t: node for t in node.output})
        for t in dict.fromkeys(node.input):
            self.consumer.setdefault(t, []).append(node)
        for t in [*node.input, *node.output]:
            self._const.pop(t, None)

    def set_shape(self, tensor: str, shape: Sequence[int]) -> None:
        """Shape of a tensor that has none yet; a known one is left alone."""
        if self.has_shape(tensor):
            return
        self.model.graph.value_info.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, list(shape)))
        self._shapes[tensor] = list(shape)

    def note_shape(self, tensor: str, shape: Sequence[int]) -> None:
        """Enter a shape that the model has already."""
        self._shapes[tensor] = list(shape)

    def add_initializer(self, name: str, value: np.ndarray) -> None:
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        self.init_names[name] = self.model.graph.initializer[-1]

    def sweep(self) -> int:
        """Remove nodes whose results nobody uses, sort topologically, drop unused initializers; number removed."""
        g, needed, keep = self.model.graph, set(self.outputs), set()
        stack = list(needed)
        while stack:
            t = stack.pop()
            n = self.producer.get(t)
            if n is not None and id(n) not in keep:
                keep.add(id(n))
                stack += [i for i in n.input if i]
        nodes = [n for n in g.node if id(n) in keep]
        removed = len(g.node) - len(nodes)
        order, done, by_out = [], set(), {t: n for n in nodes for t in n.output}

        for root in nodes:
            path = [root]
            while path:
                n = path[-1]
                todo = [by_out[t] for t in n.input if t in by_out and id(by_out[t]) not in done]
                if todo:
                    path.append(todo[0])
                    continue
                path.pop()
                if id(n) not in done:
                    done.add(id(n))
                    order.append(n)
        copies = []
        for n in order:
            c = NodeProto()
            c.CopyFrom(n)
            copies.append(c)
        del g.node[:]
        g.node.extend(copies)
        used = {t for n in g.node for t in n.input} | set(self.outputs)
        for coll in (g.initializer, g.value_info, g.quantization_annotation):
            key = "tensor_name" if coll is g.quantization_annotation else "name"
            produced = used | {t for n in g.node for t in n.output} | set(self.inputs)
            drop = [i for i, v in enumerate(coll) if getattr(v, key) not in produced]
            for i in reversed(drop):
                del coll[i]
        self.refresh()
        return removed
