"""Commands about weights: deploy-model, shrink-weights, grow-weights, import-checkpoint, export-checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ..errors import UserError
from .main import emit, json_option
from .model import data_option, model_file

if TYPE_CHECKING:
    from torch import Tensor

    from bhvit.model.config import ModelConfig

weights_option = click.option("--weights", type=click.Path(path_type=Path, dir_okay=False),
                              help="Float weights (safetensors): of `bhvit train` or `bhvit import-checkpoint`.")
random_option = click.option("--random-weights", type=click.IntRange(min=0), metavar="SEED",
                             help="Float recipe weights of a seed instead.")


def _float_weights(cfg: ModelConfig, weights: Path | None, seed: int | None) -> dict[str, Tensor]:
    """Float parameters from a file, or recipe weights of a seed."""
    from bhvit.model.random_weights import recipe_float_state
    from bhvit.model.weights import load

    return recipe_float_state(cfg, seed) if weights is None else load(weights, cfg, kind="float")


def _one_of(weights: Path | None, seed: int | None) -> None:
    """Refuse both or none of a file and a seed."""
    if (weights is None) == (seed is None):
        raise UserError("Give either --weights FILE or --random-weights SEED.", where="command line",
                        why="both are given" if weights else "neither is given",
                        do="train for a weight file, or take recipe weights, e.g. --random-weights 1")


def _output(path: Path, source: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse an output that has another kind of name or is the input."""
    if path.suffix not in suffixes:
        raise UserError(f"The output is no {' or '.join(suffixes)} file.", path, do=f"name it {path.stem}{suffixes[0]}")
    if path.exists() and source.exists() and path.samefile(source):
        raise UserError("The output is the input.", path, do="name another file")


def _command(context: click.Context) -> str:
    """The command line that a command was called with, without defaults."""
    words = ["bhvit", context.command.name]
    for p in context.command.params:
        value = context.params.get(p.name)
        if context.get_parameter_source(p.name) != click.core.ParameterSource.COMMANDLINE:
            continue
        flag = [p.opts[0]] if isinstance(p, click.Option) else []
        words += flag if getattr(p, "is_flag", False) else [*flag, str(value)]
    return shlex.join(words)


@click.command("deploy-model")
@model_file
@weights_option
@random_option
@data_option
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Deployed weights, *.safetensors.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False),
              help="The whole report, *.json; a page of the same name (*.md) goes beside it.")
@click.option("--finetune-epochs", type=click.IntRange(min=0), default=0, show_default=True,
              help="Train the fixed-point network for so many epochs; needs labels.")
@click.option("--calibration-images", type=click.IntRange(min=1),
              help="Images from which the scales are taken (default 256, fewer large ones: 16 of 224x224).")
@click.option("--report-images", type=click.IntRange(min=1),
              help="Images on which every layer is compared (same default); the outputs are of all images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Chooses the calibration images.")
@json_option
def deploy_model(model: Path, weights: Path | None, random_weights: int | None, data: str, out: Path,
                 report: Path | None, finetune_epochs: int, calibration_images: int | None,
                 report_images: int | None, seed: int, as_json: bool) -> None:
    """Float weights to fixed point: calibration, a report of what it costs layer by layer, optional fine-tuning."""
    _one_of(weights, random_weights)
    _output(out, weights or model, (".safetensors",))
    if report is not None:
        _output(report, weights or model, (".json",))
    from bhvit.model import deploy_text
    from bhvit.model.config import load_config
    from bhvit.model.deploy import deploy

    cfg = load_config(model)
    cfg.deployable()
    state = _float_weights(cfg, weights, random_weights)
    result = deploy(cfg, state, data, out, finetune_epochs=finetune_epochs, calibration_images=calibration_images,
                    report_images=report_images, seed=seed)
    if not result:  # a further process of a fine-tuning
        return
    told = result.get("before_finetuning", result)
    told["provenance"]["command"] = _command(click.get_current_context())
    written = deploy_text.write(told, report) if report is not None else []
    if not as_json:
        console = Console()
        for table in deploy_text.tables(told):
            Console(width=max(console.width, 130)).print(table)
    lines = [*deploy_text.summary(told), f"written: {', '.join(map(str, [out, *written]))}"]
    if "test_top1" in result:
        lines.append(f"after fine-tuning: test top-1 {result['test_top1']:.2f} %")
    emit(result, as_json, "\n".join(lines))


@click.command("shrink-weights")
@model_file
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="*_float, *_full or *_convnet.safetensors of `bhvit train`.")
@click.option("--latents", type=click.Choice(("float16", "sign")), default="float16", show_default=True,
              help="sign: one bit per binary weight; computes the same, but training starts anew from full rows.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="*.safetensors.")
@json_option
def shrink_weights(model: Path, weights: Path, latents: str, out: Path, as_json: bool) -> None:
    """Trainable parameters in less space, to go on training from (--set start=OUT) or as a teacher."""
    _output(out, weights, (".safetensors",))
    from bhvit.model.config import load_config
    from bhvit.model.train.shrink import shrink

    result = shrink(weights, load_config(model), out, latents)
    kept = "" if result["changed"] is None else f", {100 * result['changed']:.4f} % of the binary weights changed sign"
    emit(result, as_json, f"{out}: {result['bytes']:,} of {result['bytes_before']:,} bytes{kept}")


@click.command("grow-weights")
@model_file
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="*_float or *_full.safetensors of MODEL.yaml.")
@click.option("--to", "larger", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Model file with larger depths, or multiples of widths, heads, MLP ratios.")
@click.option("--noise", type=click.FloatRange(min=0), default=0.3, show_default=True,
              help="On copied latent weights, in units of a row's mean magnitude: parts the copies.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="*.safetensors.")
@json_option
def grow_weights(model: Path, weights: Path, larger: Path, noise: float, out: Path, as_json: bool) -> None:
    """Parameters for a larger network that begins with what MODEL.yaml computes, to go on training from."""
    _output(out, weights, (".safetensors",))
    from bhvit.model.config import load_config
    from bhvit.model.train.grow import grow

    result = grow(weights, load_config(model), load_config(larger), out, noise)
    same = "the same function" if result["exact"] else "about the same function"
    emit(result, as_json, f"{out}: {same}, blocks added: {sum(result['blocks'])}. Next: bhvit train {larger} "
                          f"--data SPEC --set start={out}")


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
@random_option
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Torch file, *.pth.")
@json_option
def export_checkpoint(model: Path, weights: Path | None, random_weights: int | None, out: Path, as_json: bool) -> None:
    """Float weights as a torch file with the authors' parameter names."""
    _one_of(weights, random_weights)
    _output(out, weights or model, (".pth", ".pt"))
    from bhvit.model.checkpoint import export_checkpoint as run
    from bhvit.model.config import load_config

    result = run(_float_weights(load_config(model), weights, random_weights), out)
    emit(result, as_json, f"{out}: {result['tensors']} tensors")
