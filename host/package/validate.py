"""Top-1 accuracy of the accelerator over a data set. The options are those of FINN's validate.py."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "driver"))

from bhvit_host.cli import validate_main  # noqa: E402

sys.exit(validate_main(package=HERE))
