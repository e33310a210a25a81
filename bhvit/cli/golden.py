"""The command check-golden: the float network against golden files of the authors' network."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CheckFailed
from ..progress import Progress
from .main import emit, json_option

LISTED = 20  # differences on the terminal; --json has all


@click.command("check-golden")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def check_golden(folder: Path, as_json: bool) -> None:
    """Compare the float network with every golden case in FOLDER: <case>.npz, <case>.json, <case>_trace.json.

    Parameters and images follow from the seed that a case names. Signs, attention levels and binary weights must be
    equal, statistics and logits equal to 1e-9, in float64.
    """
    from bhvit.model.golden import check
    from bhvit.model.golden_files import read_folder

    results = []
    for case in read_folder(folder):
        with Progress(case.name, case.records, "tensor") as bar:
            results.append(check(case, bar.advance))
    differences = [d for r in results for d in r["differences"]]
    lines = [_line(r) for r in results]
    emit({"folder": str(folder), "ok": not differences, "cases": results}, as_json, "\n".join(lines))
    if differences:
        listed = [f"{d['file']}: {d['key']}: expected {d['expected']}, got {d['got']}" for d in differences[:LISTED]]
        if len(differences) > LISTED:
            listed.append(f"... and {len(differences) - LISTED} more (--json lists all)")
        failed = sum(not r["ok"] for r in results)
        raise CheckFailed(f"{failed} of {len(results)} golden cases differ in {len(differences)} values.", folder,
                          "\n    ".join(["", *listed]),
                          "if the files are intact, the float network computes something else: the first tensor in "
                          "the order of the network that differs is where it begins")


def _line(r: dict) -> str:
    n = r["compared"]
    verdict = "ok" if r["ok"] else f"{len(r['differences'])} DIFFERENCES"
    traced = ", no trace"
    if "sign_inputs" in n or "modules" in n:
        traced = (f", {r['signs']:,} signs, {n.get('attention', 0)} attentions, {n.get('binary_weights', 0)} binary "
                  f"weights, {n.get('modules', 0)} modules")
    return (f"{r['case']}: {verdict} (seed {r['seed']}: {n['stages']} stages{traced}; largest logit error "
            f"{r['logit_error']:.1e}; {r['seconds']:.0f} s)")
