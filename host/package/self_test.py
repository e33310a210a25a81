"""Checks this package: files, device, every test image against PyTorch. The last line says PASS or FAIL."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "driver"))

from bhvit_host.selftest import main  # noqa: E402

sys.exit(main(package=HERE))
