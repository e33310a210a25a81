"""The model side as processes of their own: what the build and the cosimulation ask PyTorch for.

    python -m bhvit.model_process export MODEL (--weights W | --random-weights SEED) -o FOLDER
    python -m bhvit.model_process reference FOLDER --data SPEC [-n N] -o REF.npz

`export` fills FOLDER with network.onnx and its golden tensors, weights.safetensors and the model file, so that a build
carries everything it was made from. `reference` writes images (uint8), logits (integers) and, where known, labels.
Exit codes and messages are those of the command line.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from bhvit.cli.main import is_user_error, report_error
from bhvit.errors import BhvitError, UserError

#: images on which the exported graph is compared with PyTorch (stock qonnx takes about 4 ms a node)
CHECKED = 16


@click.group()
def cli() -> None:
    """Model-side processes."""


@cli.command()
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--random-weights", type=int)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def export(model: Path, weights: Path | None, random_weights: int | None, out: Path) -> None:
    """Export a network and everything it was made from into a folder."""
    from bhvit.cli.model import load_network
    from bhvit.model.export import ExportError
    from bhvit.model.export import export as run
    from bhvit.model.weights import save

    cfg, net = load_network(model, weights, random_weights)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, out / "model.yaml")
    if weights is not None:
        shutil.copyfile(weights, out / "weights.safetensors")
    else:
        save(out / "weights.safetensors", net.deployed_state(), cfg)
    try:
        facts = run(net, out / "network.onnx", check_images=CHECKED)
    except ExportError as e:
        from bhvit.errors import CheckFailed

        raise CheckFailed("The exported graph does not equal PyTorch.", where=str(model), why=str(e)) from e
    click.echo(f"{facts['checked_images']} images: exported graph equals PyTorch at every quantizer")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", required=True)
@click.option("-n", "count", type=int)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def reference(folder: Path, data: str, count: int | None, out: Path) -> None:
    """Integer logits of the images of a data SPEC."""
    from bhvit.cli.model import load_network
    from bhvit.model.data import load
    from bhvit.model.trace import run_integers

    cfg, net = load_network(folder / "model.yaml", folder / "weights.safetensors", None)
    found = load(data, cfg.image_size, cfg.image_channels, count)
    images = np.stack([np.asarray(found.images[i]) for i in range(len(found))])
    logits, _ = run_integers(net, images)
    arrays: dict[str, Any] = {"images": images, "logits": logits}
    if found.labels is not None:
        arrays["labels"] = np.asarray(found.labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    click.echo(f"{len(images)} images: logits by PyTorch")


def main() -> None:
    """Entry point; exit codes as the command line's."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except (BhvitError, Exception) as e:
        if not (isinstance(e, BhvitError) or is_user_error(e)):
            raise
        report_error(e, False)
        sys.exit(e.exit_code if isinstance(e, BhvitError) else UserError.exit_code)


if __name__ == "__main__":
    main()
