"""What all lowering passes share: the graph, the types of its tensors, reference values, and how a layer goes in.

A pass calls :meth:`Lowering.emit`, which inserts the hardware node in the value domain and at once runs its golden
model on the reference values of its inputs. The result must equal the reference value of the tensor it replaces, in
every element, so a wrong pass is caught at the node and index where it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from .. import ops
from ..layers.base import Constants, FoldingError, Layer
from ..layers.registry import layers
from ..streams import BIPOLAR, DType
from .forms import Form, linear
from .match import Graph, LoweringError, label


class LoweringMismatch(LoweringError):
    """A hardware node computes something else than the nodes it replaces."""

    exit_code = 1


class Lowering:
    """State of one lowering run."""

    def __init__(self, model: ModelWrapper, ref: dict[str, np.ndarray], input_type: DType):
        self.model, self.g, self.ref, self.input_type = model, Graph(model), ref, input_type
        self.pass_name = ""
        self.count: dict[str, int] = {}
        self.checked = 0
        self._names = 0

    # ---- types
    def type_of(self, tensor: str) -> tuple[DType, int] | None:
        """Element type and exponent of a quantized, sign or hardware tensor or the graph input; else None."""
        g = self.g
        if tensor in g.inputs:
            return self.input_type, 0
        n = g.producer.get(tensor)
        if n is None:
            return None
        if n.op_type == "Quant":
            q = g.quantizer(n)
            return q.dtype, q.exp
        if ops.is_layer(n):
            k = list(n.output).index(tensor)
            return ops.layer_from_node(n).outputs()[k].dtype, getCustomOp(n).exponents()[1][k]
        if g.sign_input(tensor) is not None:
            return BIPOLAR, 0
        return None

    def int_type(self, tensor: str, where: str) -> tuple[DType, int]:
        t = self.type_of(tensor)
        if t is None:
            raise LoweringError(f"{where}: its input {tensor}, made by {label(self.g.producer.get(tensor))}, is "
                                "neither quantized nor a hardware tensor")
        return t

    def form(self, tensor: str, *stop: str) -> Form:
        return linear(self.g, tensor, frozenset(stop))

    # ---- building
    def fresh(self, hint: str) -> str:
        self._names += 1
        return f"{hint}_{self._names}"

    def layer(self, stem: str, where: str, **attrs: object) -> Layer:
        """Declaration of a layer; errors name the node that is being lowered."""
        try:
            return layers()[stem](**attrs)
        except KeyError:
            raise LoweringError(f"{where}: layer `{stem}` does not exist") from None
        except FoldingError as e:
            raise LoweringError(f"{where}: {stem}: {e.what}") from None
        except ValueError as e:
            raise LoweringError(f"{where}: {stem}: {e}") from None

    def emit(self, layer: Layer, inputs: Sequence[str], outputs: Sequence[str], constants: Constants,
             where: str) -> list[str]:
        """Insert ``layer`` in place of the producers of ``outputs``; types are taken from the inputs.

        Exponents: inputs from their types; outputs that exist already keep the exponent of their quantizer, others that
        of input 0. New output tensors get reference values. Returns the output names.
        """
        in_types = [self.int_type(t, where) for t in inputs]
        for t, (d, _), st in zip(inputs, in_types, layer.inputs()):
            if (d.bipolar != st.dtype.bipolar) or d.min < st.dtype.min or d.max > st.dtype.max:
                raise LoweringError(f"{where}: {layer.stem} takes {st.dtype.name}, but {t} is {d.name}")
        e_in = [e for _, e in in_types]
        e_out = [(self.type_of(t) or (None, e_in[0]))[1] for t in outputs]
        return self.emit_at(layer, inputs, outputs, constants, where, e_in, e_out)

    def emit_at(self, layer: Layer, inputs: Sequence[str], outputs: Sequence[str], constants: Constants, where: str,
                e_in: Sequence[int], e_out: Sequence[int]) -> list[str]:
        """:meth:`emit` with explicit exponents."""
        name = self._node_name(layer.stem, outputs[0])
        nodes, real_in, real_out, after = [], [], [], []
        for t, st in zip(inputs, layer.inputs()):
            shape = [1, *st.dims]
            if list(self.g.shape(t)) != shape:
                t = self._reshape(t, self.fresh(f"{name}_in"), shape, nodes)
            real_in.append(t)
        for t, st in zip(outputs, layer.outputs()):
            shape = [1, *st.dims]
            if t in self.g.producer and list(self.g.shape(t)) != shape:
                new = self.fresh(f"{name}_out")
                self._reshape(new, t, list(self.g.shape(t)), after)
                t = new
            real_out.append(t)
        try:
            node = self._make(layer, real_in, real_out, constants, name, e_in, e_out)
        except ValueError as e:
            raise LoweringError(f"{where}: {e}") from None
        self._check(node, layer, constants, inputs, outputs, e_in, e_out, where)
        if self.ref:
            self.ref.update({new: self.ref[t] for t, new in zip(outputs, real_out)})
        for t, st in zip(real_out, layer.outputs()):
            self.g.note_shape(t, [1, *st.dims])
        self.g.insert([*nodes, node, *after], [t for t in outputs if t in self.g.producer])
        return list(outputs)

    def _node_name(self, stem: str, tensor: str) -> str:
        """`stage1_block2_mlp_fc1_binary_linear`: the module whose output the tensor is, then the kind of layer."""
        place = []
        for part in tensor.split("."):
            if part in ("epilogue", "sign", "y", "z") or (not part[:1].islower() and not part.isdigit()):
                break
            place.append(part)
        scope = "_".join(place)
        scope = re.sub(r"^stages_(\d+)_(\d+)", lambda m: f"stage{int(m[1]) + 1}_block{int(m[2]) + 1}", scope)
        scope = re.sub(r"^down_(\d+)", lambda m: f"down{int(m[1]) + 1}", scope)
        base = stem if not scope or not tensor.count(".") else scope if scope.endswith(stem) else f"{scope}_{stem}"
        base = re.sub(r"\W", "_", base)
        n = self.count[base] = self.count.get(base, -1) + 1
        return base if n == 0 and base != stem else f"{base}_{n}"

    def _make(self, layer: Layer, inputs: list[str], outputs: list[str], constants: Constants, name: str,
              e_in: Sequence[int], e_out: Sequence[int]) -> NodeProto:
        """ops.make_node on an empty model, whose parts are moved over: look-ups in a large ModelWrapper are slow."""
        part = ModelWrapper(helper.make_model(helper.make_graph([], "part", [], [])))
        node = ops.make_node(layer, inputs, outputs, constants, part, name, e_in, e_out)
        g = self.model.graph
        g.initializer.extend(part.graph.initializer)
        g.quantization_annotation.extend(part.graph.quantization_annotation)
        g.value_info.extend(v for v in part.graph.value_info if not self.g.has_shape(v.name))
        self.g.init_names.update({i.name: i for i in list(g.initializer)[len(g.initializer) - len(constants):]})
        return node

    def _reshape(self, source: str, target: str, shape: list[int], nodes: list) -> str:
        s = f"{target}_shape"
        self.g.add_initializer(s, np.asarray(shape, np.int64))
        self.g.set_shape(target, shape)
        nodes.append(helper.make_node("Reshape", [source, s], [target], name=f"{target}_reshape"))
        return target

    def _check(self, node, layer: Layer, constants: Constants, inputs: Sequence[str], outputs: Sequence[str],
               e_in: Sequence[int], e_out: Sequence[int], where: str) -> None:
        if not self.ref:
            return
        constants = {k: np.asarray(v).reshape(layer.sets, *c.shape).astype(np.int64)
                     for (k, c), v in zip(layer.constants().items(), (constants[k] for k in layer.constants()))}
        frames = [self.ref[t] for t in inputs]
        try:
            got = ops.run_golden(node, layer, constants, frames, e_in, e_out)
        except ops.NotInteger as e:
            raise LoweringMismatch(f"pass {self.pass_name}: {where}: {e}") from None
        for t, y in zip(outputs, got):
            if t not in self.ref:
                self.ref[t] = y
                continue
            want = np.asarray(self.ref[t], np.float64).reshape(y.shape)
            if not np.array_equal(want, y):
                bad = np.argwhere(want != y)
                i = tuple(int(v) for v in bad[0])
                raise LoweringMismatch(
                    f"pass {self.pass_name}: {where}: {layer.stem} gives another {t}: {len(bad)} of {y.size} elements "
                    f"differ, the first at {i}: expected {want[i]}, got {y[i]}")
        self.checked += 1


def term_list(form: Form) -> str:
    """Terms of a form for messages."""
    return ", ".join(f"{t.root}{'' if t.index is None else '[moved]'}" for t in form.terms) or "no term"


