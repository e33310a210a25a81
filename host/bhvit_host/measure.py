"""Measuring on a board: throughput, latency, power. Keys are those of FINN's `throughput_test`.

On the simulated device every figure in seconds, or per second, is null: simulated time says nothing about a board.
Cycle counts are given with their evidence.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from .power import PowerSampler


class Measurements:
    """Mixed into the accelerator."""

    def throughput_test(self, batches: int = 4) -> dict[str, Any]:
        """Run random batches and measure. `runtime[ms]` and `throughput[images/s]` are of one transfer without the
        host's work, as in FINN; `end_to_end[images/s]` includes it, overlapped."""
        n = self.batch_size
        rng = np.random.default_rng(0)
        t = self.settings.input.dtype
        images = rng.integers(t.min, t.max + 1, (n, *self.settings.input.dims)).astype(t.container)
        if t.bipolar:
            images = np.where(images >= 0, 1, -1).astype(t.container)
        times: dict[str, float] = {}
        source, target = self._buffers[0]

        def timed(name, call):
            begun = perf_counter()
            result = call()
            times[name] = 1000 * (perf_counter() - begun)
            return result

        timed("fold_input[ms]", lambda: np.ascontiguousarray(self.settings.input.fold(images)))
        timed("pack_input[ms]", lambda: self._pack(images, 0))
        timed("copy_input_data_to_device[ms]", source.flush)
        self.run_buffers(n)  # once before it counts
        self.control.clear_counters()
        with PowerSampler(self.device) as power:
            timed("runtime[ms]", lambda: self.run_buffers(n))
            begun = perf_counter()
            for _ in self.stream(np.concatenate([images] * batches)):
                pass
            overlapped = perf_counter() - begun
        timed("copy_output_data_from_device[ms]", target.invalidate)
        timed("unpack_output[ms]", lambda: self.settings.output.unpack(np.asarray(target)[:n]))
        seconds = times["runtime[ms]"] / 1000
        rate = {"throughput[images/s]": n / seconds, "end_to_end[images/s]": n * batches / overlapped,
                "DRAM_in_bandwidth[MB/s]": n * self.settings.input.frame_bytes / seconds / 1e6,
                "DRAM_out_bandwidth[MB/s]": n * self.settings.output.frame_bytes / seconds / 1e6}
        result = {"runtime[ms]": times.pop("runtime[ms]"), **rate, **times}
        if self.simulated:
            result = dict.fromkeys(result)
        return {**result, "fclk[mhz]": None if self.simulated else self.fclk_mhz, "batch_size": n,
                **self._cycles(), "power": power.result(), "evidence": self.evidence}

    def latency_test(self, images: int = 20) -> dict[str, Any]:
        """One image at a time: milliseconds from the start of the transfers to the result in memory."""
        rng = np.random.default_rng(0)
        t = self.settings.input.dtype
        frame = rng.integers(max(t.min, 0), t.max + 1, (1, *self.settings.input.dims)).astype(t.container)
        if t.bipolar:
            frame[...] = 1
        self._pack(frame, 0)
        times, cycles = [], []
        for _ in range(images):
            begun = perf_counter()
            self.run_buffers(1)
            times.append(1000 * (perf_counter() - begun))
            cycles.append(self.control.read("LAST_LATENCY"))
        spread = {"latency_min[ms]": min(times), "latency_median[ms]": median(times), "latency_max[ms]": max(times)}
        return {**(dict.fromkeys(spread) if self.simulated else spread), "images": images,
                "latency_cycles": self._known(median(cycles)), "fclk[mhz]": None if self.simulated else self.fclk_mhz,
                "evidence": self.evidence}

    def _cycles(self) -> dict[str, Any]:
        read = self.control.read
        return {"interval_cycles": self._known(read("LAST_INTERVAL")),
                "latency_cycles": self._known(read("LAST_LATENCY"))}

    @staticmethod
    def _known(cycles: float) -> int | None:
        """None for a counter that has nothing to tell (all ones: lost; 0: no clock, or no frame yet)."""
        return None if cycles in (0, 0xFFFFFFFF) else int(cycles)
