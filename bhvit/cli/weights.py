"""Commands about weights: deploy-model, import-checkpoint, export-checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UserError
from .main import emit, json_option
from .model import data_option, model_file

weights_option = click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), required=True,
                              help="Float weights (safetensors): of `bhvit train` or `bhvit import-checkpoint`.")


def _output(path: Path, source: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse an output that has another kind of name or is the input."""
    if path.suffix not in suffixes:
        raise UserError(f"The output is no {' or '.join(suffixes)} file.", path, do=f"name it {path.stem}{suffixes[0]}")
    if path.exists() and source.exists() and path.samefile(source):
        raise UserError("The output is the input.", path, do="name another file")


@click.command("deploy-model")
@model_file
@weights_option
@data_option
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Deployed weights, *.safetensors.")
@click.option("--finetune-epochs", type=click.IntRange(min=0), default=0, show_default=True,
              help="Train the fixed-point network for so many epochs; needs labels.")
@click.option("--calibration-images", type=click.IntRange(min=1), default=256, show_default=True,
              help="Images from which the scales are taken.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@json_option
def deploy_model(model: Path, weights: Path, data: str, out: Path, finetune_epochs: int, calibration_images: int,
                 seed: int, as_json: bool) -> None:
    """Float weights to fixed point: calibration, a report of what it costs, optional fine-tuning."""
    _output(out, weights, (".safetensors",))
    from bhvit.model.config import load_config
    from bhvit.model.deploy import deploy
    from bhvit.model.weights import load

    cfg = load_config(model)
    cfg.deployable()
    result = deploy(cfg, load(weights, cfg, kind="float"), data, out, finetune_epochs=finetune_epochs,
                    calibration_images=calibration_images, seed=seed)
    text = f"{out}: written"
    if "agreement" in result:
        text = (f"{out}: first class unchanged for {result['agreement']:.2f} % of {result['images']} images, logit "
                f"error {100 * result['logit_error']:.1f} % of their spread")
    if result.get("float_top1") is not None:
        text += f", top-1 {result['float_top1']:.2f} % -> {result['top1']:.2f} %"
    elif result.get("test_top1") is not None:
        text += f", test top-1 {result['test_top1']:.2f} %"
    emit(result, as_json, text)


@click.command("import-checkpoint")
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@model_file
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Float weights, *.safetensors.")
@json_option
def import_checkpoint(checkpoint: Path, model: Path, out: Path, as_json: bool) -> None:
    """A checkpoint of the authors' training code as float weights; runs no code from the file."""
    _output(out, checkpoint, (".safetensors",))
    from bhvit.model.checkpoint import import_checkpoint as run
    from bhvit.model.config import load_config

    result = run(checkpoint, load_config(model), out)
    emit(result, as_json, f"{out}: {result['tensors']} tensors. Next: bhvit deploy-model {model} --weights {out} "
                          "--data SPEC -o DEPLOYED.safetensors")


@click.command("export-checkpoint")
@model_file
@weights_option
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Torch file, *.pth.")
@json_option
def export_checkpoint(model: Path, weights: Path, out: Path, as_json: bool) -> None:
    """Float weights as a torch file with the authors' parameter names."""
    _output(out, weights, (".pth", ".pt"))
    from bhvit.model.checkpoint import export_checkpoint as run
    from bhvit.model.config import load_config

    result = run(weights, load_config(model), out)
    emit(result, as_json, f"{out}: {result['tensors']} tensors")
