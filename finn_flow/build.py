"""The build: from a build file to a stitched design, in steps that resume.

A build folder (FINN's names where FINN has them):

    build_config.json          the configuration; marks the folder as ours
    build_dataflow.log         the step log
    model/                     network.onnx with its golden tensors, and copies of the model file and the weights
    intermediate_models/       the graph after each step, <step>.onnx
    report/                    estimates, fifo_sizing.json, time_per_step.json, auto_folding_config.json, cosim.json
    stitched_ip/               the design
    sim/                       compiled simulators, kept from run to run
    steps/                     one completion marker per step

A step is complete when its marker exists, was written for the same inputs (configuration, code, outputs of the step
before) and every file it names still has the content it had. Markers are written last and atomically, and removed
before a step runs again: an interrupted build continues behind its last complete step and never uses half a result.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import resource
import sys
import time
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from pydantic import BaseModel
from qonnx.core.modelwrapper import ModelWrapper

from bhvit.errors import BhvitError, CheckFailed, UserError, file_trouble
from bhvit.garbage import fewer_collections
from bhvit.progress import quiet_wanted
from bhvit.tools import compiler, verilator

from . import cosim as cosim_module
from . import finn_env, implementation, ops
from . import layers as declarations
from .build_steps import STEPS, Context, Step, file_digest
from .config import BuildConfig, Weights
from .hls.vitis.rtl import digest as hls_digest
from .sim.verilate import NO_STALLS, Stalls
from .stitch import Design

PACKAGE = Path(__file__).resolve().parent
CODE = {"model": (PACKAGE.parent / "model",),
        "flow": (PACKAGE, PACKAGE.parent / "rtl", *map(Path, declarations.__path__[1:]))}
#: folders of the sources that no step runs: what is put around a finished design, and what looks at it
AROUND = ("explore", "package", "shell")
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
        with _lock(folder), (folder / "build_dataflow.log").open("a") as log:
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

    shown = _config_dict(config)
    _write(folder / "build_config.json", json.dumps(shown, indent=2) + "\n")
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
    times: dict[str, float] = {}
    memory: dict[str, float] = {}
    chain, model = "", None
    for i, step in enumerate(steps):
        key = _key(chain, step, config, folder)
        marker = folder / "steps" / f"{i + 1:02d}_{step.name}.json"
        done = None if fresh else _complete(folder, marker, key)
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
        _write(ctx.report / "time_per_step.json", json.dumps(data, indent=2) + "\n")
        _write(ctx.report / "memory_per_step.json", json.dumps(memory, indent=2) + "\n")
    _write(ctx.report / "provenance.json", json.dumps(provenance(config), indent=2) + "\n")
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
    files = _digests(ctx.folder, outputs)
    done = {"step": step.name, "key": key, "files": files, "seconds": round(time.monotonic() - begun, 3),
            "peak_memory_mb": round(_peak_mb(children), 1),
            "digest": hashlib.sha256(json.dumps([key, files], sort_keys=True).encode()).hexdigest()}
    _write(marker, json.dumps(done, indent=1) + "\n")
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


# ---- resuming ----------------------------------------------------------------------------------------------------
#: what a build writes before its configuration marks the folder: a folder that holds only these is ours
FIRST = {".lock", "build_dataflow.log", "build_config.json.partial"}
CONFIG_KEYS = {"model", "weights", "backend"}


def claim(folder: Path) -> None:
    """Create the folder, or accept an earlier build; refuse anything else."""
    if folder.exists() and not folder.is_dir():
        raise UserError("The output is not a folder.", folder, do="name a folder that does not exist yet")
    if folder.exists() and {f.name for f in folder.iterdir()} - FIRST and not _is_ours(folder):
        raise UserError("The output folder holds something else.", folder,
                        "it is not empty and was not made by `bhvit build`", "name a new folder, or empty this one")
    folder.mkdir(parents=True, exist_ok=True)


def _is_ours(folder: Path) -> bool:
    """By the configuration file; by the markers of the steps where that file was damaged."""
    return bool(_saved_config(folder)) or any((folder / "steps").glob("*_step_*.json"))


def _saved_config(folder: Path) -> dict[str, Any]:
    """The configuration in a build folder, empty when there is none or it cannot be read."""
    try:
        data = json.loads((folder / "build_config.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and set(data) >= CONFIG_KEYS else {}


@contextmanager
def _lock(folder: Path, shared: bool = False):
    """One build in a folder at a time; commands that only read a build may share it."""
    try:
        f = (folder / ".lock").open("a")
    except PermissionError:
        if not shared:
            raise
        yield  # a build that somebody else made, read-only: nobody writes there
        return
    with f:
        try:
            fcntl.flock(f, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise UserError("Another command is at work in this folder.", folder,
                            "`bhvit build` needs the folder for itself", "wait for it, or use another folder") from None
        yield


def _write(path: Path, text: str) -> None:
    """Atomically: the file has its old content or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def _digests(folder: Path, outputs: list[str]) -> dict[str, str]:
    found = {}
    for o in outputs:
        p = folder / o
        for f in sorted(x for x in p.rglob("*") if x.is_file()) if p.is_dir() else [p]:
            found[str(f.relative_to(folder))] = hashlib.sha256(f.read_bytes()).hexdigest()
    return found


def _complete(folder: Path, marker: Path, key: str) -> dict[str, Any] | None:
    try:
        done = json.loads(marker.read_text())
        if done["key"] == key and all(
                hashlib.sha256((folder / f).read_bytes()).hexdigest() == d for f, d in done["files"].items()):
            return done
    except (OSError, ValueError, KeyError):
        pass
    return None


def _key(chain: str, step: Step, config: BuildConfig, folder: Path) -> str:
    values: dict[str, Any] = {}
    for s in step.settings:
        v = getattr(config, s)
        if isinstance(v, Weights):
            v = file_digest(v.file) if v.file else v.random
        elif isinstance(v, BaseModel):
            v = v.model_dump(mode="json")
        elif isinstance(v, Path):
            v = file_digest(v)
        elif s == "hls_rtl":
            own = implementation.verilog_digests(config.implementation, folder)
            v = own | {node: hls_digest(p) for node, p in v.items()}
        values[s] = v
    return hashlib.sha256(json.dumps([chain, step.name, values, code_digest(step.code)]).encode()).hexdigest()


def code_digest(part: str) -> str:
    """Digest of the sources that a step runs: a changed tool makes its results incomplete."""
    h = hashlib.sha256()
    for root in CODE[part]:
        for f in sorted(root.rglob("*")):
            if f.suffix in (".py", ".sv", ".cpp") and f.relative_to(root).parts[0] not in AROUND:
                h.update(f"{f.relative_to(root)}\0".encode() + f.read_bytes())
    return h.hexdigest()


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


def _config_dict(config: BuildConfig) -> dict[str, Any]:
    return {**config.model_dump(mode="json"), "device": config.device}


def provenance(config: BuildConfig) -> dict[str, Any]:
    """Versions of what made a result."""
    found = {"backend": config.backend, "python": sys.version.split()[0], "code": code_digest("flow")[:16]}
    for name in ("bhvit", "finn-plus", "qonnx", "verilator", "torch", "brevitas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


# ---- a finished build ----------------------------------------------------------------------------------------------
def load_build(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and configuration of a finished build. Raises UserError when it is none, not finished or incomplete."""
    folder = Path(folder)
    again = "run `bhvit build` again; it continues where it stopped"
    if not folder.is_dir():
        raise UserError("The build folder does not exist.", folder, do="run `bhvit build BUILD.yaml -o FOLDER` first")
    if not _is_ours(folder):
        raise UserError("This is no build folder.", folder, "build_config.json is missing",
                        "run `bhvit build BUILD.yaml -o FOLDER` first")
    config = _saved_config(folder)
    last = folder / "steps" / f"{len(STEPS):02d}_{STEPS[-1].name}.json"
    if not last.is_file() or not (folder / "stitched_ip" / "design.json").is_file():
        raise UserError("The build is not finished.", folder, "it was interrupted, or a step failed", again)
    missing = [f for f in _recorded(folder) if not (folder / f).is_file()]
    if missing or not config:
        raise UserError("Files of the build are missing.", folder, ", ".join(missing[:3]) or "build_config.json", again)
    return folder, config


def _recorded(folder: Path) -> dict[str, str]:
    """Digest by name of every file that the steps have written."""
    found: dict[str, str] = {}
    for marker in sorted((folder / "steps").glob("*.json")):
        with suppress(ValueError, KeyError, TypeError):
            found.update(json.loads(marker.read_text())["files"])
    return found


def changed_files(folder: Path, part: str) -> list[str]:
    """Files below `part` of a finished build whose content is no longer what the build wrote."""
    return [f for f, d in _recorded(folder).items() if f.startswith(part + "/") and file_digest(folder / f) != d]


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
        with _lock(folder, shared=True):
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
        _write(folder / "report" / "rtlsim_performance.json", json.dumps(performance, indent=2) + "\n")
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
    with _lock(folder, shared=True):
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


__all__ = ["STEPS", "Context", "Step", "build", "cosim", "design", "load_build"]
