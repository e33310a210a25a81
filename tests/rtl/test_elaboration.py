"""Yosys's SystemVerilog front end takes every kernel: it is stricter than Verilator, for example about declarations."""

from __future__ import annotations

import subprocess

import numpy as np

from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.synth import STUB, dependencies
from bhvit.finn_flow.wrapper import memory_files, sources, wrapper
from bhvit.tools import yosys


def test_every_kernel_elaborates(tmp_path):
    (tmp_path / "stub.sv").write_text(STUB)
    script = []
    for stem, cls in layers().items():
        layer = cls(**cls.examples()[0])
        constants = layer.random_constants(np.random.default_rng(0))
        files = dependencies(sources(cls)[-1])
        for f in files:
            (tmp_path / f.name).write_text(f.read_text())
        for name, lines in memory_files(layer, f"top_{stem}", constants).items():
            (tmp_path / name).write_text("\n".join(lines) + "\n")
        (tmp_path / f"top_{stem}.v").write_text(wrapper(layer, f"top_{stem}", constants))
        names = " ".join(["stub.sv", *(f.name for f in files), f"top_{stem}.v"])
        script += [f"read_slang --threads 1 -D SYNTHESIS --top top_{stem} {names}", "design -reset"]
    (tmp_path / "run.ys").write_text("\n".join(script) + "\n")
    tool = yosys()
    r = subprocess.run([str(tool.path), "-q", "run.ys"], cwd=tmp_path, env=tool.env, capture_output=True, text=True)
    assert r.returncode == 0, (r.stdout + r.stderr)[-2000:]
