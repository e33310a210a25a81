"""Commands of the model side: train, evaluate, count, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from .main import emit, json_option

model_file = click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
data_option = click.option("--data", required=True, help="digits, cifar10:DIR, imagefolder:DIR, npz:FILE or "
                           "random:SEED, each optionally @train, @val or @test.")


def _options(pairs: tuple[str, ...], legal: dict[str, Any]) -> dict[str, Any]:
    """`key=value` pairs as a dictionary; YAML rules for the values."""
    import yaml

    out = {}
    for pair in pairs:
        key, sep, value = pair.partition("=")
        if not sep or key not in legal:
            raise UserError(f"`--set {pair}` sets nothing.", where="command line",
                            why="key=value is needed" if not sep else f"there is no option `{key}`",
                            do=_instead(key, legal))
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError as e:
            raise UserError(f"`--set {pair}`: the value is no YAML.", "command line", " ".join(str(e).split())) from e
    return out


def _instead(key: str, legal: dict[str, Any]) -> str:
    """What to write instead of an unknown key."""
    import difflib

    near = difflib.get_close_matches(key, legal, n=1)
    return f"did you mean `{near[0]}`?" if near else f"legal keys: {', '.join(legal)}"


def load_network(model: Path, weights: Path | None, random_weights: int | None) -> tuple[Any, Any]:
    """(configuration, deployed network) from a weight file or recipe weights of a seed."""
    from bhvit.model.config import load_config
    from bhvit.model.network import BHViT
    from bhvit.model.random_weights import random_network
    from bhvit.model.weights import load

    if (weights is None) == (random_weights is None):
        raise UserError("Give either --weights FILE or --random-weights SEED.", where="command line",
                        why="both are given" if weights else "neither is given",
                        do="train for a weight file, or take recipe weights, e.g. --random-weights 1")
    cfg = load_config(model)
    cfg.deployable()
    if weights is not None:
        return cfg, BHViT.from_deployed(cfg, load(weights, cfg))
    return cfg, random_network(cfg, random_weights)


@click.command()
@model_file
@data_option
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the results (default runs/MODEL).")
@click.option("--options", "recipe", type=click.Path(path_type=Path), help="YAML file of hyper-parameters.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE",
              help="Hyper-parameter, e.g. epochs=40, also instead of the file's. Repeatable.")
@click.option("--fresh", is_flag=True, help="Ignore a checkpoint in the folder instead of resuming from it.")
@click.option("--full-precision", is_flag=True, help="Train the network without binarization: a teacher.")
@json_option
def train(model: Path, data: str, out: Path | None, recipe: Path | None, pairs: tuple[str, ...], fresh: bool,
          full_precision: bool, as_json: bool) -> None:
    """Train MODEL.yaml, freeze it to fixed point and fine-tune; resumes after an interruption."""
    from bhvit.model.config import load_config
    from bhvit.model.train import train as run
    from bhvit.model.train.run import kind_of

    cfg = load_config(model)
    options = train_options(pairs, recipe, **({"full_precision": True} if full_precision else {}))
    if "fixed" in options.phases():
        cfg.deployable()  # not after hours of training
    out = out or Path("runs") / (cfg.name if "float" in options.phases() else f"{cfg.name}_{kind_of(options)}")
    metrics = run(cfg, data, out, options, resume=not fresh)
    if not metrics:  # a further process of torchrun
        return
    emit(metrics, as_json, f"{out}: " + ", ".join(f"{k} {v}" for k, v in metrics.items()
                                                  if isinstance(v, int | float | str)))


def train_options(pairs: tuple[str, ...], recipe: Path | None = None, **defaults: Any) -> Any:
    """The TrainConfig of a YAML file and `--set` pairs, which come before it; UserError for what cannot be."""
    import pydantic

    from bhvit.model.train import TrainConfig

    given = _options(pairs, TrainConfig.model_fields)
    try:
        return TrainConfig(**_recipe(recipe, TrainConfig.model_fields) | defaults | given)
    except pydantic.ValidationError as e:
        first = e.errors()[0]
        what = f"`{first['loc'][0]}` cannot be {first['input']!r}." if first["loc"] else "The options contradict."
        where = "--set" if recipe is None else str(recipe) if {*first["loc"][:1]} - given.keys() else f"{recipe}, --set"
        raise UserError(what, where=where, why=first["msg"].removeprefix("Value error, ")) from e


def _recipe(path: Path | None, legal: dict[str, Any]) -> dict[str, Any]:
    """The options in a YAML file."""
    import yaml

    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError("The options cannot be read.", str(path), " ".join(str(e).split()),
                        "give a YAML file of `key: value` lines, as in configs/train/") from e
    if not isinstance(found, dict):
        raise UserError("The options cannot be read.", str(path), "this is no list of `key: value` lines",
                        "see configs/train/ for examples")
    for key in found:
        if key not in legal:
            raise UserError(f"There is no option `{key}`.", str(path), do=_instead(str(key), legal))
    return found


@click.command()
@model_file
@data_option
@click.option("--weights", type=click.Path(path_type=Path), help="Deployed weights (safetensors).")
@click.option("--random-weights", type=int, metavar="SEED", help="Recipe weights of a seed instead.")
@json_option
def evaluate(model: Path, data: str, weights: Path | None, random_weights: int | None, as_json: bool) -> None:
    """Top-1 and top-5, in percent, of the deployed network."""
    from bhvit.model.data import load as load_data
    from bhvit.model.evaluate import evaluate as run

    cfg, net = load_network(model, weights, random_weights)
    result = run(net, load_data(data, cfg.image_size, cfg.image_channels))
    emit(result, as_json, f"{result['data']}: top-1 {result['top1']:.2f} %, top-5 {result['top5']:.2f} %, "
                          f"{result['images']} images, {result['distinct_outputs']} distinct outputs")


@click.command()
@model_file
@json_option
def count(model: Path, as_json: bool) -> None:
    """Operations and parameters per layer and in total."""
    from bhvit.model.config import load_config
    from bhvit.model.count import count as run

    result = run(load_config(model))
    lines = [f"{'layer':42}{'x':>4}{'binary MACs':>16}{'other MACs':>14}{'elementwise':>14}"
             f"{'binary weights':>16}{'parameters':>13}"]
    lines += [f"{r['layer']:42}{r['repeat']:>4}{r['binary_macs']:>16,}{r['fixed_macs']:>14,}{r['elementwise']:>14,}"
              f"{r['binary_weights']:>16,}{r['parameters']:>13,}" for r in result["layers"]]
    t = result["total"]
    lines.append(f"{'total per image':42}{'':4}{t['binary_macs']:>16,}{t['fixed_macs']:>14,}{t['elementwise']:>14,}"
                 f"{t['binary_weights']:>16,}{t['parameters']:>13,}")
    lines.append(f"OPs (binary MACs / 64 + other MACs): {t['ops']:,.0f}; with every binary map of A.V: "
                 f"{t['ops_av3']:,.0f}")
    lines.append(f"state dict: {t['tensors']:,} tensors, {t['parameters']:,} parameters ({t['binary_weights']:,} of "
                 f"them binary), {t['buffers']:,} buffer elements")
    emit(result, as_json, "\n".join(lines))


@click.command()
@model_file
@click.option("--weights", type=click.Path(path_type=Path), help="Deployed weights (safetensors).")
@click.option("--random-weights", type=int, metavar="SEED", help="Recipe weights of a seed instead.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="QONNX file, *.onnx; the sidecar goes beside it.")
@click.option("--check-images", type=click.IntRange(min=1), default=64, show_default=True, metavar="N",
              help="Images on which stock qonnx must equal PyTorch; seconds each for 224x224 pixels.")
@json_option
def export(model: Path, weights: Path | None, random_weights: int | None, out: Path, check_images: int,
           as_json: bool) -> None:
    """Write the QONNX file of the deployed network and golden tensors at every quantizer, and check it with qonnx."""
    from bhvit.model.export import export as run

    if out.suffix != ".onnx":
        raise UserError("The output is no .onnx file.", out, do=f"name it {out.stem or 'network'}.onnx")
    _, net = load_network(model, weights, random_weights)
    result = {"file": str(out), **run(net, out, check_images=check_images)}
    emit(result, as_json, f"{out}: written; stock qonnx equals PyTorch at every quantizer on "
                          f"{result['checked_images']} images")
