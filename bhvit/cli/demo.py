"""`bhvit demo`: the whole chain on bhvit_micro."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..errors import CheckFailed
from .flow import summary
from .main import emit, json_option

ROOT = Path(__file__).resolve().parents[2]


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("build/bhvit_micro"), show_default=True)
@click.option("-n", "images", type=click.IntRange(min=1), default=100, show_default=True, help="Test images.")
@json_option
def demo(out: Path, images: int, as_json: bool) -> None:
    """Export, build and simulate the trained bhvit_micro on test digits, bit by bit against PyTorch."""
    from bhvit.finn_flow import report
    from bhvit.finn_flow.build import build, cosim
    from bhvit.finn_flow.config import load_config

    begun = time.monotonic()
    build(load_config(ROOT / "configs" / "build" / "bhvit_micro.yaml"), out)
    result = cosim(out, data="digits@test", images=images)
    data, page = report.write(out)
    total = data["total"]
    seconds = time.monotonic() - begun
    emit({"build": str(out), "report": str(page), "seconds": round(seconds, 1), "resources": total, "cosim": result},
         as_json, "\n".join([
             "", "resources       " + ", ".join(
                 f"{total[k]:,.0f} {k}" for k in ("LUT", "BRAM_18K", "DSP") if k in total) + " (estimate)",
             f"report          {page}", f"time            {seconds:.0f} s", summary(result)]))
    if not result["ok"]:
        raise CheckFailed("The RTL does not equal PyTorch.", where=str(out), why=result.get("message"))
