"""Progress on standard error: a bar on a terminal, nothing elsewhere or with BHVIT_QUIET=1."""

from __future__ import annotations

import os
import sys
import time


class Progress:
    """`with Progress("validating", 1000) as bar: bar.update(done, "97.1 %")`."""

    def __init__(self, title: str, total: int, stream=None) -> None:
        self._title, self._total, self._stream = title, max(total, 1), stream or sys.stderr
        self._shown = self._stream.isatty() and os.environ.get("BHVIT_QUIET", "0") in ("", "0")
        self._begun, self._last = time.monotonic(), 0.0

    def update(self, done: int, info: str = "") -> None:
        """done: of the total."""
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.1 and done < self._total):
            return
        self._last, filled = now, 30 * done // self._total
        left = (now - self._begun) * (self._total - done) / done if done else 0
        self._stream.write(f"\r{self._title} [{'#' * filled}{'.' * (30 - filled)}] {done}/{self._total} {left:.0f} s "
                           f"left {info}\033[K")
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self._shown:
            self._stream.write("\n")
