"""Host code runs in an environment of its own (.venv-host: pynq needs numpy 1); here it is given packages to run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bhvit.deployment import deploy, host_import
from tests.cli.conftest import built, finished, of_toy, pico, run, toy_steps  # noqa: F401 (fixtures)
from tests.flow import networks

collect_ignore = ["board", "board_fed"]  # run in .venv-host: test_board.py, test_feeder.py
host_import()
ROOT = Path(__file__).resolve().parents[2]
#: images in the package of these tests
IMAGES = 24


@pytest.fixture(scope="session")
def host_python() -> Path:
    """Interpreter of .venv-host; the test is skipped without it."""
    python = Path(os.environ.get("BHVIT_HOST_PYTHON", ROOT / ".venv-host" / "bin" / "python"))
    if not python.exists():
        pytest.skip("the host environment is missing: run `make host-setup`")
    return python


@pytest.fixture(scope="session")
def package(tmp_path_factory, request) -> Path:
    """The deployment package of a toy build (five layers), made once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "package"
    with (shared / "package.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build = shared / "build"
            shutil.copytree(request.getfixturevalue("finished")[0], build, symlinks=True)
            reference(build)
            with pytest.MonkeyPatch.context() as m:  # load_build knows the steps of the toy
                m.setattr("bhvit.finn_flow.build_folder.STEPS", request.getfixturevalue("toy_steps"))
                made = deploy(build, folder, images=IMAGES, archive=True, optimize="-O0")
            (folder / "done").write_text(made["package"])
    return Path((folder / "done").read_text())


def reference(build: Path) -> None:
    """Images with outputs and labels, as a cosimulation leaves them in a build."""
    from bhvit.finn_flow import ops

    model = networks.residual(tokens=16, channels=8)
    x = networks.pixels(model, IMAGES, seed=4).astype(np.uint8)
    y = ops.execute(model, {"pixels": x})["logits"].reshape(IMAGES, -1)
    labels = y.argmax(1)
    labels[:3] += 1  # three wrong predictions
    np.savez(build / "report" / "reference_test.npz", images=x, logits=y, labels=labels)


@pytest.fixture
def in_host(host_python):
    """in_host(*arguments, **environment) -> CompletedProcess of a run of the host's Python."""
    def call(*args, timeout=120, cwd=None, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BHVIT", "PYTHON"))}
        return subprocess.run([str(host_python), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                              cwd=cwd, env={**clean, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1",
                                            "OMP_NUM_THREADS": "1", "BHVIT_PYTHON": sys.executable, **env})
    return call
