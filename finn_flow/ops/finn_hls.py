"""HLS half of the derived ops: C++ for FINN's ``cppsim`` and for Vitis HLS, from the declaration.

FINN pieces an HLS layer's source together from templates around finn-hlslib, and compiles it with Vitis HLS's headers.
Here the source is that of :mod:`..hls.generate`, and ``cppsim`` needs g++ and this project alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from finn.custom_op.fpgadataflow import templates
from finn.custom_op.fpgadataflow.hlsbackend import HLSBackend
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError

from ..hls.cppsim import Instance, compile_nodes, run_node
from ..hls.generate import INCLUDE, kernel, source
from ..layers.base import Layer
from .nodes import layer_of
from .rtlsim import prepare_rtlsim, rtlsim


class BvHls(HLSBackend):
    """C++ simulation with g++; source and Tcl for Vitis HLS."""

    def get_nodeattr_types(self) -> dict:
        types = dict(super().get_nodeattr_types())
        types["cppsim_node"] = ("s", False, "")  # its name in a program of several nodes, where it has another
        return types

    # ---- cppsim: PrepareCppSim, CompileCppSim, exec_mode
    def code_generation_cppsim(self, model: ModelWrapper) -> None:
        """Write the source of the node; the program around it follows when it is compiled."""
        layer, constants = layer_of(self.onnx_node, model)
        folder, name = Path(self.get_nodeattr("code_gen_dir_cppsim")), self.onnx_node.name
        (folder / f"top_{name}.cpp").write_text(source(layer, name, constants))
        np.savez(folder / "constants.npz", **constants)

    def compile_singlenode_code(self) -> None:
        folder, name = Path(self.get_nodeattr("code_gen_dir_cppsim")), self.onnx_node.name
        with np.load(folder / "constants.npz") as constants:
            node = Instance(name, self.layer(), dict(constants))
        self.set_nodeattr("executable_path", str(compile_nodes([node], folder)))

    def _simulation(self, mode: str) -> Callable[[Layer, list[np.ndarray]], list[np.ndarray]] | None:
        return {"cppsim": self._cppsim, "rtlsim": self._rtlsim}.get(mode)

    def _cppsim(self, layer: Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
        name, exe = self.onnx_node.name, self.get_nodeattr("executable_path")
        if not exe:
            raise UserError("This node has no program to simulate.", name, "its C++ was not compiled",
                            "run PrepareCppSim and CompileCppSim before exec_mode cppsim")
        return run_node(Path(exe), self.get_nodeattr("cppsim_node") or name, layer, inputs)

    # ---- Vitis HLS: PrepareIP, HLSSynthIP
    def code_generation_ipgen(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        """Source, the kernel's headers and FINN's own Tcl for Vitis HLS."""
        layer, constants = layer_of(self.onnx_node, model)
        folder, name = Path(self.get_nodeattr("code_gen_dir_ipgen")), self.onnx_node.name
        (folder / f"top_{name}.cpp").write_text(source(layer, name, constants))
        (folder / "bhvit").mkdir(exist_ok=True)
        for f in {*(INCLUDE / "bhvit").glob("*.hpp"), kernel(type(layer))}:
            shutil.copy(f, folder / "bhvit")
        values = {"PROJECTNAME": f"project_{name}", "HWSRCDIR": folder, "FPGAPART": fpgapart, "TOPFXN": name,
                  "CLKPERIOD": clk, "FINNHLSLIB": folder, "ATTENTIONHLSLIB": folder,
                  "DEFAULT_DIRECTIVES": "\n".join(self.ipgen_default_directives()),
                  "EXTRA_DIRECTIVES": "\n".join(self.ipgen_extra_directives())}
        text = templates.ipgentcl_template
        for k, v in values.items():
            text = text.replace(f"${k}$", str(v))
        (folder / f"hls_syn_{name}.tcl").write_text(text)

    # ---- rtlsim: the Verilog that Vitis HLS has written
    def _verilog(self) -> list[Path]:
        folder = self.get_nodeattr("code_gen_dir_ipgen")
        places = self.get_all_verilog_paths() if folder else []
        found = [f for d in places for f in sorted(Path(d).glob("*.v"))]
        if not found:
            name = self.onnx_node.name
            raise UserError(f"There is no Verilog of the HLS node {name}.", folder or name,
                            "exec_mode rtlsim simulates what Vitis HLS writes, and this node was not synthesized",
                            "run PrepareIP and HLSSynthIP where Vitis HLS is installed, or use exec_mode cppsim")
        return found

    def prepare_rtlsim(self, behav: bool = False) -> None:
        """Compile the synthesized Verilog with Verilator; FINN's PrepareRTLSim calls this."""
        prepare_rtlsim(self, self._verilog())

    def _rtlsim(self, layer: Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return rtlsim(self, layer, inputs, self._verilog()[0].parent)

    # ---- hooks of FINN's templates
    def global_includes(self) -> None:
        """Nothing: the whole source comes from the declaration."""

    def defines(self, var: str) -> None:
        """Nothing: the whole source comes from the declaration."""

    def docompute(self) -> None:
        """Nothing: the whole source comes from the declaration."""

    def blackboxfunction(self) -> None:
        """Nothing: the whole source comes from the declaration."""
