"""Command lines: driver.py and validate.py, with the options of FINN's."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from . import package as packages
from .errors import HostError

PLATFORMS = ("auto", "board", "sim", "zynq-iodma")


def _parser(description: str, package: Path | None, batch: int) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--package", default=package, help="folder of the deployment package")
    p.add_argument("--platform", default="auto", choices=PLATFORMS,
                   help="auto: a board, else the simulated device; zynq-iodma: FINN's word for a board")
    p.add_argument("--device", type=int, default=0, help="accepted as by FINN's driver; a Zynq has one device")
    p.add_argument("--model", choices=("rtl", "golden"), help="behind the simulated device")
    p.add_argument("--batchsize", type=int, default=batch, help="images in a DMA transfer")
    p.add_argument("--bitfile", help="instead of the package's")
    p.add_argument("--fclk_mhz", type=float, help="instead of the clock that the design was built for")
    p.add_argument("--timeout", type=float, default=5.0, help="seconds after which a transfer counts as stuck")
    p.add_argument("--json", dest="report", help="file for the result")
    return p


def _open(args):
    from .driver import Accelerator

    device = "board" if args.platform == "zynq-iodma" else args.platform
    return Accelerator(args.package, args.bitfile, batch_size=args.batchsize, device=device, model=args.model,
                       clock_mhz=args.fclk_mhz, timeout=args.timeout)


def _run(call, argv, parser) -> int:
    args = parser.parse_args(argv)
    try:
        return call(args)
    except HostError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _write(result: dict, args) -> None:
    if args.report:
        Path(args.report).write_text(json.dumps(result, indent=2) + "\n")


def driver_main(argv: list[str] | None = None, package: Path | None = None) -> int:
    """driver.py"""
    p = _parser("Run images through the accelerator, or measure it.", package, 1)
    p.add_argument("--exec_mode", default="execute", choices=("execute", "throughput_test", "latency_test"))
    p.add_argument("--inputfile", nargs="+", default=["input.npy"], help=".npy of uint8 images (NHWC), or pictures")
    p.add_argument("--outputfile", default="output.npy", help=".npy for the outputs")
    p.add_argument("--runtime_weight_dir", help="accepted as by FINN's driver; weights are part of the bitfile")
    return _run(_driver, argv, p)


def _driver(args) -> int:
    with _open(args) as accelerator:
        if args.exec_mode == "execute":
            files = [Path(f) for f in args.inputfile]
            images = list(map(str, files)) if files[0].suffix != ".npy" else _load(files[0])
            top1 = accelerator.settings.network["output"] == "top1"
            outputs = accelerator.execute(images, "classes" if top1 else "logits")
            np.save(args.outputfile, outputs)
            print(f"Results written to {args.outputfile}: {outputs.shape[0]} images, {accelerator.evidence}")
            return 0
        if args.exec_mode == "throughput_test":
            result, name = accelerator.throughput_test(), "nw_metrics.txt"
        else:
            result, name = accelerator.latency_test(), "latency_metrics.txt"
        Path(name).write_text(str(result))  # FINN's file and form
        _write(result, args)
        print(f"Results written to {name}")
        for key, value in result.items():
            print(f"{key:36} {'not measured: no board' if value is None and accelerator.simulated else value}")
    return 0


def _load(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError) as e:
        raise HostError("The input file cannot be read.", file, e, "give a .npy file of uint8 images, or pictures"
                        ) from e


def validate_main(argv: list[str] | None = None, package: Path | None = None) -> int:
    """validate.py"""
    p = _parser("Top-1 accuracy of the accelerator over a data set.", package, 100)
    p.add_argument("--dataset", default="package", help="package, digits, npz:FILE, cifar10:DIR or imagefolder:DIR")
    p.add_argument("--dataset_root", help="the argument of --dataset, as a path of its own")
    p.add_argument("--limit", type=int, help="only the first images")
    return _run(_validate, argv, p)


def _validate(args) -> int:
    from .data import load
    from .validate import validate

    folder = packages.find(args.package)
    with _open(args) as accelerator:
        result = validate(accelerator, load(args.dataset, args.dataset_root, folder, accelerator.preprocess),
                          args.limit)
    _write(result, args)
    print(f"{result['evidence']}: {result['ok']} of {result['total']} right")
    print(f"Final accuracy: {result['accuracy']}")
    return 0
