"""Commands of the flow: build, cosim, synth, report."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CheckFailed
from ..progress import Progress
from .main import emit, json_option

build_folder = click.argument("build_dir", type=click.Path(path_type=Path))


@click.command()
@click.argument("build_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Build folder (default build/NAME_OF_THE_FILE).")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Replace an entry of the file. Repeatable.")
@click.option("--fresh", is_flag=True, help="Run every step again, complete or not.")
@json_option
def build(build_file: Path, out: Path | None, pairs: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """From BUILD.yaml to a stitched RTL design with estimates. Resumes after an interruption."""
    from bhvit.finn_flow.build import build as run
    from bhvit.finn_flow.config import load_config

    out = out or Path("build") / build_file.stem
    result = run(load_config(build_file, list(pairs)), out, fresh=fresh)
    emit({"build": str(out), **result}, as_json,
         f"{out}: {result['estimated_throughput_fps']:,.0f} frames/s, interval {result['max_cycles']:,} cycles, set by "
         f"{result['max_cycles_node_name']} (estimate). Next: bhvit cosim {out} --data SPEC")


def summary(r: dict) -> str:
    """A cosimulation in a few lines."""
    lines = []
    if (r["images_requested"] or 0) > r["images"]:
        lines.append(f"images          all {r['images']}; there are no more ({r['images_requested']} were asked for)")
    if r["top1_torch"] is not None:
        rtl = "no output" if r["top1_rtl"] is None else f"{r['top1_rtl']:.2f} %"
        lines.append(f"top-1           PyTorch {r['top1_torch']:.2f} %, RTL {rtl}")
    lines.append(f"distinct        {r['distinct_outputs']} of {r['images']} outputs")
    if r["latency_cycles"] is not None:
        lines.append(f"latency         {r['latency_cycles']:,} cycles = {r['latency_cycles'] / r['clock_mhz']:,.1f} us")
    if r["interval_cycles"]:
        pace = r["clock_mhz"] * 1e6 / r["fps"]
        uneven = f", mean {pace:,.0f}" if round(pace) != round(r["interval_cycles"]) else ""
        lines.append(f"interval        {r['interval_cycles']:,.0f} cycles{uneven} (RTL simulation)")
        lines.append(f"throughput      {r['fps']:,.0f} frames/s at {r['clock_mhz']:g} MHz ({r['clock_source']} clock)")
    if r["sim_cycles_per_second"]:
        lines.append(f"simulator       {r['simulator']}, {r['sim_cycles_per_second'] / 1e6:.2f} M cycles/s")
    if r["stalls"]:
        lines.append(f"stalls          seed {r['stalls']['seed']}, input {r['stalls']['input_percent']} %, "
                     f"output {r['stalls']['output_percent']} % of the cycles, and for up to "
                     f"{r['stalls']['burst_cycles']:,} cycles at a time")
        lines.append(f"FIFOs           {r['fifos_that_were_full']} of {r['fifos']} became full")
    lines.append(f"bit-exact {r['bit_exact_images']}/{r['images']}")
    return "\n".join(lines)


def refuse_difference(result: dict, build_dir: Path) -> None:
    """Raise CheckFailed unless a cosimulation was bit-exact."""
    if not result["ok"]:
        raise CheckFailed(f"The RTL does not equal PyTorch: {result['bit_exact_images']} of {result['images']} images "
                          "are bit-exact.", where=str(build_dir), why=result.get("message"))


@click.command()
@build_folder
@click.option("--data", help="digits, cifar10:DIR, imagefolder:DIR, npz:FILE or random:SEED, with @split if wanted.")
@click.option("--reference", type=click.Path(path_type=Path),
              help="npz with images and integer logits instead of --data.")
@click.option("-n", "images", type=click.IntRange(min=1), default=16, show_default=True, help="Number of images.")
@click.option("--stalls", type=click.IntRange(min=0), metavar="SEED", help="Throttle input and output at random.")
@click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True), metavar="BYTES",
              help="Bytes per cycle of the memory that streamed weights come from (default: no limit).")
@click.option("--report", type=click.Path(path_type=Path), help="Result file (default in BUILD_DIR/report).")
@json_option
def cosim(build_dir: Path, data: str | None, reference: Path | None, images: int, stalls: int | None,
          bandwidth: float | None, report: Path | None, as_json: bool) -> None:
    """Simulate the stitched RTL of BUILD_DIR and compare every output integer with PyTorch."""
    from bhvit.finn_flow.build import cosim as run

    result = run(build_dir, data=data, reference=reference, images=images, stalls=stalls, report=report,
                 bandwidth=bandwidth or 0.0)
    emit(result, as_json, summary(result))
    refuse_difference(result, build_dir)


@click.command()
@build_folder
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Yosys processes at a time.")
@click.option("--only", multiple=True, metavar="STEM", help="Only these kinds of layers. Repeatable.")
@json_option
def synth(build_dir: Path, jobs: int, only: tuple[str, ...], as_json: bool) -> None:
    """Yosys resources of every distinct layer instance of BUILD_DIR, and their total."""
    from bhvit.finn_flow.build import load_build
    from bhvit.finn_flow.synth_build import synthesize_build

    folder, _ = load_build(build_dir)
    with Progress("Yosys", None, "instances") as bar:
        def tell(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.update(done, info=name)

        result = synthesize_build(folder, jobs=jobs, progress=tell, stems=set(only) or None)
    emit(result, as_json, "\n".join(
        [f"{k:9} {v:>10,}" for k, v in result["total"].items()]
        + [f"{result['distinct_instances']} distinct of {result['instances']} instances; {result['note']}"]))


@click.command()
@build_folder
@json_option
def report(build_dir: Path, as_json: bool) -> None:
    """Layer table of BUILD_DIR in the terminal; writes report/report.json and a self-contained report/report.html."""
    from rich.console import Console

    from bhvit.finn_flow.build import load_build
    from bhvit.finn_flow.report import table, write

    data, page = write(load_build(build_dir)[0])
    if not as_json:
        console = Console()
        Console(width=max(console.width, 130)).print(table(data))
    emit(data, as_json, f"report: {page}")
