"""The model side as processes of their own: what the build and the cosimulation ask PyTorch for.

    python -m bhvit.model_process export MODEL (--weights W | --random-weights SEED) -o FOLDER [--check-images N]
    python -m bhvit.model_process reference FOLDER --data SPEC [-n N] -o REF.npz

`export` fills FOLDER with network.onnx and its golden tensors, weights.safetensors and the model file, so that a build
carries everything it was made from. `reference` writes images (uint8), logits (integers), how often each
attention level occurs and, where known, labels. Exit codes are those of the command line; on standard output there is
one JSON document, the result or the error, so that :func:`ask` raises in the caller what went wrong here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from bhvit.errors import BhvitError, CheckFailed, UserError, file_trouble
from bhvit.files import replacing

#: images on which the exported graph is compared with PyTorch (stock qonnx takes about 4 ms a node), and for images
#: of more pixels than 64 x 64, where it takes seconds an image
CHECKED, CHECKED_LARGE = 16, 2


def checked_images(image_size: int) -> int:
    """How many images a build compares: `bhvit export --check-images N` compares more."""
    return CHECKED if image_size <= 64 else CHECKED_LARGE


def ask(args: list[str]) -> dict[str, Any]:
    """Run this module as a process of its own and return its result.

    Raises: UserError, CheckFailed: what the process reported; UserError when it was killed.
    """
    r = subprocess.run([sys.executable, "-m", "bhvit.model_process", *args], capture_output=True, text=True)
    try:
        data = json.loads(r.stdout)
    except ValueError:
        data = {}
    if r.returncode == 0:
        return data
    if r.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if r.returncode < 0:
        name = signal.Signals(-r.returncode).name
        raise UserError("The model process was killed.", f"bhvit.model_process {args[0]}", f"signal {name}",
                        "probably there is not enough memory: close other programs, or use fewer images"
                        if name == "SIGKILL" else "run the same command again")
    if not data:  # a defect: its traceback is the message
        raise RuntimeError(f"bhvit.model_process {args[0]} ended with exit code {r.returncode}:\n{r.stderr[-3000:]}")
    where = data["where"] or args[args.index("-o") + 1]
    kind = CheckFailed if data["exit_code"] == CheckFailed.exit_code else UserError
    raise kind(data["error"], where, data["why"], data["do"])


@click.group()
def cli() -> None:
    """Model-side processes."""


@cli.command()
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--weights", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--random-weights", type=int)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--check-images", type=click.IntRange(min=1))
def export(model: Path, weights: Path | None, random_weights: int | None, out: Path, check_images: int | None) -> None:
    """Export a network and everything it was made from into a folder."""
    from bhvit.cli.model import load_network
    from bhvit.model.export import export as run
    from bhvit.model.weights import save

    cfg, net = load_network(model, weights, random_weights)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, out / "model.yaml")
    if weights is not None:
        shutil.copyfile(weights, out / "weights.safetensors")
    else:
        save(out / "weights.safetensors", net.deployed_state(), cfg)
    count = check_images or checked_images(cfg.image_size)
    facts = run(net, out / "network.onnx", check_images=count)
    few = "; images are large, `bhvit export --check-images N` compares more" if count < CHECKED else ""
    _answer({"message": f"{facts['checked_images']} images: exported graph equals PyTorch at every quantizer{few}"})


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", required=True)
@click.option("-n", "count", type=int)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def reference(folder: Path, data: str, count: int | None, out: Path) -> None:
    """Integer logits of the images of a data SPEC."""
    from bhvit.cli.model import load_network
    from bhvit.model.data import load
    from bhvit.model.trace import counting_levels, run_integers

    cfg, net = load_network(folder / "model.yaml", folder / "weights.safetensors", None)
    found = load(data, cfg.image_size, cfg.image_channels, count)
    images = np.stack([np.asarray(found.images[i]) for i in range(len(found))])
    with counting_levels(net) as levels:
        logits, _ = run_integers(net, images)
    arrays: dict[str, Any] = {"images": images, "logits": logits, "qd_levels": levels}
    if found.labels is not None:
        arrays["labels"] = np.asarray(found.labels)
    if found.classes is not None:
        arrays["class_names"] = np.asarray(found.classes, str)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:  # other simulations may be reading it
        np.savez_compressed(partial, **arrays)
    _answer({"message": f"{len(images)} images: logits by PyTorch"})


def _answer(data: dict[str, Any]) -> None:
    print(json.dumps(data), file=_OUT, flush=True)


def main() -> None:
    """Entry point; exit codes as the command line's."""
    code = 0
    try:
        with contextlib.redirect_stdout(sys.stderr):
            cli(standalone_mode=False)
    except click.ClickException as e:
        _answer({"error": e.format_message(), "where": "command line", "why": None, "do": None, "exit_code": 2})
        code = 2
    except KeyboardInterrupt:
        code = 130
    except (BhvitError, OSError) as e:
        known = e if isinstance(e, BhvitError) else file_trouble(e)
        _answer(known.as_dict())
        code = known.exit_code
    sys.exit(code)


#: standard output before libraries that print are sent to standard error
_OUT = sys.stdout

if __name__ == "__main__":
    main()
