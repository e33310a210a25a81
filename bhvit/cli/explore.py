"""Commands that look at what else a build could be, by formulas: `bhvit explore pareto`, `ablation`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from ..progress import Progress
from ..tools import findings
from .demo import ROOT
from .main import emit, json_option


@click.group()
def explore() -> None:
    """What a network could be on a device, by the formulas of the layers: no simulation, no synthesis.

    Every command has --help and --json.
    """


def _options(f):
    """Arguments that every exploration of a build has."""
    for option in reversed((
            click.argument("build_file", type=click.Path(path_type=Path, dir_okay=False)),
            click.option("--build", "folder", type=click.Path(path_type=Path, file_okay=False),
                         help="Build folder with the network's graph (default build/NAME_OF_THE_FILE). Where it has "
                              "none, the first steps of `bhvit build` are run there."),
            click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE",
                         help="Replace an entry of the file. Repeatable."),
            click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
                         help="Result (*.json), table and plot beside it (default in FOLDER/report).\f"))):
        f = option(f)
    return json_option(f)


def start(build_file: Path, folder: Path | None, pairs: tuple[str, ...], out: Path | None, name: str):
    """Configuration, build folder, graph before folding, result file."""
    from bhvit.finn_flow import finn_env
    from bhvit.finn_flow.config import load_config
    from bhvit.finn_flow.explore import design, source

    config = load_config(build_file, list(pairs))
    design.target_of(config)
    design.device(config)
    folder = folder or Path("build") / build_file.stem
    out = out or folder / "report" / f"explore_{name}.json"
    if out.suffix != ".json":
        raise UserError("The result is no .json file.", out, do=f"name it {out.stem or 'result'}.json")
    model = source.specialized(config, folder)
    finn_env.setup(folder / "finn_build")
    return config, folder, model, out


def command() -> str:
    """The command line, for the record."""
    return shlex.join(["bhvit", *sys.argv[1:]])


@explore.command()
@_options
@click.option("--target", "targets", multiple=True, type=click.IntRange(min=1), metavar="CYCLES",
              help="Interval of a point of the curve (default: eleven around the build's target). Repeatable.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Also the smallest design for a frame rate.")
def pareto(build_file: Path, folder: Path | None, pairs: tuple[str, ...], out: Path | None, targets: tuple[int, ...],
           fps: float | None, as_json: bool) -> None:
    """Frame rate against LUTs, block RAM, UltraRAM and DSPs for the network of BUILD.yaml on its device.

    Folds the network for a series of intervals, searches the fastest that fits the shares of the build file, and writes
    JSON, table and plot. With `optimize: fit` in the file a point takes some 20 seconds for BHViT-tiny, with `--set
    optimize=cost` 3. Every figure is an estimate.
    """
    from bhvit.finn_flow.explore import design, plots
    from bhvit.finn_flow.explore.pareto import explore as run
    from bhvit.finn_flow.explore.pareto import markdown
    from bhvit.finn_flow.explore.record import record, write_files

    config, _, model, out = start(build_file, folder, pairs, out, "pareto")
    begun = record(config, command())
    with Progress("designs") as bar:
        data: dict[str, Any] = run(
            design.with_engines(model, config), config, targets=targets or None, fps=fps,
            progress=lambda p: bar.advance(info=f"interval {p.interval:,}: {p.fullest} at "
                                                f"{100 * p.fullest_share:.0f} % of its limit"))
    data = {**begun, **data}
    files = write_files(out, data, markdown(data), lambda f: plots.pareto(f.subplots(2, 2).flat, data))
    emit(data, as_json, markdown(data) + f"\n{data['seconds']:.0f} s; written: {', '.join(map(str, files))}")


def measured_popcounts() -> dict[int, tuple[float, float]]:
    """LUTs per binary MAC by width, structural and plain, as `bhvit bench` has measured them."""
    file = ROOT / "reports" / "bench.json"
    try:
        found = json.loads(file.read_text())["xnor"]
    except (OSError, ValueError, KeyError) as e:
        raise UserError("The measured popcounts cannot be read.", file, str(e),
                        "restore the file, or run `bhvit bench` and copy its bench.json there") from e
    return {int(w): (v["structural"], v["plain"]) for w, v in found.items()}


@explore.command()
@_options
@click.option("--only", multiple=True, metavar="NAME", help="Only these variants. Repeatable.")
def ablation(build_file: Path, folder: Path | None, pairs: tuple[str, ...], out: Path | None, only: tuple[str, ...],
             as_json: bool) -> None:
    """What each technique of BUILD.yaml brings: switched off alone, and all off; resources and interval of each.

    Row order, shared engines, tokens per beat, popcount structure, constants loaded into UltraRAM, streamed weights,
    fitting. The other row order needs lowering again: about two minutes for BHViT-tiny. Every figure is an estimate.
    """
    from bhvit.finn_flow.explore import source
    from bhvit.finn_flow.explore.ablation import ablate, markdown, variants
    from bhvit.finn_flow.explore.record import record, write_files

    config, folder, model, out = start(build_file, folder, pairs, out, "ablation")
    names = [v.name for v in variants(config)]
    if unknown := [n for n in only if n not in names]:
        raise UserError(f"There is no variant `{unknown[0]}`.", "--only", do=f"choose from {', '.join(names)}")
    begun = record(config, command())
    with Progress("variants") as bar:
        def tell(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.update(done, info=name)

        data = ablate(model, config, lambda c: source.lowered_again(c, folder, bar.say), measured_popcounts(),
                      only={"build", *only} if only else None, progress=tell)
    data = {**begun, **data}
    files = write_files(out, data, markdown(data))
    emit(data, as_json, markdown(data) + f"\n\n{data['seconds']:.0f} s; written: {', '.join(map(str, files))}")


@explore.command()
@_options
@click.option("--only", multiple=True, metavar="STEM", help="Only these kinds of layers. Repeatable.")
@click.option("--like", type=click.Path(path_type=Path, dir_okay=False),
              help="Earlier result (*.json): its instances again, and its medians beside the new ones.")
@click.option("--examples", "small", is_flag=True, help="Two small examples of every declaration instead.")
def calibration(build_file: Path, folder: Path | None, pairs: tuple[str, ...], out: Path | None, only: tuple[str, ...],
                like: Path | None, small: bool, as_json: bool) -> None:
    """The formulas for logic against Yosys: instances of every kind of layer in BUILD.yaml's network.

    It is folded for the target of the build and for four times as many cycles. A quarter of an hour for BHViT-tiny;
    what has been synthesized is kept in the build folder.
    """
    from bhvit.finn_flow.explore import design
    from bhvit.finn_flow.explore.calibration import calibrate, examples, markdown, same, spread
    from bhvit.finn_flow.explore.record import record, write_files
    from bhvit.finn_flow.layers.registry import layers

    if unknown := [s for s in only if s not in layers()]:
        raise UserError(f"There is no layer `{unknown[0]}`.", "--only", do=f"choose from {', '.join(layers())}")
    config, folder, model, out = start(build_file, folder, pairs, out, "calibration")
    target = design.target_of(config)
    cheap = config.model_copy(update={"optimize": "cost"})  # any folding will do
    earlier = None
    if like is not None:
        try:
            earlier = json.loads(like.read_text())
            instances = same(earlier)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise UserError("The earlier result cannot be used.", like, f"{type(e).__name__}: {e}",
                            "name a result of `bhvit explore calibration`") from e
    elif small:
        instances = examples()
    else:
        instances = spread(design.with_engines(model, config), cheap, (target, 4 * target))
    begun = record(config, command())
    with Progress("Yosys") as bar:
        def tell(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.update(done, info=name)

        data = calibrate([x for x in instances if not only or x.stem in only], folder / "synth", tell)
    yosys = next((f.version for f in findings() if "yosys" in f.name), None)
    data = {**begun, "network": config.model.stem, "targets": [target, 4 * target],
            "evidence": "Yosys, synth_xilinx -family xcup, out of context, random constants, memories in block RAM",
            "tool": yosys, **data}
    if earlier is not None:
        data["before"] = {**earlier["kinds"], "all": earlier["total"]}
    files = write_files(out, data, markdown(data))
    emit(data, as_json, markdown(data) + f"\n{data['seconds']:.0f} s; written: {', '.join(map(str, files))}")
