"""Deployed logits as integers, in a process of its own (for tools that do not import torch).

    python -m bhvit.model.reference --model CFG --weights W --images images.npy --out out.npz [--trace]

Writes `logits` (N, classes) int32, `logit_exponent`, `model_digest`, `state_digest`; with --trace also one array per
quantizer, key `trace/<tensor name>`, and its exponent, key `exponent/<tensor name>`. Exit 0, or 2 for bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bhvit.model.reference", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="model file (YAML)")
    parser.add_argument("--weights", required=True, type=Path, help="deployed weights (safetensors)")
    parser.add_argument("--images", required=True, type=Path, help="npy, uint8 (N, S, S, Cin)")
    parser.add_argument("--out", required=True, type=Path, help="npz to write")
    parser.add_argument("--trace", action="store_true", help="store the output of every quantizer")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    for what, path in (("model", args.model), ("weights", args.weights), ("images", args.images)):
        if not path.is_file():
            print(f"--{what}: {path} does not exist; give an existing file", file=sys.stderr)
            return 2

    import torch

    from bhvit.errors import UserError
    from bhvit.model import weights
    from bhvit.model.config import load_config
    from bhvit.model.network import BHViT
    from bhvit.model.trace import exponents, run_integers, state_digest

    torch.set_num_threads(args.threads)
    try:
        config = load_config(args.model)
        net = BHViT.from_deployed(config, weights.load(args.weights, config))
        images = np.load(args.images, allow_pickle=False)
        side, ch = config.image_size, config.image_channels
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, ch) or len(images) == 0:
            raise ValueError(f"{args.images}: expected uint8 of shape (N, {side}, {side}, {ch}), got {images.dtype} "
                             f"{images.shape}; make it from the same data as the build")
    except (UserError, ValueError, OSError) as err:
        print(f"{err}", file=sys.stderr)
        return 2
    logits, trace = run_integers(net, images, args.batch, args.trace)
    grid = exponents(net.hw)
    out = {"logits": logits, "logit_exponent": np.int64(net.logit_exponent),
           "model_digest": np.str_(config.digest()), "state_digest": np.str_(state_digest(net))}
    for name, value in trace.items():
        out[f"trace/{name}"] = value
        out[f"exponent/{name}"] = np.int64(grid[name])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **out)
    print(json.dumps({"images": len(logits), "logit_exponent": net.logit_exponent, "out": args.out.name}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
