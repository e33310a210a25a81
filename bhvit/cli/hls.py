"""Commands of the Vitis HLS form of the layers: `bhvit hls csim`."""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ..errors import CheckFailed, UserError
from .main import emit, json_option


@click.group()
def hls() -> None:
    """The layers in Vitis HLS C++: simulate their kernels and compare with the golden models.

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
