"""FINN classes of every registered layer, derived from its declaration and registered in FINN's own domains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, ClassVar, get_origin

import finn.custom_op.fpgadataflow as hw_domain
import finn.custom_op.fpgadataflow.hls as hls_domain
import finn.custom_op.fpgadataflow.rtl as rtl_domain
import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend
from onnx import GraphProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from ..hls.generate import has_kernel
from ..layers.base import Layer
from ..layers.registry import layers
from ..streams import Stream
from ..wrapper import memory_files, sources, wrapper
from .execution import run_golden, to_int
from .finn_hls import BvHls
from .nodes import layer_from_node, layer_of, op_type
from .rtlsim import prepare_rtlsim, rtlsim


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
        return int(self.layer().frame_cycles)

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
        simulate = self._simulation(self.get_nodeattr("exec_mode"))
        if simulate is None:
            outs = run_golden(node, layer, constants, xs, e_in, e_out)
        else:
            ints = [to_int(x, st, e, f"{node.name} input {i}")
                    for i, (x, st, e) in enumerate(zip(xs, layer.inputs(), e_in))]
            outs = [y * 2.0**e for y, e in zip(simulate(layer, ints), e_out)]
        for t, y in zip(node.output, outs):
            context[t] = np.asarray(y, dtype=np.float32)

    def _simulation(self, mode: str) -> Callable[[Layer, list[np.ndarray]], list[np.ndarray]] | None:
        """What runs integer frames in an exec_mode; None: the golden model."""
        return self._rtlsim if mode == "rtlsim" else None

    def _rtlsim(self, layer: Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
        raise UserError("This node has no implementation to simulate.", self.onnx_node.name,
                        f"{self.onnx_node.op_type} is a layer without a choice of RTL or HLS",
                        "run SpecializeLayers, PrepareIP and PrepareRTLSim before exec_mode rtlsim")


class BvRtl(RTLBackend):
    """RTL half of the derived ops: code generation and simulation in Verilator."""

    def generate_hdl(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        folder, top = Path(self.get_nodeattr("code_gen_dir_ipgen")), self.get_verilog_top_module_name()
        layer, constants = layer_of(self.onnx_node, model)
        for name, lines in memory_files(layer, top, constants).items():
            (folder / name).write_text("\n".join(lines) + "\n")
        (folder / f"{top}.v").write_text(wrapper(layer, top, constants))
        for f in sources(layer):
            shutil.copy(f, folder)
        self.set_nodeattr("gen_top_module", top)
        self.set_nodeattr("ipgen_path", str(folder))
        self.set_nodeattr("ip_path", str(folder))

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen")) if abspath else Path()
        names = [f.name for f in sources(self.layer())] + [f"{self.get_nodeattr('gen_top_module')}.v"]
        return [str(folder / n) for n in names]

    def code_generation_ipi(self) -> list[str]:
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        files = [*self.get_rtl_file_list(abspath=True), *map(str, sorted(folder.glob("*.mem")))]
        return [f"add_files -norecurse {f}" for f in files] + [
            f"create_bd_cell -type module -reference {self.get_nodeattr('gen_top_module')} {self.onnx_node.name}"]

    def prepare_rtlsim(self, behav: bool = False) -> None:
        """Compile the generated code with Verilator; FINN's PrepareRTLSim calls this."""
        prepare_rtlsim(self, [Path(f) for f in self.get_rtl_file_list(abspath=True)])

    def _rtlsim(self, layer: Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return rtlsim(self, layer, inputs, Path(self.get_nodeattr("code_gen_dir_ipgen")))


def _register(declaration: type[Layer]) -> None:
    name = op_type(declaration)
    doc = f"FINN op of layer `{declaration.stem}`; see layers/{declaration.stem}.py."

    base = type(name, (BvOp,), {"declaration": declaration, "__doc__": doc, "__module__": __name__})
    globals()[name] = hw_domain.register_custom_op(base)
    for style, half, domain in (("rtl", BvRtl, rtl_domain), ("hls", BvHls, hls_domain)):
        if style == "hls" and not has_kernel(declaration):
            continue  # FINN then takes the RTL
        variant = type(f"{name}_{style}", (half, base), {
            "__doc__": f"{doc} {style.upper()} variant.", "__module__": __name__, "execute_node": BvOp.execute_node})
        globals()[variant.__name__] = domain.register_custom_op(variant)


for _declaration in layers().values():
    _register(_declaration)
