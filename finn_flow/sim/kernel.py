"""Simulate a single layer instance in Verilator, for tests and for node-by-node execution."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..layers.base import Constants, Layer
from ..load import FILE as LOAD_FILE
from ..load import loaded, segments, stream_words, streamed
from ..load import write as write_load
from ..wrapper import memory_files, sources, wrapper
from .verilate import NO_STALLS, SimResult, Stalls, build_simulator, run_simulator


class KernelSim:
    """One compiled layer instance; run it as often as needed with different data and stalls.

    Args:
        layer: the declaration with its attributes. constants: int arrays (sets, *shape). work: build folder.
    """

    def __init__(self, layer: Layer, constants: Constants, work: Path, optimize: str = "-O1") -> None:
        self.layer = layer
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        name = layer.stem + "_0"
        for f, lines in memory_files(layer, name, constants).items():
            (self.work / f).write_text("\n".join(lines) + "\n")
        (self.work / f"{name}.v").write_text(wrapper(layer, name, constants))
        late = loaded(layer)
        self.load = self.work / LOAD_FILE if late else None
        if self.load:
            write_load(self.load, segments(layer, constants, {k: i for i, k in enumerate(late)}))
        self.weights = []
        for k in streamed(layer):
            words = stream_words(layer.memories(constants)[k])
            (self.work / f"{k.lower()}.bin").write_bytes(words.tobytes())
            self.weights.append((self.work / f"{k.lower()}.bin", words.shape[1]))
        self.exe = build_simulator(name, [*sources(layer), self.work / f"{name}.v"], len(layer.inputs()),
                                   len(layer.outputs()), self.work, optimize=optimize,
                                   load="load_in" if late else None,
                                   weights=[f"{k.lower()}_V" for k in streamed(layer)])

    def run(self, inputs: list[np.ndarray], stalls: Stalls = NO_STALLS, patience: int | None = None,
            bandwidth: float = 0.0) -> SimResult:
        """inputs: int64 (F, *dims) per input stream, stream order. bandwidth: bytes per cycle of the memory that
        streamed weights come from (0: no limit)."""
        frames = inputs[0].shape[0] if inputs else 1
        if patience is None:
            patience = 20 * self.layer.cycles() + 5000
        return run_simulator(self.exe, list(zip(self.layer.inputs(), inputs)), self.layer.outputs(), frames,
                             cwd=self.work, stalls=stalls, patience=patience, load=self.load,
                             weights=self.weights, bandwidth=bandwidth)
