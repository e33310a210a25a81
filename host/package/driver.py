"""Runs images through the accelerator, or measures it. The options are those of FINN's driver.py."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "driver"))

from bhvit_host.cli import driver_main  # noqa: E402

sys.exit(driver_main(package=HERE))
