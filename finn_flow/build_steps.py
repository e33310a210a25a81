"""The steps of a build: what each does, what it depends on, and which files it leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from bhvit import model_process
from bhvit.errors import CheckFailed, UserError

from . import estimate, fetch, fifo_sizing, folding, graph, implementation, memory_plan, ops
from . import fit as fitting
from .config import BuildConfig
from .devices import device_of
from .stitch import stitch

#: images with which every graph is checked against PyTorch's golden tensors
CHECK_IMAGES = 2


@dataclass
class Context:
    """What a step works with."""

    folder: Path
    config: BuildConfig
    say: Callable[[str], None]

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def onnx(self) -> Path:
        return self.folder / "model" / "network.onnx"

    def verilog(self, model: ModelWrapper) -> dict[str, Path]:
        """Where what Vitis HLS wrote lies, by node name: in the build folder, or where the build file says."""
        return implementation.verilog(model, self.folder) | dict(self.config.hls_rtl)

    def golden(self) -> dict[str, np.ndarray]:
        """Images and integer logits of the sidecar."""
        with np.load(self.onnx.with_suffix("").with_suffix(".golden.npz")) as d:
            return {"images": d["pixels"][:CHECK_IMAGES], "logits": d["logits"][:CHECK_IMAGES]}


@dataclass(frozen=True)
class Step:
    """``run`` takes the context and the graph of the step before, and returns the graph (or None: unchanged)."""

    name: str
    run: Callable[[Context, ModelWrapper | None], ModelWrapper | None]
    settings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    code: str = "flow"
    checked: bool = True


#: folder of a build for the simulations behind its FIFO depths
SIMULATED = "fifo_simulations"


@contextmanager
def scratch(folder: Path):
    """An empty folder that goes when the work in it is done; it stays for inspection after an error."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's contents."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def step_export(ctx: Context, _model: ModelWrapper | None) -> ModelWrapper:
    folder = ctx.onnx.parent
    if folder.exists():
        shutil.rmtree(folder)
    for old in ctx.report.glob("reference_*.npz"):  # what another network gave
        old.unlink()
    weights = ctx.config.weights
    args = ["--weights", str(weights.file)] if weights.file else ["--random-weights", str(weights.random)]
    ctx.say("  " + model_process.ask(["export", str(ctx.config.model), *args, "-o", str(folder)])["message"])
    return ops.load(ctx.onnx)


def step_lower(ctx: Context, model: ModelWrapper | None) -> ModelWrapper:
    from .passes.append_argmax import append_argmax
    from .passes.lower import lower
    from .passes.match import LoweringError
    from .passes.plan_rows import plan_rows

    assert model is not None
    images = ctx.golden()["images"]
    try:
        model = plan_rows(lower(model, images), images, ctx.config.rows)
    except LoweringError as e:
        kind = CheckFailed if e.exit_code == CheckFailed.exit_code else UserError
        raise kind("The exported network cannot be lowered to hardware.", e.where or ctx.onnx, e.why or e.what,
                   e.do or "this network has a form that the lowering does not know; please report its model file"
                   ) from e
    return append_argmax(model) if ctx.config.output == "top1" else model


def step_specialize(ctx: Context, model: ModelWrapper | None) -> ModelWrapper:
    assert model is not None
    model = graph.legal_names(graph.insert_duplicates(model))
    return graph.specialize(implementation.prefer(model, ctx.config.implementation), ctx.config.device)


def _fit(ctx: Context, model: ModelWrapper) -> dict[str, dict[str, int]]:
    device = device_of(ctx.config.device)
    if device is None:
        raise UserError("The device's resources are not known.", "optimize", ctx.config.device,
                        "use `optimize: cost`, or add the part to finn_flow/devices.py")
    assert ctx.config.cycles is not None
    found = fitting.fit(model, ctx.config.cycles, device, ctx.config.memory, ctx.say)
    data = {"device": ctx.config.device, "budgets": fitting.budgets(device, ctx.config.memory), "use": found.use,
            "share_of_budget": found.share, "source": "estimate"}
    (ctx.report / "fit.json").write_text(json.dumps(data, indent=1) + "\n")
    return found.foldings


def step_fold(ctx: Context, model: ModelWrapper | None) -> ModelWrapper:
    from .passes.share import share_stages

    assert model is not None
    share_stages(model, ctx.config.share, ctx.config.in_flight)
    for stage, groups in ctx.config.share.items():
        ctx.say(f"  stage {stage}: blocks {' + '.join(map(str, groups))} share an engine each")
    fetch.keep(memory_plan.keep_outside(model, ctx.config.memory), ctx.config.memory)
    if ctx.config.folding_file is not None:
        found = folding.read(ctx.config.folding_file, model)
        if ctx.config.optimize == "fit":
            ctx.say("  the foldings are those of folding_file: `optimize: fit` has no part in them")
    elif ctx.config.optimize == "fit":
        found = _fit(ctx, model)
    else:
        found = folding.choose(model, ctx.config.cycles)
    folding.apply(model, found)
    folding.write(ctx.report / "auto_folding_config.json", folding.current(model))
    implementation.finish(graph.insert_width_converters(model), ctx.config.implementation)
    # the plan comes behind the long simulations of the FIFOs
    memory_plan.check(model, ctx.config.memory, ctx.config.device)
    slowest = estimate.performance(model, ctx.config.clock_mhz)
    ctx.say(f"  interval {slowest['max_cycles']} cycles (estimate), set by {slowest['max_cycles_node_name']}")
    return model


def step_size_fifos(ctx: Context, model: ModelWrapper | None) -> ModelWrapper:
    assert model is not None
    model = graph.insert_fifos(model)
    verilog = ctx.verilog(model)
    table = {"backend": ctx.config.backend, **implementation.table(model, verilog)}
    (ctx.report / "implementation.json").write_text(json.dumps(table, indent=2) + "\n")
    if ctx.config.backend == "vivado" or "hls" in table["count"]:
        for line in implementation.lines(table):
            ctx.say("  " + line)
    implementation.refuse_without_verilog(model, verilog, ctx.folder)  # depths are those of the design as it is
    kept = ctx.folder / SIMULATED  # an interrupted search goes on from them, and one for other weights takes them
    with scratch(ctx.folder / "fifo_sizing") as work:
        model, sizing = fifo_sizing.size_fifos(model, work, jobs=ctx.config.jobs, log=lambda t: ctx.say("  " + t),
                                               hls_rtl=verilog, small=ctx.config.fifos == "small",
                                               snap=ctx.config.fifos != "deep", wanted=ctx.config.cycles,
                                               ultra=ctx.config.fifo_memory, kept=kept)
    data = fifo_sizing.report(model, sizing)
    (ctx.report / "fifo_sizing.json").write_text(json.dumps(data, indent=2) + "\n")
    return model


def step_plan_memory(ctx: Context, model: ModelWrapper | None) -> ModelWrapper:
    assert model is not None
    model = memory_plan.plan(model, ctx.config.device, ctx.config.memory)
    data = memory_plan.report(model, ctx.config.device, ctx.config.memory)
    (ctx.report / "memory.json").write_text(json.dumps(data, indent=1) + "\n")
    total = data["total"]
    ctx.say(f"  memories: {total['bits'] / 1e6:.2f} Mbit in {total['bram18']} BRAM18, {total['uram']} URAM and "
            f"{total['lut']:.0f} LUT (estimate)"
            + ("" if data["fits"] is not False else "; with the logic this is more than the device may give"))
    return model


def step_stitch(ctx: Context, model: ModelWrapper | None) -> None:
    assert model is not None
    partial = ctx.folder / "stitched_ip.partial"
    verilog = ctx.verilog(model)
    stitch(model, partial, verilog)
    for node, place in verilog.items():
        ctx.say(f"  {node} takes the Verilog of Vitis HLS in {place}")
    final = ctx.folder / "stitched_ip"
    if final.exists():
        if _contents(final) != _contents(partial):  # measurements of the design before do not hold any more
            for old in [f for name in MEASURED for f in ctx.report.glob(name)]:
                old.unlink()
        shutil.rmtree(final)
    partial.rename(final)


#: reports about a design that later commands have written
MEASURED = ("cosim.json", "cosim_stalls_*.json", "rtlsim_performance.json", "rtlsim_layer_cycles.json", "synth.json",
            "shell_sim_*.json")


def _contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): file_digest(f) for f in folder.rglob("*") if f.is_file()}


def step_estimate(ctx: Context, model: ModelWrapper | None) -> None:
    assert model is not None
    estimate.write(model, ctx.report, ctx.config.device, ctx.config.clock_mhz)
    folding.write(ctx.report / "final_hw_config.json", folding.current(model))


ESTIMATES = tuple(f"report/{n}.json" for n in ("estimate_layer_cycles", "estimate_layer_resources",
                                               "estimate_network_performance", "op_and_param_counts"))
STEPS = (
    Step("step_bhvit_export", step_export, ("model", "weights"), ("model",), code="model", checked=False),
    Step("step_bhvit_lower", step_lower, ("rows", "output")),
    Step("step_specialize_layers", step_specialize, ("board", "part", "implementation")),
    Step("step_bhvit_fold", step_fold, ("clock_mhz", "target_fps", "target_cycles", "folding_file", "share",
                                        "in_flight", "implementation", "optimize", "fold_memory"),
         ("report/auto_folding_config.json",)),
    Step("step_bhvit_size_fifos", step_size_fifos, ("hls_rtl", "backend", "fifos", "fifo_memory"),
         ("report/fifo_sizing.json", "report/implementation.json")),
    Step("step_bhvit_plan_memory", step_plan_memory, ("memory", "board", "part"), ("report/memory.json",),
         checked=False),
    Step("step_bhvit_stitch", step_stitch, ("hls_rtl",), ("stitched_ip",), checked=False),
    Step("step_generate_estimate_reports", step_estimate, ("clock_mhz",), (*ESTIMATES, "report/final_hw_config.json"),
         checked=False),
)
