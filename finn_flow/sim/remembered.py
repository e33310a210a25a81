"""Simulations that are kept: neither an interrupted search nor a network trained further simulates the same again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .design import DesignSim, FifoState
from .verilate import SimResult


class Remembered:
    """Runs of a simulator of kind "sizing", each in a file of its own under a digest of all that its timing comes from.

    The values of constants are no part of it: layers wait for streams, never for what these carry (`bhvit cosim`
    simulates the pace of the sized design with them). Their sizes and the RTL are. The simulator is compiled only where
    something is left to simulate.

    sim: the simulator; folder: where results are kept, made when there is one. What a file cannot give is simulated.
    """

    def __init__(self, sim: DesignSim, folder: Path, log: Callable[[str], None] = lambda _: None) -> None:
        self.sim, self.folder, self.log = sim, folder, log
        sizes = {f.name: f.stat().st_size for f in sorted(sim.design.memories.iterdir())}
        self._design = [sim.work.name, sizes]
        self._asked: set[Path] = set()

    def run(self, frames: np.ndarray, *, throttle: int = 0, patience: int | None = None,
            depths: Mapping[str, int] | None = None, closed: str | None = None) -> tuple[SimResult, list[FifoState]]:
        """As `DesignSim.run`; a result that was kept has no outputs and no log."""
        data = hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()
        cause = [self._design, data, list(frames.shape), throttle, patience, sorted((depths or {}).items()), closed]
        file = self.folder / (hashlib.sha256(json.dumps(cause).encode()).hexdigest()[:24] + ".json")
        self._asked.add(file)
        known = _read(file)
        if known:
            self.log("FIFO sizing: simulated before:")
            return known
        result, states = self.sim.run(frames, throttle=throttle, patience=patience,
                                      depths=None if depths is None else dict(depths), closed=closed)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps({
            "status": result.status, "cycles": result.cycles, "seconds": result.seconds,
            "input_frame_cycles": _plain(result.input_frame_cycles),
            "output_frame_cycles": _plain(result.output_frame_cycles), "states": [asdict(s) for s in states]}))
        partial.rename(file)
        return result, states

    def tidy(self) -> None:
        """Remove what no run has asked for: results of other designs."""
        for file in set(self.folder.iterdir()) - self._asked:
            file.unlink()


def _plain(cycles: list[Any]) -> list[list[int]]:
    return [[int(c) for c in stream] for stream in cycles]


def _read(file: Path) -> tuple[SimResult, list[FifoState]] | None:
    try:
        kept = json.loads(file.read_text())
        states = [FifoState(**s) for s in kept.pop("states")]
        return SimResult(outputs=[], log="", **kept), states
    except (OSError, ValueError, TypeError, KeyError):  # none, or not whole: simulate
        return None
