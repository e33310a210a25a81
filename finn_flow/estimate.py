"""Estimates without any tool: cycles, resources and performance under FINN's file names and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from . import ops

RESOURCES = ("BRAM_18K", "LUT", "URAM", "DSP")


def layer_cycles(model: ModelWrapper) -> dict[str, int]:
    """Expected cycles per frame by node name."""
    return {n.name: int(ops.layer_from_node(n).frame_cycles) for n in model.graph.node}


def layer_resources(model: ModelWrapper, part: str) -> dict[str, dict[str, float]]:
    """Expected resources by node name, and their total."""
    found: dict[str, dict[str, float]] = {n.name: getCustomOp(n).node_res_estimation(part) for n in model.graph.node}
    found["total"] = {k: sum(v[k] for v in found.values()) for k in RESOURCES}
    return found


def performance(model: ModelWrapper, clock_mhz: float) -> dict[str, Any]:
    """Interval of the slowest layer and the longest path, as FINN counts it: every layer waits for a whole frame."""
    cycles = layer_cycles(model)
    slowest = max(cycles, key=lambda n: cycles[n])
    path: dict[str, int] = {}
    critical = 0
    for n in model.graph.node:
        at = max([path.get(t, 0) for t in n.input], default=0) + cycles[n.name]
        path.update(dict.fromkeys(n.output, at))
        critical = max(critical, at)
    return {"critical_path_cycles": critical, "max_cycles": cycles[slowest], "max_cycles_node_name": slowest,
            "estimated_throughput_fps": clock_mhz * 1e6 / cycles[slowest],
            "estimated_latency_ns": critical * 1e3 / clock_mhz}


def write(model: ModelWrapper, folder: Path, part: str, clock_mhz: float) -> dict[str, Any]:
    """Write the four estimate files into ``folder`` and return the performance."""
    folder.mkdir(parents=True, exist_ok=True)
    perf = performance(model, clock_mhz)
    counts = {n.name: getCustomOp(n).get_op_and_param_counts() for n in model.graph.node}
    total: dict[str, int] = {}
    for c in counts.values():
        for k, v in c.items():
            total[k] = total.get(k, 0) + v
    files = {"estimate_layer_cycles": layer_cycles(model), "estimate_layer_resources": layer_resources(model, part),
             "estimate_network_performance": perf,
             "op_and_param_counts": {**{k: v for k, v in counts.items() if v}, "total": total}}
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps({**data, "source": "estimate"}, indent=2) + "\n")
    return perf
