"""`bhvit bench-tiny`: the record of a large build: build, simulation with and without stalls, synthesis."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..errors import UserError
from ..progress import Progress
from .demo import ROOT
from .flow import refuse_difference
from .main import emit, json_option

PARTS = ("stalls", "synth")


@click.command("bench-tiny")
@click.argument("build_file", type=click.Path(path_type=Path, dir_okay=False),
                default=ROOT / "configs" / "build" / "bhvit_tiny_zcu104.yaml")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Build folder (default build/NAME_OF_THE_FILE).")
@click.option("--data", help="Images, e.g. imagefolder:DIR for photographs (default random:1).")
@click.option("--reference", type=click.Path(path_type=Path),
              help="npz with images and integer logits instead of --data.")
@click.option("-n", "images", type=click.IntRange(min=2), default=36, show_default=True, help="Number of images.")
@click.option("--stalled", type=click.IntRange(min=1), default=8, show_default=True, help="Images with random stalls.")
@click.option("--bandwidth", type=click.FloatRange(min=0, min_open=True), default=40.0, show_default=True,
              help="Bytes per cycle of the memory that streamed constants come from.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Replace an entry of the file. Repeatable.")
@click.option("--skip", multiple=True, type=click.Choice(PARTS), help="Leave a part out. Repeatable.")
@click.option("--fresh", is_flag=True, help="Build again, complete or not.")
@json_option
def bench_tiny(build_file: Path, out: Path | None, data: str | None, reference: Path | None, images: int, stalled: int,
               bandwidth: float, pairs: tuple[str, ...], skip: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Build BHViT-tiny (or another BUILD_FILE), simulate and synthesize it; writes BUILD_FOLDER/report/record.json.

    Exit code 0 when all images are bit-exact, met or not the limits, which the record states.
    """
    from bhvit.finn_flow.build import build, cosim
    from bhvit.finn_flow.config import load_config
    from bhvit.finn_flow.devices import device_of
    from bhvit.finn_flow.explore import design, large
    from bhvit.finn_flow.sim.design import Design
    from bhvit.finn_flow.synth_build import synthesize_build

    config = load_config(build_file, list(pairs))
    if device_of(config.device) is None:
        raise UserError("The device's resources are not known.", build_file, config.device,
                        "name a part that finn_flow/devices.py lists")
    design.target_of(config)  # the limit of the interval
    if data is not None and reference is not None:
        raise UserError("Give either --data or --reference.", where="command line", why="both are given")
    out = out or Path("build") / build_file.stem
    build(config, out, fresh=fresh)
    data = data or (None if reference else "random:1")
    source = {"data": data, "reference": reference,
              "bandwidth": bandwidth if Design.load(out / "stitched_ip").weights else 0.0}
    plain = cosim(out, images=images, **source)
    slow = None if "stalls" in skip else cosim(out, images=stalled, stalls=1, **source)
    synthesis = None
    if "synth" not in skip:
        with Progress("Yosys", None, "instances") as bar:
            def tell(done: int, total: int, name: str) -> None:
                bar.total = total
                bar.update(done, info=name)

            synthesis = synthesize_build(out, jobs=config.jobs, progress=tell)
    record = large.record(out, config, command=" ".join(["bhvit", *sys.argv[1:]]),
                            images=f"{plain['images']} of {reference or data}", cosim=plain, stalled=slow,
                            synthesis=synthesis)
    file = out / "report" / "record.json"
    file.write_text(json.dumps(record, indent=1) + "\n")
    emit(record, as_json, large.text(record) + f"\nwritten: {file}")
    for result in (plain, slow):
        if result is not None:
            refuse_difference(result, out)
