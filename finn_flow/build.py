"""The build: from a build file to a stitched design, in steps that resume.

A build folder (FINN's names where FINN has them):

    build_config.json          the configuration; marks the folder as ours
    build_dataflow.log         the step log
    model/                     network.onnx with its golden tensors, and copies of the model file and the weights
    intermediate_models/       the graph after each step, <step>.onnx
    fifo_simulations/          results of the simulations behind the depths of FIFOs, for a build that was
                               interrupted or gets other weights
    report/                    estimates, fifo_sizing.json, time_per_step.json, auto_folding_config.json, cosim.json
    stitched_ip/               the design
    sim/                       compiled simulators, kept from run to run
    steps/                     one completion marker per step

A step is complete when its marker exists, was written for the same inputs (configuration, code, outputs of the step
before) and every file it names still has the content it had. Markers are written last and atomically, and removed
before a step runs again: an interrupted build continues behind its last complete step and never uses half a result.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import BhvitError, CheckFailed, file_trouble
from bhvit.garbage import fewer_collections
from bhvit.progress import quiet_wanted
from bhvit.tools import compiler, verilator

from . import finn_env, ops
from .build_finished import cosim, design, graph_after, simulate
from .build_folder import claim, complete, digests, load_build, lock, write
from .build_key import code_digest, provenance, step_key
from .build_steps import SIMULATED, STEPS, Context, Step
from .config import BuildConfig


def build(config: BuildConfig, folder: Path, *, steps: tuple[Step, ...] = STEPS, echo: TextIO | None = None,
          fresh: bool = False) -> dict[str, Any]:
    """Run the build into ``folder`` and return the estimated performance.

    Args:
        config: see :func:`config.load_config`. echo: where the step log also goes (default: standard error).
        fresh: run every step, even when it is complete.
    Raises:
        UserError: the folder belongs to something else, or another build runs in it. CheckFailed: a step's graph does
            not compute what PyTorch computes, or the design stalls.
    """
    folder = Path(folder).resolve()
    echo = echo if echo is not None else io.StringIO() if quiet_wanted() else sys.stderr
    try:
        claim(folder)
        with lock(folder), (folder / "build_dataflow.log").open("a") as log:
            return _build(config, folder, steps, echo, log, fresh)
    except OSError as e:
        raise file_trouble(e, folder) from e


@fewer_collections()
def _build(config: BuildConfig, folder: Path, steps: tuple[Step, ...], echo: TextIO, log: TextIO,
           fresh: bool) -> dict[str, Any]:

    def say(text: str) -> None:
        for f in (echo, log):
            f.write(text + "\n")
            f.flush()

    shown = {**config.model_dump(mode="json"), "device": config.device}
    write(folder / "build_config.json", json.dumps(shown, indent=2) + "\n")
    for d in ("report", "intermediate_models", "steps"):
        (folder / d).mkdir(exist_ok=True)
    finn_env.setup(folder / "finn_build")
    if config.backend == "open":
        say("Backend: open (Verilator simulates, Yosys synthesizes; no vendor tool is used)")
    else:
        say("Backend: vivado (Verilator simulates the stitched design; `bhvit bitstream` implements it with Vivado)")
    say(f"Build: {config.model.name} for {config.board or config.device} at {config.clock_mhz:g} MHz (assumed), "
        f"output {_shown(folder)}")
    ctx = Context(folder, config, say)
    if fresh:
        shutil.rmtree(folder / SIMULATED, ignore_errors=True)
    times: dict[str, float] = {}
    memory: dict[str, float] = {}
    chain, model = "", None
    for i, step in enumerate(steps):
        key = step_key(chain, step, config, folder)
        marker = folder / "steps" / f"{i + 1:02d}_{step.name}.json"
        done = None if fresh else complete(folder, marker, key)
        if done is not None:
            say(f"Keeping step: {step.name} [{i + 1}/{len(steps)}] (complete)")
        else:
            for m in (folder / "steps").glob("[0-9][0-9]_*.json"):
                if int(m.name.split("_")[0]) > i:
                    m.unlink()
            verilator(), compiler()  # missing tools are told before the work, not in the middle of it
            say(f"Running step: {step.name} [{i + 1}/{len(steps)}]")
            done = _run_step(ctx, step, marker, key, model)
        saved = folder / "intermediate_models" / f"{step.name}.onnx"
        if saved.exists():
            model = ops.load(saved)
        times[step.name], memory[step.name] = done["seconds"], done["peak_memory_mb"]
        chain = done["digest"]
        data = {**times, "total_build_time": sum(times.values())}
        write(ctx.report / "time_per_step.json", json.dumps(data, indent=2) + "\n")
        write(ctx.report / "memory_per_step.json", json.dumps(memory, indent=2) + "\n")
    write(ctx.report / "provenance.json", json.dumps(provenance(config), indent=2) + "\n")
    say(f"Build complete: {_shown(folder)}")
    performance = ctx.report / "estimate_network_performance.json"
    return json.loads(performance.read_text()) if performance.exists() else {}


def _shown(folder: Path) -> str:
    """The folder as the user would write it: the shorter of its two paths."""
    return min(str(folder), os.path.relpath(folder), key=len)


def _run_step(ctx: Context, step: Step, marker: Path, key: str, model: ModelWrapper | None) -> dict[str, Any]:
    begun = time.monotonic()
    _reset_peak()
    children = _children_mb()
    try:
        new = step.run(ctx, model)
        if step.checked and new is not None:
            _check_graph(ctx, step.name, new)
    except BhvitError:
        ctx.say(f"Step {step.name} failed after {time.monotonic() - begun:.1f} s")
        raise
    outputs = list(step.outputs)
    if new is not None:
        saved = ctx.folder / "intermediate_models" / f"{step.name}.onnx"
        new.save(str(saved))
        outputs.append(str(saved.relative_to(ctx.folder)))
    files = digests(ctx.folder, outputs)
    done = {"step": step.name, "key": key, "files": files, "seconds": round(time.monotonic() - begun, 3),
            "peak_memory_mb": round(_peak_mb(children), 1),
            "digest": hashlib.sha256(json.dumps([key, files], sort_keys=True).encode()).hexdigest()}
    write(marker, json.dumps(done, indent=1) + "\n")
    ctx.say(f"  done in {done['seconds']:.1f} s, peak memory {done['peak_memory_mb']:.0f} MB")
    return done


def _check_graph(ctx: Context, step: str, model: ModelWrapper) -> None:
    """Rung 3: the graph's Python execution equals PyTorch's golden logits."""
    golden = ctx.golden()
    y = ops.execute(model, {model.graph.input[0].name: golden["images"]})[model.graph.output[0].name]
    want = golden["logits"].reshape(len(golden["logits"]), -1)
    got = np.asarray(y).reshape(len(want), -1)
    if got.shape[1] == 1 and want.shape[1] > 1:
        want = want.argmax(axis=1)[:, None]
    if not np.array_equal(got, want):
        i, c = map(int, np.argwhere(got != want)[0])
        raise CheckFailed(f"After {step} the hardware graph no longer computes what PyTorch computes.",
                          why=f"image {i}, output {c}: expected {int(want[i, c])}, got {int(got[i, c])}",
                          do="this is a defect of that step; the graph before it is in intermediate_models/")
    ctx.say(f"  {len(want)} images equal PyTorch")


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _children_mb() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _peak_mb(children_before: float) -> float:
    """Peak memory of this process since the last reset; of a child process where a step's child took more."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with suppress(OSError, StopIteration):
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        own = int(line.split()[1]) / 1024
    children = _children_mb()  # the largest child so far: it tells something only when it grew in this step
    return max(own, children) if children > children_before else own


__all__ = ["STEPS", "Context", "Step", "build", "code_digest", "cosim", "design", "graph_after", "load_build",
           "simulate"]
