"""The scale probe: single blocks of a large network as stitched RTL, bit-exact, with Yosys resources.

One stage-1 block and one stage-3 block of BHViT-tiny at 224x224, cut out of the lowered network and folded for 54,272
cycles per frame, show what an interval costs and where cycles go before the whole network is built.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

from bhvit.errors import CheckFailed

from . import estimate, fifo_sizing, folding, graph, ops
from .sim.design import DesignSim
from .stitch import stitch
from .synth_build import synthesize_build


def cut(model: ModelWrapper, start: str, end: str) -> ModelWrapper:
    """The part of a hardware graph between two tensors (input ``start``, output ``end``).

    Raises:
        ValueError: the part needs other inputs.
    """
    nodes = list(model.graph.node)
    streams = {n.name: list(ops.stream_inputs(n)) for n in nodes}
    down = {start}
    for n in nodes:
        if down & set(streams[n.name]):
            down.update(n.output)
    up, kept = {end}, []
    for n in reversed(nodes):
        if up & set(n.output) and down & set(streams[n.name]):
            kept.insert(0, n)
            up.update(t for t in streams[n.name] if t != start)
    made = {t for n in kept for t in n.output} | {start}
    foreign = [t for n in kept for t in streams[n.name] if t not in made]
    if foreign:
        raise ValueError(f"the part between {start} and {end} also needs {', '.join(foreign)}")

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, 1, model.get_tensor_shape(name))

    part = ModelWrapper(qonnx_make_model(helper.make_graph([copy.deepcopy(n) for n in kept], "part", [value(start)],
                                                           [value(end)])))
    for n in kept:
        for t in n.input[len(streams[n.name]):]:
            part.set_initializer(t, model.get_initializer(t))
        for t in [*n.input, *n.output]:
            shape = model.get_tensor_shape(t)
            if shape is not None:
                part.set_tensor_shape(t, shape)
            part.set_tensor_datatype(t, model.get_tensor_datatype(t))
    return part


def block_ends(model: ModelWrapper, stage: int) -> tuple[str, str]:
    """Input and output tensor of the blocks of a stage (1..4) of a lowered network with one block per stage."""
    embeddings = [n for n in model.graph.node if graph.stem(n) == "position_embedding"]
    start = embeddings[stage - 1].output[0]
    dims = ops.layer_from_node(embeddings[stage - 1]).outputs()[0].dims
    end = [n.output[0] for n in model.graph.node if graph.stem(n) == "binary_linear"
           and ops.layer_from_node(n).res2 and ops.layer_from_node(n).outputs()[0].dims == dims][-1]
    return start, end


def probe(model: ModelWrapper, stage: int, images: np.ndarray, work: Path, *, target: int, part: str, jobs: int = 2,
          synthesis: bool = True, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Build, simulate and synthesize the block of one stage.

    Args:
        model: lowered network with planned rows, integers. images: uint8 (F, H, W, C): their activations enter.
        work: build folder. target: interval in cycles.
    Returns:
        cycles (estimated, simulated, latency), Yosys counts in total and per kind of layer, build times.
    Raises:
        CheckFailed: the RTL differs from the integer goldens.
    """
    times: dict[str, float] = {}

    def timed(name: str, f: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        out = f()
        times[name] = round(time.monotonic() - begun, 1)
        say(f"stage {stage}: {name} {times[name]:.1f} s")
        return out

    start, end = block_ends(model, stage)
    tensors = timed("execute network", lambda: ops.execute(model, {model.graph.input[0].name: images},
                                                           keep=[start, end]))
    block = graph.specialize(graph.insert_duplicates(cut(model, start, end)), part)
    timed("fold", lambda: folding.apply(block, folding.choose(block, target)))
    block = graph.insert_fifos(graph.insert_width_converters(block))
    block, _ = timed("size FIFOs", lambda: fifo_sizing.size_fifos(block, work / "sizing", jobs=jobs, log=say))
    (work / "report").mkdir(parents=True, exist_ok=True)
    folder = work / "stitched_ip"
    design = timed("stitch", lambda: stitch(block, folder))
    sim = timed("compile", lambda: DesignSim(design, work / "sim", jobs=jobs))
    result, _ = timed("simulate", lambda: sim.run(np.asarray(tensors[start]).astype(np.int64)))
    want = np.asarray(tensors[end]).astype(np.int64)
    got = result.outputs[0]
    if result.status or not np.array_equal(got, want.reshape(got.shape)):
        raise CheckFailed(f"The stage-{stage} block differs from its golden model.", why=f"status {result.status}")
    out: dict[str, Any] = {
        "stage": stage, "images": len(images), "bit_exact_images": len(got), "distinct_outputs":
        len(np.unique(got.reshape(len(got), -1), axis=0)), "target_cycles": target,
        "estimated_cycles": design.max_cycles, "interval_cycles": result.interval, "latency_cycles": result.latency,
        "simulated_cycles_per_second": result.cycles / result.seconds, "seconds": times,
        "fifo_bits": int(sum(ops.layer_from_node(n).depth * ops.layer_from_node(n).inputs()[0].width
                             for n in graph.fifos(block))),
        "estimate": estimate.layer_resources(block, part)["total"], "cycles": estimate.layer_cycles(block)}
    if synthesis:
        synth = timed("Yosys", lambda: synthesize_build(work, jobs=jobs,
                                                        progress=lambda d, n, s: say(f"  Yosys {d}/{n} {s}")))
        kinds: dict[str, dict[str, int]] = {}
        for n in block.graph.node:
            total = kinds.setdefault(graph.stem(n), {})
            for k, v in synth["layers"][n.name].items():
                total[k] = total.get(k, 0) + v
        out |= {"yosys": synth["total"], "yosys_by_kind": kinds}
    (work / "report" / "scale_probe.json").write_text(json.dumps(out, indent=2) + "\n")
    return out
