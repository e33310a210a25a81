"""`bhvit notebooks`: run the notebooks without a browser."""

from __future__ import annotations

import click

from .main import emit, json_option


@click.command()
@click.argument("numbers", type=int, nargs=-1, metavar="[NUMBER]...")
@click.option("--save", is_flag=True, help="Write the new outputs into the notebooks.")
@json_option
def notebooks(numbers: tuple[int, ...], save: bool, as_json: bool) -> None:
    """Run all notebooks, or those with the given numbers; a cell that fails is an error."""
    from ..notebooks import files, run

    results = []
    for number in numbers or files():
        r = run(number, save=save)
        results.append({"notebook": r.file.name, "cells": r.cells, "seconds": round(r.seconds, 1),
                        "cpu_seconds": round(r.cpu_seconds, 1)})
    total, cpu = (sum(r[k] for r in results) for k in ("seconds", "cpu_seconds"))
    emit({"notebooks": results, "seconds": round(total, 1), "cpu_seconds": round(cpu, 1)}, as_json, "\n".join(
        [f"{r['notebook']:32} {r['cells']:3} cells {r['seconds']:7.1f} s, {r['cpu_seconds']:6.1f} s CPU"
         for r in results]
        + [f"{len(results)} notebooks ran to their ends in {total:.0f} s, {cpu:.0f} s CPU"]))
