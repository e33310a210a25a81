"""The tests in board/ run in the host environment, with the driver and the files of a deployment package."""

from __future__ import annotations

import re
from pathlib import Path

BOARD = Path(__file__).parent / "board"


def test_driver_and_simulated_device(package, in_host, tmp_path):
    r = in_host("-m", "pytest", BOARD, "-q", "-c", "/dev/null", "--rootdir", BOARD, "--confcutdir", BOARD,
                "--import-mode=importlib", "-p", "no:cacheprovider", "--timeout=60", "--durations=8", "--basetemp",
                tmp_path / "t", timeout=300, BHVIT_PACKAGE=str(package), PYTHONPATH=str(package / "driver"),
                PYTHONDONTWRITEBYTECODE="1")
    print(r.stdout[-8000:], r.stderr[-2000:])
    assert r.returncode == 0
    passed = re.search(r"(\d+) passed", r.stdout)
    assert passed and int(passed[1]) >= 50 and "skipped" not in r.stdout
