"""`bhvit shell-sim`: a build's design in its shell, images in memory to logits in memory, against PyTorch."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bhvit.errors import CheckFailed, UserError
from bhvit.files import write
from bhvit.progress import Progress

from ..build_folder import load_build, lock
from ..cosim import Reference, expected_outputs, run_reference, verilator_version
from ..stitch import Design
from . import check
from .design import ShellParameters
from .driver import Outside, TransferFailed
from .sim import ProtocolViolation, ShellSim, build_shell_simulator

#: frames of a batch, at most
SLOTS = 24


def shell_sim(folder: Path, *, data: str | None = None, reference: Path | None = None, images: int = 20, seed: int = 1,
              disturb: bool = True, axi_bits: int = 64, report: Path | None = None, optimize: str | None = None,
              quiet: bool | None = None) -> dict[str, Any]:
    """Simulate the shell of a finished build with random memory latencies, stalls, faults and resets.

    Args:
        data: data SPEC, or reference: npz with `images` and `logits`. images: at most so many. seed: of all that is
            random. disturb: also error answers and resets in the middle of frames, each followed by whole frames.
        report: default report/shell_sim_SEED.json. optimize: g++ level, by default after the number of images.
    Returns:
        The contents of the report; ``ok`` says whether every byte was right and no rule was broken.
    Raises:
        UserError: no build, or no reference. CheckFailed: the shell broke a rule of AXI, or a transfer did not end.
    """
    folder, config = load_build(folder)
    if (data is None) == (reference is None):
        raise UserError("Give either --data SPEC or --reference FILE.", "command line", None, "e.g. --data digits")
    with lock(folder, shared=True):
        return _shell_sim(folder, config, data, reference, images, seed, disturb, axi_bits, report, optimize, quiet)


def _shell_sim(folder: Path, config: dict[str, Any], data: str | None, reference: Path | None, images: int, seed: int,
               disturb: bool, axi_bits: int, report: Path | None, optimize: str | None,
               quiet: bool | None) -> dict[str, Any]:
    if reference is not None:
        ref = Reference.load(reference).head(images)
    else:
        name = hashlib.sha256(f"{data}|{images}".encode()).hexdigest()[:12]
        ref = run_reference(folder / "model", str(data), images, folder / "report" / f"reference_{name}.npz")
    design = Design.load(folder / "stitched_ip")
    i, o = design.inputs[0], design.outputs[0]
    n = len(ref.images)
    x = i.pack(np.asarray(ref.images)).reshape(n, -1)
    y = o.pack(expected_outputs(ref.logits, design).reshape(n, *o.dims)).reshape(n, -1)
    parameters = ShellParameters.of(design, config["clock_mhz"], axi_bits=axi_bits)
    begun = time.monotonic()
    exe = build_shell_simulator(design, parameters, folder / "sim", jobs=config["jobs"],
                                optimize=optimize or ("-O2" if n * design.max_cycles > 3_000_000 else "-O1"))
    compiled = time.monotonic() - begun
    begun = time.monotonic()
    rng = np.random.default_rng(seed)
    slots = min(SLOTS, max(1, n // 3))
    with ShellSim(exe, design.memories, seed) as sim, Progress("shell simulation", n, "frames", quiet=quiet) as bar:
        # the slowest memory gives a burst of 128 bytes in about 300 cycles
        slow = 20 * (1 + sum(size for _, size in parameters.weights))
        session = check.Session(sim, parameters, slots, slow * (slots * design.max_cycles + design.total_cycles), rng,
                                Outside.of(design))
        report = report or folder / "report" / f"shell_sim_{seed}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        try:
            identity = check_identity(sim, parameters)
            result = check.run(session, x, y, disturb=disturb, progress=bar.update, frame_cycles=design.max_cycles)
        except (ProtocolViolation, TransferFailed) as error:
            write(report, json.dumps({"ok": False, "images": n, "bit_exact_images": 0, "seed": seed,
                                      "message": str(error)}, indent=2) + "\n")
            raise CheckFailed(error.what, error.where, error.why, error.do) from error
    seconds = time.monotonic() - begun
    message = result.first_difference or identity
    out = {"ok": message is None and result.exact == n, "images": n, "bit_exact_images": result.exact,
           "distinct_outputs": len(np.unique(y, axis=0)), "seed": seed, "batches": result.batches,
           "error_answers": result.faults, "resets": result.resets, "loads": result.loads,
           "constants": {"loaded_memories": len(design.loads), "weight_streams": len(design.weights)},
           "memory": [vars(p) for p in result.paces],
           "axi_bits": axi_bits, **result.figures, "sim_cycles": result.cycles, "sim_seconds": seconds,
           "compile_seconds": compiled, "sim_cycles_per_second": result.cycles / seconds,
           "build_hash": f"{parameters.build_hash:032x}", "simulator": verilator_version(), "source": "RTL simulation",
           "message": message}
    write(report, json.dumps(out, indent=2) + "\n")
    return out


def check_identity(sim: ShellSim, p: ShellParameters) -> str | None:
    """The identity registers say what was built; None, or what is wrong."""
    got = sum(sim.read("control", f"BUILD_HASH{i}") << 32 * i for i in range(4))
    pairs = {"build hash": (got, p.build_hash), "INPUT_BYTES": (sim.read("control", "INPUT_BYTES"), p.input_bytes),
             "OUTPUT_BYTES": (sim.read("control", "OUTPUT_BYTES"), p.output_bytes),
             "CLOCK_KHZ": (sim.read("control", "CLOCK_KHZ"), p.clock_khz)}
    return next((f"{k} is {a:#x}, not {b:#x}" for k, (a, b) in pairs.items() if a != b), None)
