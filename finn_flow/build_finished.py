"""What is done with a finished build: cosimulation against PyTorch, bare simulation, its graphs and its design."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import UserError, file_trouble
from bhvit.garbage import fewer_collections

from . import cosim as cosim_module
from . import ops
from .build_folder import changed_files, load_build, lock, write
from .sim.verilate import NO_STALLS, Stalls
from .stitch import Design


def cosim(folder: Path, *, data: str | None = None, reference: Path | None = None, images: int | None = None,
          stalls: int | None = None, report: Path | None = None, jobs: int | None = None,
          quiet: bool | None = None, optimize: str | None = None, bandwidth: float = 0.0) -> dict[str, Any]:
    """Rung 6 of a finished build: the stitched RTL against PyTorch on real images.

    Args:
        data: data SPEC; the model side computes the logits in a process of its own. reference: or an npz with
            `images`, `logits` and, optionally, `labels`. images: at most so many. stalls: seed of random stalls.
        report: default report/cosim.json, with stalls report/cosim_stalls_SEED.json. optimize: g++ level
            (default: by the number of cycles). bandwidth: bytes per cycle of streamed weights' memory, 0: no limit.
    Returns:
        The contents of the report (:func:`cosim.cosim`).
    """
    folder, config = load_build(folder)
    if (data is None) == (reference is None):
        raise UserError("Give either --data SPEC or --reference FILE.", "command line",
                        "both are given" if data else "neither is given",
                        "e.g. --data digits, --data npz:FILE or --data random:1")
    if report is not None and Path(report).is_dir():
        raise UserError("The report is a folder.", report, do="name a file, e.g. --report result.json")
    try:
        with lock(folder, shared=True):
            return _cosim(folder, config, data, reference, images, stalls, report, jobs, quiet, optimize,
                          bandwidth)
    except OSError as e:
        raise file_trouble(e, folder) from e


@fewer_collections()
def _cosim(folder: Path, config: dict[str, Any], data: str | None, reference: Path | None, images: int | None,
           stalls: int | None, report: Path | None, jobs: int | None, quiet: bool | None,
           optimize: str | None, bandwidth: float = 0.0) -> dict[str, Any]:
    changed = changed_files(folder, "stitched_ip")
    if changed:
        print(f"note: {len(changed)} files of the design were changed after the build: {', '.join(changed[:3])}",
              file=sys.stderr)
    if reference is not None:
        ref = cosim_module.Reference.load(reference).head(images)
    else:
        name = hashlib.sha256(f"{data}|{images}".encode()).hexdigest()[:12]
        ref = cosim_module.run_reference(folder / "model", str(data), images,
                                         folder / "report" / f"reference_{name}.npz")
    design = Design.load(folder / "stitched_ip")
    interval = design.max_cycles
    if bandwidth and not design.weights:
        raise UserError("A bandwidth has no meaning for this design.", "--bandwidth",
                        "none of its weights are streamed",
                        "leave it out, or build with `memory.styles: {NODE.WEIGHT: stream}`")
    how = Stalls(stalls, 30, 30, burst=6 * interval) if stalls is not None else NO_STALLS
    report = report or folder / "report" / ("cosim.json" if stalls is None else f"cosim_stalls_{stalls}.json")
    out = cosim_module.cosim(folder / "stitched_ip", folder / "sim", ref, clock_mhz=config["clock_mhz"], stalls=how,
                             backend=config["backend"], report=report, jobs=jobs or config["jobs"], quiet=quiet,
                             optimize=optimize, requested=images, bandwidth=bandwidth)
    if stalls is None and out["fps"]:
        performance = [{"name": "out0", "samples": out["bit_exact_images"], "intervals": [out["interval_cycles"]],
                        "latency_cycles": out["latency_cycles"], "throughput_fps": out["fps"],
                        "source": "RTL simulation"}]
        write(folder / "report" / "rtlsim_performance.json", json.dumps(performance, indent=2) + "\n")
    return out


def simulate(folder: Path, images: np.ndarray, *, quiet: bool | None = None) -> np.ndarray:
    """What the stitched RTL of a finished build puts out, without a comparison.

    Args:
        images: uint8 (N, H, W, C).
    Returns:
        int64 (N, outputs): integer logits, or classes where the build ends in an argmax.
    Raises:
        UserError: no finished build, or images that do not fit. CheckFailed: the design stopped.
    """
    folder, config = load_build(folder)
    with lock(folder, shared=True):
        return cosim_module.outputs(folder / "stitched_ip", folder / "sim", images, jobs=config["jobs"], quiet=quiet)


def graph_after(folder: Path, step: str) -> ModelWrapper:
    """The graph that a step of a build has left. Raises UserError with the steps that have one."""
    file = Path(folder) / "intermediate_models" / f"{step}.onnx"
    if not file.is_file():
        have = ", ".join(sorted(f.stem for f in file.parent.glob("*.onnx"))) or "none"
        raise UserError(f"The build has no graph of `{step}`.", folder, f"there are: {have}",
                        "run `bhvit build` into this folder first, or name one of these")
    return ops.load(file)


def design(folder: Path) -> Design:
    """The stitched design of a finished build."""
    folder, _ = load_build(folder)
    return Design.load(folder / "stitched_ip")
