"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere.

    with Progress("training", total=60, unit="epoch") as bar:
        for epoch in range(60):
            bar.advance(info=f"val {top1:.2f} %")

    for batch in track(batches, "evaluating", unit="batch"):
        ...

Everything goes to standard error, so `--json` output on standard output stays clean. `BHVIT_QUIET=1` or
`Progress(..., quiet=True)` prints nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

LINE_SECONDS = 5.0  # between two plain lines


def quiet_wanted() -> bool:
    """Whether BHVIT_QUIET asks for no progress and no log on the terminal."""
    return os.environ.get("BHVIT_QUIET", "") not in ("", "0")


def duration(seconds: float) -> str:
    """Seconds as `12 s`, `3 min 05 s` or `2 h 07 min`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress:
    """One progress indicator, a context manager.

    total: number of steps, None if unknown. info of `advance` is shown after the figures. On a terminal it
    is a rich bar, otherwise a line like `training: 12/60 epoch (20 %), 41 s, 2 min 44 s left, val 97.20 %` at
    most every `every` seconds, plus one when it ends.
    """

    def __init__(self, title: str, total: int | None = None, unit: str = "", *, stream: TextIO | None = None,
                 every: float = LINE_SECONDS, quiet: bool | None = None, start: int = 0):
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.stream = stream if stream is not None else sys.stderr
        self.quiet = quiet_wanted() if quiet is None else quiet
        self.done, self.first, self.info = start, start, ""
        self._bar = self._task = None
        self._begun = self._last = time.monotonic()
        self._printed = None  # (done, info) of the last plain line

    def __enter__(self) -> Progress:
        self._begun = self._last = time.monotonic()
        if not self.quiet and self.stream.isatty():
            from rich import progress as rich
            from rich.console import Console

            self._bar = rich.Progress(
                rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(),
                rich.TextColumn(self.unit), rich.TimeElapsedColumn(), rich.TimeRemainingColumn(),
                rich.TextColumn("{task.fields[info]}"), console=Console(file=self.stream))
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, info="")
        return self

    def __exit__(self, kind, value, trace) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet and (self._printed != (self.done, self.info)):
            self._line(final=kind is None)

    def advance(self, steps: int = 1, info: str | None = None) -> None:
        """Count `steps` more as done; `info` replaces the text behind the figures."""
        self.update(self.done + steps, info)

    def update(self, done: int, info: str | None = None) -> None:
        """Set the number of steps done."""
        self.done = done
        if info is not None:
            self.info = info
        if self._bar is not None:
            self._bar.update(self._task, completed=done, info=self.info)
        elif not self.quiet and time.monotonic() - self._last >= self.every:
            self._line()

    def say(self, text: str) -> None:
        """A message of its own line, above the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    def _line(self, final: bool = False) -> None:
        now = time.monotonic()
        self._last, spent = now, now - self._begun
        unit = f" {self.unit}" if self.unit else ""
        if self.total:
            percent = 100 * self.done // self.total
            text = f"{self.title}: {self.done}/{self.total}{unit} ({percent} %), {duration(spent)}"
            fresh = self.done - self.first
            if fresh > 0 and not final and self.done < self.total:
                text += f", {duration(spent / fresh * (self.total - self.done))} left"
        else:
            text = f"{self.title}: {self.done}{unit}, {duration(spent)}"
        if self.info:
            text += f", {self.info}"
        self._printed = (self.done, self.info)
        print(text, file=self.stream, flush=True)


def track(items: Iterable, title: str, total: int | None = None, unit: str = "", **options) -> Iterator:
    """Yield the items while a progress indicator runs; total defaults to `len(items)` where there is one."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with Progress(title, total, unit, **options) as bar:
        for item in items:
            yield item
            bar.advance()
