"""Commands around training: teach (a teacher's logits), ablate (tables of the paper)."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .main import emit, json_option
from .model import data_option, model_file, train_options


@click.command()
@click.argument("teacher")
@model_file
@data_option
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Logits, *.npz.")
@json_option
def teach(teacher: str, model: Path, data: str, out: Path, as_json: bool) -> None:
    """Store the logits of TEACHER on the training images of MODEL.yaml.

    TEACHER is net:MODEL.yaml:WEIGHTS, timm:NAME:WEIGHTS or python:FILE.py:FUNCTION.

    A training with `--set teacher=logits:OUT` then needs no teacher network."""
    from bhvit.model.config import load_config
    from bhvit.model.train.teacher import write_logits

    if out.suffix != ".npz":
        raise UserError("The output is no .npz file.", out, do=f"name it {out.stem or 'logits'}.npz")
    result = write_logits(teacher, load_config(model), data, out)
    emit(result, as_json, f"{out}: {result['images']} images, top-1 {result['top1']:.2f} % on these training images")


@click.command()
@click.argument("table")
@model_file
@data_option
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Option of every row, e.g. epochs=40.")
@json_option
def ablate(table: str, model: Path, data: str, out: Path, pairs: tuple[str, ...], as_json: bool) -> None:
    """Train the rows of TABLE (parts, lambda, mixer: tables 5, 6, 7 of the paper) on a schedule of yours."""
    from bhvit.model.config import load_config
    from bhvit.model.train.ablation import ablate as run
    from bhvit.model.train.ablation import markdown

    result = run(table, load_config(model), data, out, train_options(pairs, deploy=False))
    emit(result, as_json, markdown(result))
