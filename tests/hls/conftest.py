"""The demonstration network, lowered, folded and with sized FIFOs, once for all test processes."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def micro(tmp_path_factory) -> Path:
    """Folder of a build of bhvit_micro, up to the sized FIFOs."""
    from bhvit.finn_flow import build as flow
    from bhvit.finn_flow.config import load_config
    from tests.flow import chain

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "micro_of_hls"
    steps = flow.STEPS[: [s.name for s in flow.STEPS].index("step_bhvit_size_fifos") + 1]
    with folder.with_suffix(".lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        chain.model_side_here(patch)
        # also while somebody edits the sources
        patch.setattr("bhvit.finn_flow.build_key.code_digest", lambda _part: "code")
        flow.build(load_config(ROOT / "configs/build/bhvit_micro.yaml", ["jobs=1"]), folder, steps=steps,
                   echo=io.StringIO())
    return folder
