"""Commands of the Vitis HLS form of the layers: `bhvit hls csim` and `bhvit hls cosim`."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ..errors import CheckFailed, UserError
from .main import emit, json_option


@click.group()
def hls() -> None:
    """The layers in Vitis HLS C++: simulate their kernels, with g++ or with AMD's tools, against the golden models.

    Every command has --help and --json.
    """


def _stems(layer: str | None) -> list[str]:
    from bhvit.finn_flow.hls.csim import gaps
    from bhvit.finn_flow.layers.registry import layers

    known = layers()
    if layer is None:
        return list(known)
    if layer not in known:
        near = difflib.get_close_matches(layer, known, n=1)
        raise UserError(f"There is no layer `{layer}`." + (f" Did you mean `{near[0]}`?" if near else ""),
                        where="LAYER", do=f"choose one of {', '.join(known)}")
    if layer in gaps(known):
        raise UserError(f"The layer `{layer}` has no HLS kernel.", where=f"hls/include/bhvit/{layer}.hpp")
    return [layer]


@hls.command()
@click.argument("layer", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("build/hls/csim"), show_default=True,
              help="Folder for the generated programs.")
@click.option("--quick", is_flag=True, help="Only the examples of the declarations, each in one folding.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Programs at a time.")
@json_option
def csim(layer: str | None, out: Path, quick: bool, jobs: int, as_json: bool) -> None:
    """C simulation of LAYER (default: all) with g++, over many shapes and foldings, against the golden model."""
    from bhvit.finn_flow.hls.csim import csim as run
    from bhvit.finn_flow.hls.csim import gaps, layer_cases
    from bhvit.finn_flow.layers.registry import layers

    missing = gaps(layers())
    stems = [s for s in _stems(layer) if s not in missing]

    def one(stem: str):
        result = run(layer_cases(layers()[stem], quick), out / stem)
        verdict = f"{len(result.failures)} FAIL" if result.failures else "equal"
        click.echo(f"{stem:<20} {result.cases:>3} cases {result.beats:>7,} beats  {verdict}", err=True)
        return stem, result

    with ThreadPoolExecutor(jobs) as pool:
        results = dict(pool.map(one, stems))
    failures = [f for r in results.values() for f in r.failures]
    cases, beats = sum(r.cases for r in results.values()), sum(r.beats for r in results.values())
    text = f"{len(results)} layers, {cases} cases, {beats:,} output beats, {len(failures)} cases differ"
    if layer is None and missing:
        text += f"\nwithout an HLS kernel ({len(missing)}): {', '.join(missing)}"
    emit({"layers": {s: {"cases": r.cases, "beats": r.beats, "failures": r.failures} for s, r in results.items()},
          "cases": cases, "beats": beats, "failures": failures, "without_kernel": missing if layer is None else [],
          "ok": not failures}, as_json, text)
    if failures:
        raise CheckFailed(f"An HLS kernel does not equal its golden model: {len(failures)} of {cases} cases differ.",
                          where=str(out), why=failures[0])


def _steps(_context, _parameter, value: str) -> tuple[str, ...]:
    """Comma-separated steps, in the order in which the tools can take them."""
    from bhvit.finn_flow.hls.vitis.tools import STEPS

    wanted = [s.strip() for s in value.split(",") if s.strip()]
    if not wanted or set(wanted) - set(STEPS):
        raise click.BadParameter(f"choose from {', '.join(STEPS)}")
    if {"cosim", "export"} & set(wanted) and "csynth" not in wanted:
        raise click.BadParameter("cosim and export need csynth")
    return tuple(s for s in STEPS if s in wanted)


@hls.command()
@click.argument("layers", nargs=-1, metavar="[LAYER]...")
@click.option("--build", type=click.Path(path_type=Path, file_okay=False), help="Take LAYER (node names or kinds) from "
              "this build, with its constants and foldings; stitched designs can take the Verilog (`hls_rtl`).")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the projects and report.json  "
              "[default: build/hls/cosim, or BUILD/hls]")
@click.option("--part", default="xczu7ev-ffvc1156-2-e", show_default=True, help="Device.")
@click.option("--clock", type=click.FloatRange(min=1, max=2000), default=250.0, show_default=True, help="MHz.")
@click.option("--steps", callback=_steps, default="csim,csynth,cosim", show_default=True,
              help="Of csim, csynth, cosim, export.")
@click.option("--tool", type=click.Choice(["auto", "vitis_hls", "vitis-run"]), default="auto", show_default=True,
              help="auto: v++ and vitis-run where they are on PATH, else vitis_hls.")
@click.option("--spread", is_flag=True, help="All shapes and foldings of `csim`, not only the declarations' examples.")
@click.option("-n", "--first", type=click.IntRange(min=1), help="At most so many instances of a layer.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Projects at a time.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              help="Time limit of one command of the tool.")
@click.option("--write-only", is_flag=True, help="Write the projects, to be run elsewhere; needs no tool.")
@json_option
def cosim(layers: tuple[str, ...], build: Path | None, out: Path | None, part: str, clock: float,
          steps: tuple[str, ...], tool: str, spread: bool, first: int | None, jobs: int, minutes: float,
          write_only: bool, as_json: bool) -> None:
    """C simulation, synthesis and C/RTL cosimulation of LAYER (default: all) with Vitis HLS, on the data of csim.

    What passed before with the same files is kept, so an interrupted run continues.
    """
    from bhvit.finn_flow.hls.csim import gaps
    from bhvit.finn_flow.hls.vitis import tools
    from bhvit.finn_flow.hls.vitis.cases import build_cases, kernel_cases
    from bhvit.finn_flow.hls.vitis.project import Project, Target
    from bhvit.finn_flow.hls.vitis.run import run, table
    from bhvit.finn_flow.layers.registry import layers as known

    found = None if write_only else tools.find(tool)
    if build is not None:
        if not layers:
            raise UserError("Name the layers of the build that are to be synthesized.", "LAYER",
                            do=f"node names are listed in {build}/stitched_ip/design.json; a kind takes all its nodes")
        cases = build_cases(build, layers)
    else:
        missing = gaps(known())
        stems = [s for layer in layers or (None,) for s in _stems(layer) if s not in missing]
        cases = kernel_cases(stems, spread=spread, first=first)
    folder = (out or (build / "hls" if build else Path("build/hls/cosim"))).resolve()
    target = Target(part, clock, steps)
    projects = [Project(c, folder / c.layer.stem / c.name if build is None else folder / c.name, target) for c in cases]
    if found is None:
        for p in projects:
            p.write()
        emit({"projects": [str(p.folder) for p in projects], "ok": True}, as_json,
             f"{len(projects)} projects in {folder}; run vitis_hls.sh or unified.sh in each")
        return
    data = run(projects, found, folder / "report.json", jobs=jobs, minutes=minutes)
    emit(data, as_json, table(data) + f"\nreport: {folder / 'report.json'}")
    failed = [f"{n}: {r['why']}" for n, r in data["layers"].items() if not r["ok"]]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(projects)} HLS instances failed in Vitis.", str(folder), failed[0],
                          "the logs lie in the folder of the instance")


@hls.command()
@click.argument("build", type=click.Path(path_type=Path))
@click.option("-n", "--images", type=click.IntRange(min=1), default=2, show_default=True,
              help="Images of the build's golden tensors.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the programs  [default: BUILD/cppsim]")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Compilers at a time.")
@click.option("--sanitize", is_flag=True, help="With AddressSanitizer and UBSan.")
@json_option
def network(build: Path, images: int, out: Path | None, jobs: int, sanitize: bool, as_json: bool) -> None:
    """The C++ of a whole network, node by node through FINN's execution, against the golden models.

    BUILD is a folder of `bhvit build`; every node runs in its HLS form, whatever the build chose. Programs are kept:
    only what changed is compiled again.
    """
    from bhvit.finn_flow.hls import network as net

    model = net.as_hls(net.graph_of(build))
    pixels = net.images_of(build, images)
    programs = net.prepare(model, out or build / "cppsim", jobs=jobs, sanitize=sanitize,
                           log=lambda t: click.echo(t, err=True))
    result = net.compare(model, pixels)
    text = (f"{result.nodes} nodes ({programs.distinct} different) in {programs.programs} programs, "
            f"{programs.compiled} compiled in {programs.seconds:.1f} s\n"
            f"{result.frames} images, {result.tensors} tensors, {result.values:,} values, {result.seconds:.1f} s: "
            + (f"{len(result.failures)} tensors differ" if result.failures else "all equal"))
    emit({**vars(result), "programs": vars(programs), "ok": not result.failures}, as_json, text)
    net.check(result, build)


@hls.command()
@click.argument("build", type=click.Path(path_type=Path))
@click.argument("block", required=False)
@click.option("-n", "--images", type=click.IntRange(min=1), default=3, show_default=True,
              help="Images of the build's golden tensors.")
@click.option("--depth", "depths", multiple=True, metavar="FIFO=N", help="Another depth than the build's; repeatable.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the program  [default: BUILD/dataflow]")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Compilers at a time.")
@json_option
def dataflow(build: Path, block: str | None, images: int, depths: tuple[str, ...], out: Path | None, jobs: int,
             as_json: bool) -> None:
    """BLOCK of a build (such as stage3_block1; default: all of it) as threads, with FIFOs of the build's depths.

    Every output is compared with the golden models. A FIFO that is too short ends in a deadlock that names it.
    """
    from bhvit.finn_flow.hls import chain
    from bhvit.finn_flow.hls import network as net

    changed: dict[str, int] = {}
    for text in depths:
        name, sep, value = text.partition("=")
        if not sep or not value.isdigit() or int(value) < 1:
            raise UserError(f"`--depth {text}` is no depth.", "command line", do="write FIFO=N, with N of at least 1")
        changed[name] = int(value)
    model = net.graph_of(build)
    names = chain.block(model, block) if block else [n.name for n in model.graph.node]
    design = chain.dataflow(model, names, net.images_of(build, images), changed)
    result = design.run((out or build / "dataflow") / (block or "all"), jobs=jobs, sanitize=False)
    text = (f"{len(design.nodes)} processes, {len(design.depths)} FIFOs, {design.frames} frames, "
            f"{result.beats:,} beats out, {result.run_seconds:.1f} s: " + ("FAIL" if result.failures else "equal"))
    emit({"processes": len(design.nodes), "fifos": design.depths, "frames": design.frames, "beats": result.beats,
          "seconds": result.run_seconds, "failures": result.failures, "ok": not result.failures}, as_json, text)
    if result.failures:
        raise CheckFailed("The dataflow simulation does not give what the golden models give.", str(build),
                          result.failures[0])
