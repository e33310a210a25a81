"""Commands around the finished design: shell-sim, bitstream, serial."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CheckFailed
from .main import emit, json_option

build_folder = click.argument("build_dir", type=click.Path(path_type=Path))


@click.command()
@build_folder
@click.option("--data", help="digits, cifar10:DIR, imagefolder:DIR, npz:FILE or random:SEED, with @split if wanted.")
@click.option("--reference", type=click.Path(path_type=Path),
              help="npz with images and integer logits instead of --data.")
@click.option("-n", "images", type=click.IntRange(min=1), default=20, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True,
              help="Of latencies, stalls, batches, errors and resets.")
@click.option("--calm", is_flag=True, help="No error answers and no resets between the batches.")
@click.option("--axi-bits", type=click.Choice(["64", "128"]), default="64", show_default=True,
              help="Width of the memory ports.")
@click.option("--report", type=click.Path(path_type=Path), help="Result file (default in BUILD_DIR/report).")
@json_option
def shell_sim(build_dir: Path, data: str | None, reference: Path | None, images: int, seed: int, calm: bool,
              axi_bits: str, report: Path | None, as_json: bool) -> None:
    """Simulate BUILD_DIR with its DMA and control registers, from images in memory to logits in memory."""
    from bhvit.finn_flow.shell.simulate import shell_sim as run

    r = run(build_dir, data=data, reference=reference, images=images, seed=seed, disturb=not calm,
            axi_bits=int(axi_bits), report=report)
    emit(r, as_json, f"batches         {r['batches']}, between them {r['resets']} resets and {r['error_answers']} "
                     f"error answers\ndistinct        {r['distinct_outputs']} of {r['images']} outputs\n"
                     f"simulator       {r['simulator']}, {r['sim_cycles_per_second'] / 1e6:.2f} M cycles/s\n"
                     f"bit-exact {r['bit_exact_images']}/{r['images']}")
    if not r["ok"]:
        raise CheckFailed(f"The shell does not give what PyTorch gives: {r['bit_exact_images']} of {r['images']} "
                          "images are bit-exact.", where=str(build_dir), why=r["message"])


def bitstream_text(r: dict) -> str:
    """A bit file in a few lines."""
    if "command" in r:
        return f"{r['folder']}: written. Next: {r['command']}"
    lines = [f"bit file        {r['bitfile']}"]
    if r.get("hwh"):
        lines.append(f"hwh             {r['hwh']}")
    lines.append(f"clock           {r['clock_mhz']:g} MHz, worst slack {r['wns_ns']:+.3f} ns, at most "
                 f"{r['fmax_mhz']:.1f} MHz ({r['source']})")
    for k, v in r["utilization"].items():
        lines.append(f"{k:15} {v['used']:,} of {v['available']:,} ({v['percent']:.1f} %)")
    if r.get("check"):
        lines += [f"{what:15} {c['bit_exact_images']} of {c['images']} images equal PyTorch, every byte "
                  f"({r['check']['simulator']})" for what, c in r["check"].items() if isinstance(c, dict)]
    if r.get("power"):
        lines.append(f"power           {r['power']['total_w']:.2f} W (estimate of the tool)")
    return "\n".join(lines)


@click.command()
@click.argument("build_dir", type=click.Path(path_type=Path), required=False)
@click.option("--board", required=True, help="Name of a file in configs/board, or the path of one.")
@click.option("--clock", "clock_mhz", type=click.FloatRange(min=0, min_open=True), metavar="MHZ",
              help="Clock instead of the board's.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes of the tool.")
@click.option("--scripts", is_flag=True, help="Only write sources and scripts; say how to run them.")
@click.option("--collect", is_flag=True, help="Only read the results of a run somewhere else.")
@click.option("--data", help="Images of the check of the netlist, where the tool chain has one (default: random:1).")
@json_option
def bitstream(build_dir: Path | None, board: str, clock_mhz: float | None, jobs: int, scripts: bool, collect: bool,
              data: str | None, as_json: bool) -> None:
    """Bit file of BUILD_DIR for a board, with timing and resources after place and route.

    Without BUILD_DIR the build that the board's file names is made first, where that has not been done.
    """
    from bhvit.finn_flow.shell.bitstream import bitstream as run
    from bhvit.finn_flow.shell.bitstream import default_build

    if scripts and collect:
        raise click.UsageError("Give --scripts or --collect, not both.")
    if build_dir is None:
        build_dir, usual = default_build(board)
        data = data or usual
    r = run(build_dir, board, clock_mhz=clock_mhz, jobs=jobs, run=not (scripts or collect), collect=not scripts,
            data=data)
    emit(r, as_json, bitstream_text(r))


@click.command()
@build_folder
@click.option("--port", required=True, help="Serial port of the board, e.g. /dev/ttyUSB0.")
@click.option("--board", default="ulx3s", show_default=True, help="Name of a file in configs/board, or a path of one.")
@click.option("--data", default="digits@test", show_default=True, help="Images.")
@click.option("-n", "images", type=click.IntRange(min=1), help="At most so many.")
@json_option
def serial(build_dir: Path, port: str, board: str, data: str, images: int | None, as_json: bool) -> None:
    """Images through a board's serial port: every answer against PyTorch. Exit 1 when one differs."""
    from bhvit.finn_flow.build import load_build
    from bhvit.finn_flow.shell.boards import load_board
    from bhvit.finn_flow.shell.ecp5 import run_board

    folder, _ = load_build(build_dir)
    r = run_board(folder, load_board(board), port, data, images)
    lines = [] if r["top1"] is None else [f"top-1           {r['top1']:.2f} %"]
    lines += [f"cycles          {min(r['frame_cycles']):,} to {max(r['frame_cycles']):,} per image",
              f"throughput      {r['images'] / r['seconds']:.1f} images/s (on the board)",
              f"bit-exact {r['bit_exact_images']}/{r['images']}"]
    emit(r, as_json, "\n".join(lines))
    if r["first_difference"]:
        raise CheckFailed(f"The board does not give what PyTorch gives: {r['bit_exact_images']} of {r['images']} "
                          "images are equal.", where=port, why=r["first_difference"])
