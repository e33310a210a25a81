"""Power of boards that have sensors, sampled while something runs."""

from __future__ import annotations

import threading
from typing import Any


class PowerSampler:
    """Context manager; `result()` afterwards gives watts per rail, or None where there is no sensor.

    Args:
        device: the pynq device; a simulated one has no sensors. rails: name -> object with `power.value` in watts
            (default: pynq's). seconds: between samples.
    """

    def __init__(self, device: Any, rails: dict[str, Any] | None = None, seconds: float = 0.02) -> None:
        self._rails = self._find(device) if rails is None else rails
        self._seconds, self._stop, self._thread = seconds, threading.Event(), None
        self._samples: dict[str, list[float]] = {}

    @staticmethod
    def _find(device: Any) -> dict[str, Any]:
        if hasattr(device, "simulated"):
            return {}
        try:
            from pynq import get_rails

            return {name: rail for name, rail in get_rails().items() if getattr(rail, "power", None) is not None}
        except Exception:  # no sensors library, no sensors, no rights: the figures are just not there
            return {}

    def __enter__(self) -> PowerSampler:
        if self._rails:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            for name, rail in self._rails.items():
                try:
                    self._samples.setdefault(name, []).append(float(rail.power.value))
                except (OSError, ValueError, TypeError):
                    continue
            if self._stop.wait(self._seconds):
                return

    def result(self) -> dict[str, Any] | None:
        """{rail: {"mean_w", "max_w", "samples"}} of rails that could be read; None without any."""
        found = {name: {"mean_w": sum(v) / len(v), "max_w": max(v), "samples": len(v)}
                 for name, v in self._samples.items() if v}
        return found or None


