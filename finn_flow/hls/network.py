"""The C++ of a whole network: every node of a hardware graph in its ``_hls`` form, compiled with g++, run by FINN.

    model = as_hls(ops.load(path))
    programs = prepare(model, folder, jobs=2)      # compiled once; unchanged programs are kept
    result = compare(model, images)                # FINN executes node by node; every tensor against the goldens
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from bhvit.errors import CheckFailed, UserError

from .. import finn_env, graph, ops
from .cppsim import Instance, compile_nodes
from .generate import has_kernel

#: nodes in a program. More save the second that every compiler run costs, fewer keep all processors busy to the end and
#: let a changed node cause less work.
NODES_PER_PROGRAM = 24
#: graphs of a build, the latest first
GRAPHS = ("intermediate_models/step_bhvit_size_fifos.onnx", "stitched_ip/graph.onnx",
          "intermediate_models/step_bhvit_fold.onnx")


@dataclass
class Programs:
    """What was compiled: HLS nodes, different ones among them, programs, and how long it took."""

    nodes: int
    distinct: int
    programs: int
    compiled: int
    seconds: float


@dataclass
class Comparison:
    """Result of :func:`compare`. ``failures``: one sentence per node that differs, in dataflow order."""

    nodes: int
    frames: int
    tensors: int
    values: int
    seconds: float
    distinct_outputs: int
    failures: list[str] = field(default_factory=list)


def graph_of(build: Path) -> ModelWrapper:
    """The hardware graph of a build, FIFOs included when they are sized already."""
    for name in GRAPHS:
        if (Path(build) / name).is_file():
            return ops.load(Path(build) / name)
    raise UserError("The folder has no hardware graph.", build,
                    f"{GRAPHS[-1]} is missing: it is no build, or its folding is not done yet",
                    "run `bhvit build BUILD.yaml -o FOLDER` first")


def images_of(build: Path, count: int) -> np.ndarray:
    """The first images of a build's golden tensors, integers (F, H, W, C)."""
    path = Path(build) / "model" / "network.golden.npz"
    try:
        with np.load(path) as golden:
            return golden["pixels"][:count].astype(np.int64)
    except (OSError, KeyError, ValueError) as e:
        raise UserError("The build's golden tensors cannot be read.", path, e,
                        "run `bhvit build BUILD.yaml -o FOLDER` again") from e


def as_hls(model: ModelWrapper) -> ModelWrapper:
    """A copy with the ``_hls`` form of every node whose layer has one; the others run as their golden models."""
    model = copy.deepcopy(model)
    for n in model.graph.node:
        ops.implement(n, "hls" if has_kernel(ops.layer_class(n)) else "rtl")
    return model


def _instance(node: Any, model: ModelWrapper) -> Instance:
    layer, constants = ops.layer_of(node, model)
    if "ID" in type(layer).model_fields:  # numbers FIFOs for the RTL simulation: means nothing to the C++
        layer = layer.model_copy(update={"ID": 0})
    return Instance(node.name, layer, constants)


def refuse_engines(model: ModelWrapper) -> None:
    """Raises UserError when blocks share an engine, so that the graph has circles."""
    gates = [n.name for n in model.graph.node if graph.is_loop(n)]
    if gates:
        raise UserError("FINN cannot execute this graph node by node.", ", ".join(gates),
                        "blocks share an engine, through which frames go in circles",
                        "simulate it as a whole with `bhvit hls dataflow`, or take a build without `share`")


def prepare(model: ModelWrapper, folder: Path, *, jobs: int = 2, sanitize: bool = False,
            log: Callable[[str], None] = lambda _: None) -> Programs:
    """Compile the C++ of all nodes and set them to ``exec_mode=cppsim``.

    Nodes that differ in nothing but their name share their code. Programs whose source and headers did not change are
    taken from ``folder`` as they are.

    Args:
        model: graph of ``_hls`` nodes (see :func:`as_hls`); receives the programs' paths.
    Raises:
        UserError: see :func:`refuse_engines`. HlsCompileError: see :func:`.cppsim.compile_nodes`.
    """
    refuse_engines(model)
    begun = time.monotonic()
    code: dict[str, Instance] = {}
    shared: dict[str, str] = {}  # node -> the node whose code it uses
    hls = [n for n in model.graph.node if ops.implementation(n) == "hls"]
    for n in hls:
        node = _instance(n, model)
        shared[n.name] = code.setdefault(node.content(), node).name
    # nodes of a layer stand together: they share the headers
    nodes = sorted(code.values(), key=lambda i: i.layer.stem)
    groups = [nodes[i : i + NODES_PER_PROGRAM] for i in range(0, len(nodes), NODES_PER_PROGRAM)]
    done = compiled = 0

    def one(k: int, group: Sequence[Instance]) -> dict[str, Path]:
        nonlocal done, compiled
        at = Path(folder) / f"program_{k:02d}"
        before = (at / "csim").stat().st_mtime_ns if (at / "csim").exists() else None
        exe = compile_nodes(group, at, sanitize=sanitize)
        done, compiled = done + 1, compiled + (exe.stat().st_mtime_ns != before)
        log(f"compiled {done} of {len(groups)} programs")
        return dict.fromkeys((i.name for i in group), exe)

    where: dict[str, Path] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(one, range(len(groups)), groups):
            where.update(found)
    for n in hls:
        op = getCustomOp(n)
        op.set_nodeattr("executable_path", str(where[shared[n.name]]))
        op.set_nodeattr("cppsim_node", shared[n.name])
        op.set_nodeattr("exec_mode", "cppsim")
    return Programs(len(hls), len(nodes), len(groups), compiled, time.monotonic() - begun)


def with_batch(model: ModelWrapper, frames: int) -> ModelWrapper:
    """Set the first dimension of every stream tensor: FINN executes a graph at the shapes it declares."""
    for g in model.graph.input:
        model.set_tensor_shape(g.name, [frames, *model.get_tensor_shape(g.name)[1:]])
    for n in model.graph.node:
        getCustomOp(n).set_nodeattr("batch", frames)
        for t, st in zip(n.output, ops.layer_from_node(n).outputs()):
            model.set_tensor_shape(t, [frames, *st.dims])
    return model


def compare(model: ModelWrapper, images: np.ndarray) -> Comparison:
    """Let FINN execute a graph node by node, and compare every stream tensor with the golden models.

    Args:
        model: prepared graph (see :func:`prepare`); its batch becomes the number of images. images: (F, *dims).
    Raises:
        UserError: see :func:`refuse_engines`.
    """
    refuse_engines(model)
    finn_env.setup()
    from finn.core.onnx_exec import execute_onnx

    source = model.graph.input[0].name
    want = ops.execute(model, {source: images}, keep="*")
    with_batch(model, len(images))
    begun = time.monotonic()
    got = execute_onnx(model, {source: np.asarray(images, dtype=np.float32)}, return_full_exec_context=True)
    seconds = time.monotonic() - begun
    result = Comparison(len(model.graph.node), len(images), 0, 0, seconds,
                        len(np.unique(np.asarray(got[model.graph.output[0].name]).reshape(len(images), -1), axis=0)))
    for n in model.graph.node:
        for t in n.output:
            result.tensors, result.values = result.tensors + 1, result.values + want[t].size
            wrong = np.argwhere(np.asarray(got[t]) != want[t])
            if len(wrong):
                at = tuple(map(int, wrong[0]))
                result.failures.append(
                    f"{n.name} ({n.op_type}): {len(wrong)} of {want[t].size} values differ, the first at {list(at)}: "
                    f"{int(got[t][at])} instead of {int(want[t][at])}")
    return result


def check(result: Comparison, where: Path) -> None:
    """Raises CheckFailed unless every tensor was equal."""
    if result.failures:
        raise CheckFailed("The C++ of the network does not compute what its golden models compute: "
                          f"{len(result.failures)} of {result.tensors} tensors differ.", where, result.failures[0])
