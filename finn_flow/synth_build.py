"""Yosys resources of a whole build: every distinct layer instance synthesized once, totals over all instances.

Evidence level: Yosys. It is synthesis of the kernels out of context, not place and route; Yosys does not pair small
functions in one LUT6_2, so its LUT count is an upper bound for logic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

from . import build_folder, fetch, graph, ops
from .layers.base import Constants, Layer
from .netlist import LIMIT
from .synth import SynthResult, count_shared, synthesize_all

KEYS = {"LUT": "lut", "LUTRAM": "lutram", "SRL": "srl", "FF": "ff", "CARRY4": "carry", "DSP": "dsp",
        "BRAM_18K": "bram18", "URAM": "uram"}


def instance_key(layer: Layer, constants: Constants) -> str:
    """Digest of what determines an instance's netlist: RTL parameters, stream widths and constants."""
    parameters = {k: v for k, v in layer.rtl_parameters().items() if k != "ID"}  # simulation only
    widths = [s.width for s in (*layer.inputs(), *layer.outputs())]
    h = hashlib.sha256(json.dumps([layer.stem, parameters, layer.styles, widths], sort_keys=True).encode())
    for k in sorted(constants):
        h.update(k.encode() + constants[k].tobytes())
    return h.hexdigest()


def counts(result: SynthResult) -> dict[str, int]:
    """Primitives by the names of reports."""
    return {k: getattr(result, v) for k, v in KEYS.items()}


def formula_errors(pairs: list[tuple[Layer, SynthResult]]) -> dict[str, dict[str, float]]:
    """LUT sites by the formulas of the declarations against Yosys, by kind of layer and in all.

    Args:
        pairs: distinct instances and their counts.
    Returns:
        {kind: {"instances", "estimate", "yosys", "error": of the sum, "mean_error": mean of the instances' absolute
        errors}}, errors relative to Yosys; under "total" for all kinds.
    """
    out: dict[str, dict[str, float]] = {}
    for kind in [*sorted({layer.stem for layer, _ in pairs}), "total"]:
        rows = [(layer.resources().lut, r.lut_sites) for layer, r in pairs if kind in (layer.stem, "total")]
        estimate, found = (sum(x) for x in zip(*rows, strict=True))
        each = [abs(e - y) / max(y, 1) for e, y in rows]
        out[kind] = {"instances": len(rows), "estimate": estimate, "yosys": found,
                     "error": estimate / max(found, 1) - 1, "mean_error": sum(each) / len(each)}
    return out


def synthesize_build(folder: Path, *, jobs: int = 2, progress: Callable[[int, int, str], None] | None = None,
                     stems: set[str] | None = None) -> dict[str, Any]:
    """Synthesize the instances of ``stitched_ip/graph.onnx`` and write ``report/synth.json``.

    Args:
        folder: a finished build. jobs: Yosys processes at a time. progress: called with (done, all, name).
        stems: only these kinds of layers (the total is then partial and says so).
    Returns:
        {"layers": {node or port of fetched sets: counts}, "total": counts, "distinct_instances", "source": "Yosys",
        "note",
        "formula_errors": see :func:`formula_errors`, "levels": {node: logic levels},
        "long_paths": {node: path} of more than ``LIMIT`` levels}.
    """
    with build_folder.lock(folder, shared=True):
        return _synthesize(folder, jobs, progress, stems)


def _synthesize(folder: Path, jobs: int, progress: Callable[[int, int, str], None] | None,
                stems: set[str] | None) -> dict[str, Any]:
    model = ops.load(folder / "stitched_ip" / "graph.onnx")
    nodes: dict[str, str] = {}
    work: dict[str, tuple[Layer, Constants]] = {}
    for n in model.graph.node:
        layer, constants = ops.layer_of(n, model)
        if stems is not None and layer.stem not in stems:
            continue
        key = instance_key(layer, constants)
        nodes[n.name] = key
        work.setdefault(key, (layer, constants))
    known = {graph.stem(n) for n in model.graph.node}
    if stems is not None and not stems <= known:
        raise UserError(f"The build has no layer of the kind `{min(stems - known)}`.", folder,
                        do=f"choose from {', '.join(sorted(known))}")
    found = synthesize_all(list(work.values()), cache=folder / "synth", jobs=jobs,
                           progress=progress and (lambda n, stem: progress(n, len(work), stem)))
    done = dict(zip(work, found, strict=True))
    layers = {name: counts(done[key]) for name, key in nodes.items()}
    if stems is None:  # what layers share that fetch their constants; the formulas count it with the layers
        layers |= {port.name: counts(count_shared("bv_fetch", {"ASKERS": len(port.nodes)}, cache=folder / "synth"))
                   for port in fetch.plan(model).ports}
    total = {k: sum(v[k] for v in layers.values()) for k in KEYS}
    out = {"layers": layers, "total": total, "distinct_instances": len(work), "instances": len(nodes),
           "source": "Yosys", "complete": stems is None,
           "formula_errors": formula_errors([(work[k][0], done[k]) for k in work]),
           "levels": {name: done[key].levels for name, key in nodes.items()},
           "long_paths": {name: done[key].path for name, key in nodes.items() if done[key].levels > LIMIT},
           "note": "synth_xilinx -family xcup, kernel by kernel, not placed and routed"}
    build_folder.write(folder / "report" / "synth.json", json.dumps(out, indent=2) + "\n")
    return out
