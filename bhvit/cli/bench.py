"""`bhvit bench`: every measured figure of the project, in one run."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from .. import model_process
from ..progress import Progress
from ..tools import findings
from . import bench_packing
from .demo import ROOT
from .flow import refuse_difference
from .main import emit, json_option

PROBE_MODEL = ROOT / "configs" / "model" / "bhvit_tiny_probe.yaml"
PROBE_CYCLES = 54272
PROBE_PART = "xczu7ev-ffvc1156-2-e"
STAGES = (1, 3)
PARTS = ("micro", "xnor", "packing", "scale_probe", "probe_synthesis", "training")
TRAINED_MODEL = ROOT / "configs" / "model" / "bhvit_tiny_cifar10.yaml"


def _progress(title: str):
    bar = Progress(title, None, "instances")

    def tell(done: int, total: int, name: str) -> None:
        bar.total = total
        bar.update(done, info=name)

    return bar, tell


def micro(out: Path, images: int) -> dict[str, Any]:
    """Build and simulate bhvit_micro; build times, simulation speed, layer intervals."""
    from bhvit.finn_flow import bench
    from bhvit.finn_flow.build import build, cosim
    from bhvit.finn_flow.config import load_config

    folder = out / "bhvit_micro"
    performance = build(load_config(ROOT / "configs" / "build" / "bhvit_micro.yaml"), folder, fresh=True)
    result = cosim(folder, data="digits@test", images=images)
    refuse_difference(result, folder)
    bar, tell = _progress("layer intervals")
    with bar:
        layers = bench.layer_intervals(folder, progress=tell)
    return {
        "build_seconds": json.loads((folder / "report" / "time_per_step.json").read_text()),
        "build_peak_memory_mb": json.loads((folder / "report" / "memory_per_step.json").read_text()),
        "sim_cycles_per_second": result["sim_cycles_per_second"], "interval_cycles": result["interval_cycles"],
        "estimated_interval_cycles": performance["max_cycles"], "latency_cycles": result["latency_cycles"],
        "bit_exact_images": result["bit_exact_images"], "images": result["images"], "layers": layers}


def scale_probe(out: Path, synthesis: bool) -> dict[str, Any]:
    """One stage-1 and one stage-3 block of BHViT-tiny at 224x224 as RTL."""
    import numpy as np

    from bhvit.finn_flow import ops
    from bhvit.finn_flow import scale_probe as probe
    from bhvit.finn_flow.passes.lower import lower
    from bhvit.finn_flow.passes.plan_rows import plan_rows

    folder = out / "scale_probe"
    network = folder / "model" / "network.onnx"
    if not network.with_suffix("").with_suffix(".golden.npz").exists():
        model_process.ask(["export", str(PROBE_MODEL), "--random-weights", "1", "-o", str(network.parent),
                           "--check-images", "2"])
    images = np.load(network.with_suffix("").with_suffix(".golden.npz"))["pixels"]
    model = plan_rows(lower(ops.load(network), images[:1]), images[:1])
    frames = np.concatenate([images, np.flip(images, 1)])[:5]  # five different ones
    results = {}
    for stage in STAGES:
        results[f"stage{stage}"] = probe.probe(model, stage, frames, folder / f"stage{stage}", target=PROBE_CYCLES,
                                               part=PROBE_PART, synthesis=synthesis,
                                               say=lambda t: click.echo(t, err=True))
    return results


def training() -> dict[str, Any]:
    """Training speed of BHViT-tiny's widths and depths at 32x32, as written and with fused kernels, in one run."""
    from bhvit.model.config import load_config
    from bhvit.model.train.throughput import throughput

    plain, fused = (throughput(load_config(TRAINED_MODEL), fused=fused) for fused in (False, True))
    return {"model": TRAINED_MODEL.stem, "plain": plain, "fused": fused,
            "ratio": fused["images_per_second"] / plain["images_per_second"]}


def text(r: dict[str, Any]) -> str:
    """The figures for people."""
    lines = []
    if "micro" in r:
        m = r["micro"]
        worst = max(m["layers"].items(), key=lambda kv: abs(kv[1]["ratio"] - 1))
        lines += ["bhvit_micro (RTL simulation)",
                  f"  simulated cycles per second   {m['sim_cycles_per_second']:,.0f}",
                  f"  interval                      {m['interval_cycles']:,.0f} cycles, estimate "
                  f"{m['estimated_interval_cycles']:,}",
                  f"  bit-exact                     {m['bit_exact_images']}/{m['images']}",
                  f"  layers, estimate / simulation {len(m['layers'])} instances, largest deviation "
                  f"{100 * abs(worst[1]['ratio'] - 1):.1f} % ({worst[0]})",
                  f"  peak memory of the build      {max(m['build_peak_memory_mb'].values()):,.0f} MB",
                  "  build time by step"]
        lines += [f"    {k:32} {v:7.1f} s" for k, v in m["build_seconds"].items()]
    if "xnor" in r:
        lines.append("XNOR popcount, LUTs per binary MAC (Yosys)")
        lines += [f"  SIMD {k:>4}: structural {v['structural']:.2f}, plain $countones {v['plain']:.2f}, "
                  f"ratio {v['ratio']:.2f}" for k, v in r["xnor"].items()]
    if "packing" in r:
        lines.append(bench_packing.text(r["packing"]))
    if "training" in r:
        t = r["training"]
        lines += [f"training {t['model']}: {p['images_per_second']:.0f} images/s, {p['precision']}, batches of "
                  f"{p['batch_size']}, {p['threads']} threads, {100 * p['data_share']:.1f} % of the time on data"
                  for p in (t["plain"], t["fused"])]
    for name, p in r.get("scale_probe", {}).items():
        y = p.get("yosys") or {}
        lines.append(f"scale probe, {name} block of BHViT-tiny at 224x224: bit-exact "
                     f"{p['bit_exact_images']}/{p['images']}, interval {p['interval_cycles']:,.0f} of "
                     f"{p['target_cycles']:,} cycles, latency {p['latency_cycles']:,} (RTL simulation)")
        if y:
            lines.append(f"  Yosys: {y['LUT'] + y['LUTRAM'] + y['SRL']:,} LUT sites, {y['FF']:,} FF, {y['DSP']} DSP, "
                         f"{y['BRAM_18K']} BRAM18, {y['URAM']} URAM")
    return "\n".join(lines)


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("build/bench"), show_default=True)
@click.option("-n", "images", type=click.IntRange(min=8), default=200, show_default=True, help="Test images.")
@click.option("--skip", multiple=True, type=click.Choice(PARTS), help="Leave a part out. Repeatable.")
@json_option
def bench(out: Path, images: int, skip: tuple[str, ...], as_json: bool) -> None:
    """Measure everything that is reported. Takes a while: the scale probe synthesizes two blocks of BHViT-tiny."""
    from bhvit.finn_flow.bench import xnor_luts
    from bhvit.finn_flow.build import code_digest

    result: dict[str, Any] = {"provenance": {
        "date": datetime.now(UTC).date().isoformat(), "processors": os.cpu_count(), "machine": platform.machine(),
        "code": code_digest("flow")[:16], "tools": {f.name: f.version for f in findings() if f.needed}}}
    if "micro" not in skip:
        result["micro"] = micro(out, images)
    if "xnor" not in skip:
        result["xnor"] = xnor_luts(cache=out / "xnor")
    if "packing" not in skip:
        result["packing"] = bench_packing.packing()
    if "scale_probe" not in skip:
        result["scale_probe"] = scale_probe(out, "probe_synthesis" not in skip)
    if "training" not in skip:
        result["training"] = training()
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    emit(result, as_json, text(result) + f"\nwritten: {out / 'bench.json'}")
