"""The stitched design as a program of its own that the simulated device of a deployment package starts.

It is linked statically, so it runs on any Linux of the same processor kind, without the environment of the flow.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from pathlib import Path

from ..sim.verilate import build_simulator
from ..stitch import TOP, Design

SERVER = Path(__file__).with_name("server.cpp")
STATIC = ("-static",)


def build_server(design: Design, work: Path, *, optimize: str = "-O1", jobs: int = 2) -> Path:
    """Compile the server of a design with one input and one output; a compiled one is reused.

    Args:
        work: folder for compiled simulators, e.g. `sim/` of the build. optimize: g++ level. jobs: compilers.
    Returns:
        The executable; see server.cpp for how it is spoken to.
    """
    h = hashlib.sha256(json.dumps([optimize, SERVER.read_text(), *STATIC]).encode())
    for f in design.sources:
        h.update(f.name.encode() + b"\0" + f.read_bytes())
    folder = Path(work) / f"server_{h.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "sim").exists():
            partial = folder.with_name(folder.name + ".partial")
            for left in (folder, partial):
                if left.exists():
                    shutil.rmtree(left)
            build_simulator(TOP, [f.resolve() for f in design.sources], len(design.inputs), len(design.outputs),
                            partial.resolve(), optimize=optimize, jobs=jobs, harness=SERVER, link=STATIC)
            partial.rename(folder)
    return folder / "sim"
