"""FINN custom ops, derived from the layer declarations.

For every registered layer of stem ``some_layer`` importing this module registers in FINN's own domains

* ``BvSomeLayer``      (HWCustomOp, domain ``finn.custom_op.fpgadataflow``), what lowering creates,
* ``BvSomeLayer_rtl``  (RTLBackend, domain ``finn.custom_op.fpgadataflow.rtl``), made by ``SpecializeLayers``.

The prefix keeps them apart from FINN's own ops (FINN has a ``LayerNorm`` and a ``Lookup`` too). Node attributes are the
fields of the declaration, plus ``in_exp`` and ``out_exp``: one exponent per stream, value = integer * 2**exp. During
lowering tensors hold values, so that every intermediate graph can be compared with the exported one;
:func:`to_integers` then sets all exponents to zero. The node inputs are the streams
followed by one initializer per constant, in the order of ``layer.constants()``.
A stream's tensor has shape ``(batch, *dims)``.

    node = make_node(Threshold(dims=[4, 6]), ["x"], ["y"], {"t": t, "pol": pol}, model, "thr0", in_exp=[-4])
    model.graph.node.append(node)
    layer, constants = layer_of(node, model)
    y = execute(model, {"x": frames})["y"]        # any number of frames at once, golden models
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, ClassVar, get_origin

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from . import finn_env

finn_env.setup()

import finn.custom_op.fpgadataflow as hw_domain  # noqa: E402
import finn.custom_op.fpgadataflow.rtl as rtl_domain  # noqa: E402
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp  # noqa: E402
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend  # noqa: E402
from qonnx.core.datatype import DataType  # noqa: E402
from qonnx.core.modelwrapper import ModelWrapper  # noqa: E402
from qonnx.custom_op.registry import getCustomOp  # noqa: E402
from qonnx.util.basic import qonnx_make_model  # noqa: E402

from bhvit.errors import UserError  # noqa: E402

from .layers.base import Constants, Layer  # noqa: E402
from .layers.registry import layers  # noqa: E402
from .sim.verilate import build_simulator, run_simulator  # noqa: E402
from .streams import DType, Stream  # noqa: E402
from .wrapper import memory_files, sources, wrapper  # noqa: E402

HW = "finn.custom_op.fpgadataflow"
RTL = HW + ".rtl"
PREFIX = "Bv"


class NotInteger(UserError, ValueError):
    """A tensor holds values that are no integers at the exponent a node expects: the lowering is wrong there."""


def op_type(layer: type[Layer] | Layer) -> str:
    """FINN op type of a layer."""
    return PREFIX + layer.op_type()


@cache
def _by_op() -> dict[str, type[Layer]]:
    return {op_type(c): c for c in layers().values()}


def is_layer(node: NodeProto) -> bool:
    """Whether the node is one of this project's hardware layers (specialized or not)."""
    return node.op_type.removesuffix("_rtl") in _by_op() and node.domain in (HW, RTL)


def layer_class(node: NodeProto) -> type[Layer]:
    """Declaration of a node's layer; KeyError for other nodes."""
    return _by_op()[node.op_type.removesuffix("_rtl")]


def _attributes(node: NodeProto) -> dict[str, Any]:
    """Fields of the declaration from the node's attributes."""
    fields = layer_class(node).model_fields
    out: dict[str, Any] = {}
    for a in node.attribute:
        if a.name in fields:
            v = helper.get_attribute_value(a)
            out[a.name] = v.decode() if isinstance(v, bytes) else list(v) if not isinstance(v, int) else v
    return out


def layer_from_node(node: NodeProto) -> Layer:
    """The declaration with the node's attributes."""
    return layer_class(node)(**_attributes(node))


def layer_of(node: NodeProto, model: ModelWrapper) -> tuple[Layer, Constants]:
    """The layer of a node and its constants as int64 arrays (sets, *shape)."""
    layer = layer_from_node(node)
    n = len(layer.inputs())
    constants: Constants = {}
    for name, tensor in zip(layer.constants(), node.input[n:], strict=True):
        v = model.get_initializer(tensor)
        if v is None:
            raise ValueError(f"{node.name}: constant `{name}` ({tensor}) is not an initializer")
        constants[name] = np.asarray(v).astype(np.int64)
    return layer, constants


def stream_inputs(node: NodeProto) -> list[str]:
    """Names of the input tensors that are streams (without the constants)."""
    return list(node.input[: len(layer_from_node(node).inputs())])


def _store(x: np.ndarray) -> np.ndarray:
    """The smallest integer container that holds all values."""
    for t in (np.int8, np.int16, np.int32):
        info = np.iinfo(t)
        if x.size == 0 or (x.min() >= info.min and x.max() <= info.max):
            return x.astype(t)
    return x


def _exps(exp: Sequence[int] | int | None, n: int, what: str) -> list[int]:
    e = [0] * n if exp is None else [int(exp)] * n if isinstance(exp, (int, np.integer)) else [int(v) for v in exp]
    if len(e) != n:
        raise ValueError(f"{what}: {len(e)} exponents for {n} streams")
    return e


def set_layer(node: NodeProto, layer: Layer) -> None:
    """Write the fields of ``layer`` into the node's attributes (same layer kind, same constants)."""
    fields = layer.model_dump()
    kept = [a for a in node.attribute if a.name not in fields]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(_field_attributes(layer))


def _field_attributes(layer: Layer) -> list:
    attrs = []
    for k, v in layer.model_dump().items():
        if isinstance(v, list) and not v:  # an empty list has no element type: leave it to the default
            continue
        attrs.append(helper.make_attribute(k, v))
    return attrs


def make_layer(cls: type[Layer], **fields: Any) -> Layer:
    """A declaration. Raises FoldingError when its foldings are not legal."""
    return cls(**fields)


def refold(layer: Layer, **foldings: int) -> Layer:
    """The layer with other foldings. Raises FoldingError when they are not legal."""
    return make_layer(type(layer), **{**layer.model_dump(), **foldings})


def make_node(layer: Layer, inputs: Sequence[str], outputs: Sequence[str], constants: Constants, model: ModelWrapper,
              name: str, in_exp: Sequence[int] | int | None = None, out_exp: Sequence[int] | int | None = None, *,
              rtl: bool = False) -> NodeProto:
    """A node of ``layer``. The caller inserts it into ``model.graph.node``.

    Args:
        inputs, outputs: tensor names of the streams. constants: integer arrays, shape (sets, *shape) or, with one set,
            (*shape). model: receives the constants as initializers ``<name>_<constant>`` and the shapes and types of
            the output tensors. in_exp, out_exp: exponents per stream (one int: for all; default 0).
        rtl: make the specialized op.
    Raises:
        ValueError: number of streams, or shape or range of a constant does not fit the declaration.
    """
    ins, outs = layer.inputs(), layer.outputs()
    if len(inputs) != len(ins) or len(outputs) != len(outs):
        raise ValueError(f"{name}: {layer.stem} has {len(ins)} inputs and {len(outs)} outputs, "
                         f"got {len(inputs)} and {len(outputs)}")
    declared = layer.constants()
    if set(constants) != set(declared):
        raise ValueError(f"{name}: {layer.stem} needs constants {sorted(declared)}, got {sorted(constants)}")
    tensors = []
    for k, c in declared.items():
        v = np.asarray(constants[k])
        if not np.array_equal(v, np.rint(v)):
            raise ValueError(f"{name}: constant `{k}` has values that are no integers")
        v = v.astype(np.int64)
        if v.shape == c.shape and layer.sets == 1:
            v = v[None]
        if v.shape != (layer.sets, *c.shape):
            raise ValueError(f"{name}: constant `{k}` has shape {v.shape}, expected {(layer.sets, *c.shape)}")
        if v.size and (v.min() < c.dtype.min or v.max() > c.dtype.max):
            raise ValueError(f"{name}: constant `{k}` has values in [{v.min()}, {v.max()}], which do not fit "
                             f"{c.dtype.name}")
        tensors.append(f"{name}_{k}")
        model.set_initializer(tensors[-1], _store(v))
        model.set_tensor_datatype(tensors[-1], DataType[c.dtype.name])
    shape = model.get_tensor_shape(inputs[0]) if inputs else None
    batch = int(shape[0]) if shape else 1
    e_in, e_out = _exps(in_exp, len(ins), name), _exps(out_exp, len(outs), name)
    for t, st, e in zip(outputs, outs, e_out):
        model.set_tensor_shape(t, [batch, *st.dims])
        model.set_tensor_datatype(t, DataType[st.dtype.name if e == 0 else "FLOAT32"])
    node = helper.make_node(op_type(layer) + ("_rtl" if rtl else ""), [*inputs, *tensors], list(outputs), name=name,
                            domain=RTL if rtl else HW, backend="fpgadataflow", in_exp=e_in, out_exp=e_out)
    node.attribute.extend(_field_attributes(layer))
    return node


def new_model(inputs: Iterable[tuple[str, Sequence[int], DType | None]], outputs: Iterable[str]) -> ModelWrapper:
    """An empty graph with the given inputs (name, shape with batch, integer type or None) and output names.

    Output shapes are filled in by :func:`make_node`.
    """
    ivi = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s, _ in inputs]
    ovi = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    model = ModelWrapper(qonnx_make_model(helper.make_graph([], "bhvit", ivi, ovi)))
    for n, _, d in inputs:
        if d is not None:
            model.set_tensor_datatype(n, DataType[d.name])
    return model


def load(path: Path) -> ModelWrapper:
    """Read a graph whose tensors all have shapes, as ours have: qonnx would look each one up in quadratic time."""
    return ModelWrapper(str(path), fix_missing_initializer_valueinfo=False)


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


def _to_int(x: np.ndarray, st: Stream, exp: int, where: str) -> np.ndarray:
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
    ints = [_to_int(x, st, e, f"{node.name} input {i}")
            for i, (x, st, e) in enumerate(zip(inputs, layer.inputs(), e_in))]
    outs = layer.golden(ints, constants)
    return [y * 2.0**e if e else y for y, e in zip(outs, e_out)]


def execute(model: ModelWrapper, inputs: dict[str, np.ndarray], *, keep: Iterable[str] | None = None,
            ) -> dict[str, np.ndarray]:
    """Run a graph of hardware layers with their golden models on any number of frames at once.

    Args:
        inputs: (F, *dims) by graph input name. keep: tensors to return besides the graph outputs; "*" in it: all.
    Raises:
        NotInteger: a tensor does not hold what the consumer declares.
    """
    wanted = set(keep or ()) | {o.name for o in model.graph.output}
    everything = "*" in wanted
    last = {t: i for i, n in enumerate(model.graph.node) for t in n.input}
    ctx = dict(inputs)
    for i, node in enumerate(model.graph.node):
        layer, constants = layer_of(node, model)
        e_in, e_out = getCustomOp(node).exponents()
        outs = run_golden(node, layer, constants, [ctx[t] for t in stream_inputs(node)], e_in, e_out)
        ctx.update(zip(node.output, outs))
        if not everything:
            for t in {*node.input, *node.output}:
                if last.get(t, i) <= i and t not in wanted:
                    ctx.pop(t, None)
    return ctx if everything else {t: ctx[t] for t in wanted if t in ctx}


class BvOp(HWCustomOp):
    """Common part of the derived ops."""

    declaration: ClassVar[type[Layer]]

    def get_nodeattr_types(self) -> dict[str, Any]:
        types = dict(super().get_nodeattr_types())
        types["in_exp"] = ("ints", False, [])
        types["out_exp"] = ("ints", False, [])
        types["batch"] = ("i", False, 1)
        for name, f in self.declaration.model_fields.items():
            kind = "ints" if get_origin(f.annotation) is list else "s" if f.annotation is str else "i"
            default = [] if kind == "ints" else "" if kind == "s" else 0
            if not f.is_required():
                default = f.get_default(call_default_factory=True)
            types[name] = (kind, False, default)
        return types

    def layer(self) -> Layer:
        return layer_from_node(self.onnx_node)

    def exponents(self) -> tuple[list[int], list[int]]:
        layer = self.layer()
        return tuple(self.get_nodeattr(k) or [0] * len(s)
                     for k, s in (("in_exp", layer.inputs()), ("out_exp", layer.outputs())))

    def _const(self, ind: int):
        layer = self.layer()
        return list(layer.constants().values())[ind - len(layer.inputs())]

    def _is_stream(self, ind: int) -> bool:
        return ind < len(self.layer().inputs())

    # ---- shapes and types, as FINN asks for them
    def get_normal_input_shape(self, ind: int = 0) -> list[int]:
        layer = self.layer()
        if not self._is_stream(ind):
            return [layer.sets, *self._const(ind).shape]
        return [self.get_nodeattr("batch"), *layer.inputs()[ind].dims]

    def get_normal_output_shape(self, ind: int = 0) -> list[int]:
        return [self.get_nodeattr("batch"), *self.layer().outputs()[ind].dims]

    def _folded(self, st: Stream) -> tuple[int, ...]:
        return (self.get_nodeattr("batch"), st.tokens // st.TP, st.channels // st.SIMD, st.TP * st.SIMD)

    def get_folded_input_shape(self, ind: int = 0) -> tuple[int, ...]:
        if not self._is_stream(ind):
            return tuple(self.get_normal_input_shape(ind))
        return self._folded(self.layer().inputs()[ind])

    def get_folded_output_shape(self, ind: int = 0) -> tuple[int, ...]:
        return self._folded(self.layer().outputs()[ind])

    def get_input_datatype(self, ind: int = 0) -> Any:
        st = self._const(ind) if not self._is_stream(ind) else self.layer().inputs()[ind]
        return DataType[st.dtype.name]

    def get_output_datatype(self, ind: int = 0) -> Any:
        return DataType[self.layer().outputs()[ind].dtype.name]

    def get_instream_width(self, ind: int = 0) -> int:
        return self.layer().inputs()[ind].width if self._is_stream(ind) else 0  # constants have no stream

    def get_outstream_width(self, ind: int = 0) -> int:
        return self.layer().outputs()[ind].width

    def infer_node_datatype(self, model: ModelWrapper) -> None:
        for t, st, e in zip(self.onnx_node.output, self.layer().outputs(), self.exponents()[1]):
            model.set_tensor_datatype(t, DataType[st.dtype.name if e == 0 else "FLOAT32"])

    # ---- estimates
    def get_exp_cycles(self) -> int:
        return int(self.layer().cycles())

    def lut_estimation(self, fpgapart: str) -> int:
        return round(self.layer().resources().lut)

    def bram_estimation(self, fpgapart: str) -> int:
        return int(self.layer().resources().bram18)

    def uram_estimation(self, fpgapart: str) -> int:
        return int(self.layer().resources().uram)

    def dsp_estimation(self, fpgapart: str) -> int:
        return int(self.layer().resources().dsp)

    def get_op_and_param_counts(self) -> dict[str, int]:
        layer = self.layer()
        return {f"param_{k}_{c.dtype.bits}b": layer.sets * prod(c.shape) for k, c in layer.constants().items()}

    # ---- execution
    def execute_node(self, context: dict[str, np.ndarray], graph: GraphProto) -> None:
        layer, node = self.layer(), self.onnx_node
        n = len(layer.inputs())
        constants = {k: np.asarray(context[t]).astype(np.int64)
                     for k, t in zip(layer.constants(), node.input[n:], strict=True)}
        e_in, e_out = self.exponents()
        xs = [context[t] for t in node.input[:n]]
        if self.get_nodeattr("exec_mode") == "rtlsim":
            ints = [_to_int(x, st, e, f"{node.name} input {i}")
                    for i, (x, st, e) in enumerate(zip(xs, layer.inputs(), e_in))]
            outs = [y * 2.0**e for y, e in zip(self._rtlsim(layer, constants, ints), e_out)]
        else:
            outs = run_golden(node, layer, constants, xs, e_in, e_out)
        for t, y in zip(node.output, outs):
            context[t] = np.asarray(y, dtype=np.float32)

    def _rtlsim(self, layer: Layer, constants: Constants, inputs: list[np.ndarray]) -> list[np.ndarray]:
        raise NotImplementedError(f"{self.onnx_node.name}: run SpecializeLayers before exec_mode rtlsim")


class BvRtl(RTLBackend):
    """RTL half of the derived ops: code generation and simulation in Verilator."""

    def generate_hdl(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        folder, top = Path(self.get_nodeattr("code_gen_dir_ipgen")), self.get_verilog_top_module_name()
        layer, constants = layer_of(self.onnx_node, model)
        for name, lines in memory_files(layer, top, constants).items():
            (folder / name).write_text("\n".join(lines) + "\n")
        (folder / f"{top}.v").write_text(wrapper(layer, top, constants))
        for f in sources(type(layer)):
            shutil.copy(f, folder)
        self.set_nodeattr("gen_top_module", top)
        self.set_nodeattr("ipgen_path", str(folder))
        self.set_nodeattr("ip_path", str(folder))

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen")) if abspath else Path()
        names = [f.name for f in sources(type(self.layer()))] + [f"{self.get_nodeattr('gen_top_module')}.v"]
        return [str(folder / n) for n in names]

    def code_generation_ipi(self) -> list[str]:
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        files = [*self.get_rtl_file_list(abspath=True), *map(str, sorted(folder.glob("*.mem")))]
        return [f"add_files -norecurse {f}" for f in files] + [
            f"create_bd_cell -type module -reference {self.get_nodeattr('gen_top_module')} {self.onnx_node.name}"]

    def prepare_rtlsim(self, behav: bool = False) -> None:
        """Compile the generated code with Verilator; FINN's PrepareRTLSim calls this."""
        from finn.util.basic import make_build_dir

        layer, files = self.layer(), self.get_rtl_file_list(abspath=True)
        exe = build_simulator(self.get_nodeattr("gen_top_module"), [Path(f) for f in files], len(layer.inputs()),
                              len(layer.outputs()), Path(make_build_dir("rtlsim_" + self.onnx_node.name + "_")))
        self.set_nodeattr("rtlsim_so", str(exe))

    def _rtlsim(self, layer: Layer, constants: Constants, inputs: list[np.ndarray]) -> list[np.ndarray]:
        exe = self.get_nodeattr("rtlsim_so")
        if not exe:
            raise RuntimeError(f"{self.onnx_node.name}: run PrepareIP and PrepareRTLSim before exec_mode rtlsim")
        result = run_simulator(Path(exe), list(zip(layer.inputs(), inputs)), layer.outputs(), inputs[0].shape[0],
                               cwd=Path(self.get_nodeattr("code_gen_dir_ipgen")), patience=20 * layer.cycles() + 5000)
        self.set_nodeattr("cycles_rtlsim", int(result.cycles))
        if result.status:
            raise RuntimeError(f"{self.onnx_node.name}: simulation ended with status {result.status}\n{result.log}")
        return result.outputs


def _register(declaration: type[Layer]) -> None:
    name = op_type(declaration)
    doc = f"FINN op of layer `{declaration.stem}`; see layers/{declaration.stem}.py."

    base = type(name, (BvOp,), {"declaration": declaration, "__doc__": doc, "__module__": __name__})
    rtl = type(name + "_rtl", (BvRtl, base), {"__doc__": doc + " RTL variant.", "__module__": __name__,
                                              "execute_node": BvOp.execute_node})
    globals()[name] = hw_domain.register_custom_op(base)
    globals()[name + "_rtl"] = rtl_domain.register_custom_op(rtl)


for _declaration in layers().values():
    _register(_declaration)
