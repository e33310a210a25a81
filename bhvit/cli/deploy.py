"""`bhvit deploy`: the deployment package of a finished build."""

from __future__ import annotations

from pathlib import Path

import click

from ..deployment import IMAGES
from ..deployment import deploy as run
from ..errors import file_trouble
from .main import emit, json_option

#: fewer test images than this say little about a device
ENOUGH = 20


@click.command()
@click.argument("build_dir", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the package (default BUILD_DIR/deploy).")
@click.option("--data", help="SPEC of the test images; PyTorch computes their logits. Default: those of the build.")
@click.option("-n", "images", type=click.IntRange(min=1), default=IMAGES, show_default=True, help="Test images.")
@click.option("--bitfile", type=click.Path(path_type=Path, dir_okay=False),
              help=".bit with the .hwh beside it (default: that of `bhvit bitstream`, where there is one).")
@click.option("--board", help="Of which board, when there are bitfiles for several.")
@click.option("--zip", "archive", is_flag=True, help="Also write a zip file.")
@json_option
def deploy(build_dir: Path, out: Path | None, data: str | None, images: int, bitfile: Path | None,
           board: str | None, archive: bool, as_json: bool) -> None:
    """Folder (and zip) for a PYNQ board: bitfile, driver, test images, notebook, self-test, simulated device."""
    try:
        result = run(build_dir, out or build_dir / "deploy", data=data, images=images, bitfile=bitfile, board=board,
                     archive=archive)
    except OSError as e:
        raise file_trouble(e, str(out or build_dir)) from e
    lines = [f"package         {result['package']}", f"test images     {result['images']} ({result['source']})"]
    if result["zip"]:
        lines.append(f"zip             {result['zip']}")
    if result["images"] < ENOUGH:
        lines.append(f"note            only {result['images']} test images: --data SPEC gives more")
    if result["bitfile"] is None:
        lines.append("note            no bitfile for a board (`bhvit bitstream` makes one, with Vivado): the package "
                     "runs on the simulated device only")
    emit(result, as_json, "\n".join([*lines, f"check it        python3 {result['package']}/self_test.py"]))
