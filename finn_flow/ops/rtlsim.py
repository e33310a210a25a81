"""``exec_mode=rtlsim`` of one node: its Verilog in Verilator, frames through its ports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp

from ..layers.base import Layer
from ..sim.verilate import build_simulator, run_simulator


def prepare_rtlsim(op: HWCustomOp, files: Sequence[Path]) -> None:
    """Compile the Verilog files of a node (top module: the node's) and enter the simulator into the node."""
    from finn.util.basic import make_build_dir

    layer, top = op.layer(), op.get_verilog_top_module_name()
    exe = build_simulator(top, files, len(layer.inputs()), len(layer.outputs()),
                          Path(make_build_dir("rtlsim_" + op.onnx_node.name + "_")))
    op.set_nodeattr("rtlsim_so", str(exe))


def rtlsim(op: HWCustomOp, layer: Layer, inputs: list[np.ndarray], memories: Path) -> list[np.ndarray]:
    """Run frames through a node's simulator. memories: the folder that holds its memory images.

    Raises:
        RuntimeError: the simulator was not prepared, or the node stopped moving.
    """
    exe = op.get_nodeattr("rtlsim_so")
    if not exe:
        raise RuntimeError(f"{op.onnx_node.name}: run PrepareIP and PrepareRTLSim before exec_mode rtlsim")
    result = run_simulator(Path(exe), list(zip(layer.inputs(), inputs)), layer.outputs(), inputs[0].shape[0],
                           cwd=memories, patience=20 * layer.cycles() + 5000)
    op.set_nodeattr("cycles_rtlsim", int(result.cycles))
    if result.status:
        raise RuntimeError(f"{op.onnx_node.name}: simulation ended with status {result.status}\n{result.log}")
    return result.outputs
