"""The self-test of a package. The last line is PASS or FAIL, the exit code 0 or 1."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from . import package as packages
from .data import test_vectors
from .errors import HostError


def run(folder: Path, say, *, platform: str = "auto", model: str | None = None, batch_size: int = 16
        ) -> dict[str, Any]:
    """Check files, device, identity, and every test image; a package's outer files, too, where they are there.

    Raises: HostError: the first check that failed.
    """
    outer = folder.parent if folder.name == "overlay" and (folder.parent / packages.SUMS).is_file() else None
    for place in filter(None, (outer, folder)):
        bad = packages.damaged(place)
        if bad:
            raise HostError("Files are damaged or missing.", ", ".join(bad[:5]), f"{len(bad)} of {place}",
                            "copy the package again")
    say(f"files       whole ({'package and overlay' if outer else 'overlay'})")
    from .driver import Accelerator

    images, expected, labels = test_vectors(folder)
    with Accelerator(folder, device=platform, model=model, batch_size=min(batch_size, len(images))) as accelerator:
        say(f"device      {accelerator.evidence}")
        say(f"bitfile     {accelerator.bitfile.name}, build {accelerator.settings.build_hash}")
        if accelerator.feeder is not None:
            f = accelerator.feeder
            loaded = "" if f.load_file is None else f"{f.load_file['memories']} memories loaded"
            streams = f"{len(f.weights)} streams of weights" if f.weights else ""
            say(f"constants   {', '.join(filter(None, (loaded, streams)))}")
        if accelerator.settings.network["output"] == "top1":
            got, want = accelerator.execute(images, "classes")[:, None], expected.argmax(1)[:, None]
        else:
            got, want = accelerator.execute(images), expected
        equal = (got == want).all(axis=1)
        if not equal.all():
            i = int(np.argmin(equal))
            k = int(np.argmax(got[i] != want[i]))
            raise HostError("The accelerator does not compute what PyTorch computes.", f"image {i}, output {k}",
                            f"expected {want[i, k]}, got {got[i, k]}; {int(equal.sum())} of {len(equal)} images are "
                            "bit-exact")
        distinct = len(np.unique(expected, axis=0))
        if len(images) > 1 and distinct == 1:
            raise HostError("The test images all have the same outputs.", folder / "data",
                            "such a comparison tells nothing", "make the package again with other images")
        say(f"bit-exact   {int(equal.sum())}/{len(equal)} ({distinct} distinct outputs)")
        result = {"bit_exact_images": int(equal.sum()), "images": len(equal), "distinct_outputs": distinct,
                  "evidence": accelerator.evidence, "build_hash": accelerator.settings.build_hash}
        if labels is not None:
            classes = got[:, 0] if got.shape[1] == 1 else got.argmax(1)
            result["accuracy"] = 100 * float((classes == labels).mean())
            say(f"accuracy    {result['accuracy']:.2f} % of {len(labels)} test images")
        return result


def main(argv: list[str] | None = None, package: Path | None = None) -> int:
    """Command line; package: folder of the package (default: found as :func:`package.find` says)."""
    parser = argparse.ArgumentParser(prog="self_test.py", description=__doc__)
    parser.add_argument("--package", default=package, help="folder of the deployment package")
    parser.add_argument("--platform", default="auto", choices=("auto", "board", "sim"), help="where to run")
    parser.add_argument("--model", choices=("rtl", "golden"), help="behind the simulated device")
    parser.add_argument("--json", action="store_true", help="a JSON document before the last line")
    args = parser.parse_args(argv)
    try:
        result = run(packages.find(args.package), print, platform=args.platform, model=args.model)
        if args.json:
            print(json.dumps(result))
        print("PASS")
        return 0
    except HostError as e:
        print(f"error: {e}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    print("FAIL")
    return 1


if __name__ == "__main__":
    sys.exit(main())
