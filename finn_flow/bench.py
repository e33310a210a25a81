"""Measurements: layer intervals of a build, and LUTs per binary MAC of the XNOR kernel."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from . import graph, ops
from .layers.base import Constants, Layer
from .sim.kernel import KernelSim
from .synth import count_cells, dependencies
from .wrapper import RTL

FRAMES = 5
#: layers of a stitched design whose interval is not worth a simulation: one beat per cycle by construction
TRIVIAL = {"fifo", "duplicate"}


def layer_intervals(folder: Path, *, jobs: int = 2, progress: Callable[[int, int, str], None] | None = None,
                    ) -> dict[str, dict[str, float]]:
    """Interval of every layer instance of a build: the declared cycles against RTL simulation of the same instance.

    Each instance has the attributes, folding and constants that it has in the stitched design and runs unstalled on
    random frames. Writes ``report/rtlsim_layer_cycles.json`` ({node: cycles}).

    Returns:
        {node: {"estimated", "simulated", "ratio"}}.
    """
    model = ops.load(folder / "stitched_ip" / "graph.onnx")
    nodes: dict[str, str] = {}
    work: dict[str, tuple[Layer, Constants]] = {}
    for n in model.graph.node:
        if graph.stem(n) in TRIVIAL:
            continue
        layer, constants = ops.layer_of(n, model)
        # the interval does not depend on the values of constants: one simulation per set of attributes
        key = json.dumps([layer.stem, layer.model_dump()], sort_keys=True)
        nodes[n.name] = key
        work.setdefault(key, (layer, constants))
    found: dict[str, float] = {}

    def one(key: str) -> None:
        layer, constants = work[key]
        inputs = layer.random_inputs(np.random.default_rng(1), FRAMES)
        with tempfile.TemporaryDirectory(prefix="bhvit-bench-") as tmp:
            result = KernelSim(layer, constants, Path(tmp)).run(inputs)
        if result.status or result.interval is None:
            raise RuntimeError(f"{layer.stem}: simulation ended with status {result.status}\n{result.log}")
        found[key] = result.interval
        if progress:
            progress(len(found), len(work), layer.stem)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, work))
    out = {}
    for name, key in nodes.items():
        cycles = work[key][0].cycles()
        out[name] = {"estimated": cycles, "simulated": found[key], "ratio": found[key] / cycles}
    (folder / "report" / "rtlsim_layer_cycles.json").write_text(
        json.dumps({n: v["simulated"] for n, v in out.items()}, indent=2) + "\n")
    return out


def xnor_luts(widths: tuple[int, ...] = (64, 128, 256), *, cache: Path) -> dict[str, dict[str, float]]:
    """LUTs per binary MAC of ``bv_xnor_popcount`` as Yosys counts them, structural against plain ``$countones``.

    Both descriptions go through the same synthesis; the plain one is the same file with its structural branch off.
    Returns:
        {"64": {"structural": LUT per MAC, "plain": LUT per MAC, "ratio": plain / structural}, ...}.
    """
    out = {}
    for width in widths:
        row = {}
        for kind in ("structural", "plain"):
            files = {f.name: f.read_text() for f in dependencies(RTL / "bv_xnor_popcount.sv")}
            if kind == "plain":
                text = files["bv_xnor_popcount.sv"].replace("`ifdef SYNTHESIS", "`ifdef NEVER")
                files = {"bv_xnor_popcount.sv": text}
            row[kind] = count_cells("bv_xnor_popcount", files, cache / f"xnor_{kind}_{width}.log",
                                    parameters={"WIDTH": width}).lut_sites / width
        out[str(width)] = {**row, "ratio": row["plain"] / row["structural"]}
    return out
