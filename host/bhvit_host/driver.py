"""The accelerator: images in, logits or classes out.

Method names are those of FINN's driver (`idt`, `ishape_normal`, `batch_size`, `execute`, `throughput_test`, ...).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import overlay as overlays
from . import package
from .control import ControlBlock
from .errors import DeviceTimeout, HostError
from .images import Preprocess
from .measure import Measurements
from .settings import Settings, Stream

#: least size of a buffer: pynq before 4.0 puts smaller ones beyond the first 4 GB, where not every port reaches
SMALLEST = 8192
#: batches in flight: while one is computed, the next is packed and the one before unpacked
BUFFERS = 2
#: an accelerator is stuck when it takes so many times the estimated cycles, and the timeout in seconds is over, too
PATIENCE = 4


class Accelerator(Measurements):
    """An accelerator, loaded on a board or on the simulated device. For one thread at a time.

    Args:
        folder: the deployment package (default: see :func:`package.find`). bitfile: instead of the package's.
        batch_size: images in a DMA transfer. device: "auto", "board", "sim", or a pynq device. model: behind the
            simulated device, "rtl" or "golden". clock_mhz: instead of the clock of the hwh, which timing was met with.
        timeout: seconds without an end after which a transfer counts as stuck.
    Raises:
        HostError: with what, where, why and what to do.
    """

    def __init__(self, folder: str | os.PathLike | None = None, bitfile: str | os.PathLike | None = None, *,
                 batch_size: int = 16, device: Any = "auto", model: str | None = None, clock_mhz: float | None = None,
                 timeout: float = 5.0) -> None:
        self.settings = Settings.load(package.find(folder))
        self.device = (overlays.choose_device(self.settings, device, model) if isinstance(device, str) else device)
        #: evidence of what is measured: "board", or what the simulated device says
        self.simulated: str | None = getattr(self.device, "simulated", None)
        self.evidence = self.simulated or "board"
        self.timeout = timeout
        self._buffers: list[tuple[Any, Any]] = []
        self._running, self._runs = False, 0  #: transfers are under way; number of the run that began last
        self.feeder = None
        try:
            self.bitfile = Path(bitfile) if bitfile else self._own_bitfile()
            self._load(clock_mhz)
            self.batch_size = batch_size
        except BaseException:
            self.close()
            raise

    def _load(self, clock_mhz: float | None) -> None:
        """Overlay, clock, identity, constants from outside, DMA channels."""
        from .dma import Channel

        self.overlay = overlays.load(self.bitfile, self.settings, self.device)
        self.fclk_mhz = overlays.set_clock(self.overlay, clock_mhz)
        designed = float(self.overlay.clock_dict[0]["frequency"])
        if self.fclk_mhz > designed * overlays.ABOVE:
            print(f"note: {self.fclk_mhz:g} MHz is above the {designed:g} MHz that timing was met with; results may be "
                  "wrong", file=sys.stderr)
        names = {block: i["name"] for block, i in self.settings.instances.items()}
        self.control = ControlBlock(getattr(self.overlay, names["control"]), self.settings.control)
        self.control.check(self.settings, self.bitfile)
        self.control.soft_reset()
        if self.settings.constants:
            from .feeder import Feeder

            self.feeder = Feeder(getattr(self.overlay, names["feeder"]), self.control, self.settings, self.device)
            self.feeder.start()
        dma = getattr(self.overlay, names["dma"])
        self._send, self._receive = (Channel(dma, self.settings.dma, p, self._hopeless) for p in ("MM2S", "S2MM"))
        self.preprocess = Preprocess(self.settings.network["image_size"], self.settings.network["image_channels"])
        self._expect(0)

    def _own_bitfile(self) -> Path:
        file = (self.settings.simulation or {}).get("bitfile") if self.simulated else self.settings.bitfile
        if file is None:
            raise HostError("The package has no bitfile for a board.", self.settings.folder,
                            "it was made from a build that was not synthesized",
                            "use the simulated device (--platform sim), or make a bitfile with `bhvit bitstream`")
        return self.settings.folder / file

    # ---- FINN's names
    def idt(self) -> str:
        """Type of the input elements."""
        return self.settings.input.dtype.name

    def odt(self) -> str:
        """Type of the output elements."""
        return self.settings.output.dtype.name

    def ishape_normal(self) -> tuple[int, ...]:
        """(batch, height, width, channels)."""
        return (self.batch_size, *self.settings.input.dims)

    def oshape_normal(self) -> tuple[int, ...]:
        """(batch, ..., outputs)."""
        return (self.batch_size, *self.settings.output.dims)

    def ishape_folded(self) -> tuple[int, ...]:
        """(batch, beats, elements of a beat)."""
        return self._folded(self.settings.input)

    def oshape_folded(self) -> tuple[int, ...]:
        """(batch, beats, elements of a beat)."""
        return self._folded(self.settings.output)

    def ishape_packed(self) -> tuple[int, ...]:
        """(batch, beats, bytes of a beat)."""
        return (self.batch_size, self.settings.input.beats, self.settings.input.beat_bytes)

    def oshape_packed(self) -> tuple[int, ...]:
        """(batch, beats, bytes of a beat)."""
        return (self.batch_size, self.settings.output.beats, self.settings.output.beat_bytes)

    def _folded(self, s: Stream) -> tuple[int, ...]:
        return (self.batch_size, s.beats, s.TP * s.SIMD)

    @property
    def batch_size(self) -> int:
        """Images in a DMA transfer. Setting it allocates the contiguous buffers."""
        return self._batch

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        from pynq import allocate

        value = int(value)
        largest = min(self._send.limit // self.settings.input.frame_bytes,
                      self._receive.limit // self.settings.output.frame_bytes)
        if not 1 <= value <= largest:
            raise HostError("The batch size cannot be used.", value, f"a DMA transfer holds 1 to {largest} images")
        self._stop()
        self._free()
        try:
            self._buffers = [tuple(allocate((max(value, -(-SMALLEST // s.frame_bytes)), s.frame_bytes), np.uint8,
                                            target=self.device, cacheable=1)
                                   for s in (self.settings.input, self.settings.output)) for _ in range(BUFFERS)]
        except (MemoryError, RuntimeError) as e:
            self._free()
            raise HostError("There is not enough contiguous memory.", f"batch size {value}", e,
                            "use a smaller batch size, or free buffers of other notebooks (restart their kernels)"
                            ) from e
        self._batch = value

    # ---- running
    def execute(self, images, output: str = "logits") -> np.ndarray:
        """Run images through the accelerator.

        Args:
            images: uint8 (N, H, W, C) or one (H, W, C); or paths of pictures, which are scaled and cropped as for the
                evaluation of the network. output: "logits" or "classes".
        Returns:
            Integers (N, outputs), or class indices (N,). Designs that put out the class have no logits.
        """
        if output not in ("logits", "classes"):
            raise HostError("There is no such output.", output, do="choose logits or classes")
        parts = list(self.stream(images))
        top1 = self.settings.network["output"] == "top1"
        outputs = self.settings.output.tokens * self.settings.output.channels
        result = np.concatenate(parts).reshape(-1, outputs) if parts else np.zeros((0, outputs), np.int32)
        if output == "logits":
            if top1:
                raise HostError("The accelerator puts out classes, not logits.", self.settings.name,
                                "it was built with `output: top1`", "ask for classes")
            return result
        return result[:, 0].astype(np.int64) if top1 else result.argmax(1)

    def stream(self, images):
        """Like :meth:`execute`, batch by batch: yields the outputs (n, *dims) of each as soon as they are there.

        While the accelerator computes a batch, the next one is packed and the one before is unpacked. Another call on
        the accelerator stops a stream that has not ended.
        """
        images = self._checked(images)
        cuts = [slice(i, min(i + self._batch, len(images))) for i in range(0, len(images), self._batch)]
        if not cuts:
            return
        source, target = self.settings.input, self.settings.output
        counts = [c.stop - c.start for c in cuts]
        mine = self._begin()
        done = False
        self._expect(sum(counts[:BUFFERS]))
        try:
            self._pack(images[cuts[0]], 0)
            self._receive.start(self._buffers[0][1], counts[0] * target.frame_bytes)
            self._send.start(self._buffers[0][0], counts[0] * source.frame_bytes)
            for k, n in enumerate(counts):
                last = k + 1 == len(counts)
                if not last:
                    self._pack(images[cuts[k + 1]], k + 1)
                self._send.wait()
                if not last:
                    self._send.start(self._buffers[(k + 1) % BUFFERS][0], counts[k + 1] * source.frame_bytes)
                self._receive.wait()
                if not last:
                    self._expect(sum(counts[k + 1:k + 1 + BUFFERS]))
                    self._receive.start(self._buffers[(k + 1) % BUFFERS][1], counts[k + 1] * target.frame_bytes)
                yield target.unpack(np.asarray(self._buffers[k % BUFFERS][1])[:n])
                if mine != self._runs:
                    raise HostError("The stream was stopped.", f"after batch {k + 1} of {len(counts)}",
                                    "the accelerator was used or closed before the stream had ended",
                                    "take all batches first, or start the stream again")
            done = True
        finally:
            if mine == self._runs:
                if done:
                    self._running = False
                else:  # stuck, interrupted, or not asked for the rest
                    self.reset()

    def run_buffers(self, n: int) -> None:
        """One transfer of the first n packed images of buffer 0: what FINN calls `execute_on_buffers`."""
        self._begin()
        self._expect(n)
        try:
            self._receive.start(self._buffers[0][1], n * self.settings.output.frame_bytes)
            self._send.start(self._buffers[0][0], n * self.settings.input.frame_bytes)
            self._send.wait()
            self._receive.wait()
        except BaseException:
            self.reset()
            raise
        self._running = False

    def _begin(self) -> int:
        """A run of transfers begins; returns its number. One that has not ended is stopped."""
        self._stop()
        self._running = True
        return self._runs

    def _stop(self) -> None:
        """Stop a run that has not ended: the DMA would go on writing into its buffers."""
        self._runs += 1
        if self._running:
            self.reset()

    def reset(self) -> None:
        """Stop everything in flight; the next call of :meth:`execute` starts afresh."""
        self.control.soft_reset()
        self._running = False
        self._send.restart()
        self._receive.restart()

    def _checked(self, images) -> Any:
        if isinstance(images, (str, Path)) or (isinstance(images, Sequence) and images
                                               and all(isinstance(i, (str, Path)) for i in images)):
            paths = [images] if isinstance(images, (str, Path)) else images
            images = np.stack([self.preprocess.photograph(p) for p in paths])
        elif isinstance(images, (list, tuple)):
            images = np.asarray(images)
        dims = self.settings.input.dims
        shape = tuple(getattr(images, "shape", None) or np.shape(images))
        if shape == dims:
            images, shape = np.asarray(images)[None], (1, *dims)
        if shape[1:] != dims or not shape:
            raise HostError("The images have the wrong shape.", why=f"they are {shape}, needed is (N, "
                            f"{', '.join(map(str, dims))})", do="scale them with `accelerator.preprocess`, or give "
                            "paths of pictures")
        if getattr(images, "dtype", None) != np.uint8 and self.idt() == "UINT8":
            raise HostError("The images are no uint8 pixels.", why=f"they are {getattr(images, 'dtype', type(images))}",
                            do="give pixels 0 to 255 without normalization: the accelerator contains it")
        return images

    def _pack(self, images, batch: int) -> None:
        buffer = np.asarray(self._buffers[batch % BUFFERS][0])
        self.settings.input.pack(np.asarray(images), buffer[:len(images)])

    # ---- stuck or only slow
    def _expect(self, frames: int) -> None:
        """So many frames are in flight from now on."""
        c = self.settings.cycles
        self._expected, self._begun = PATIENCE * (c["latency_bound"] + frames * c["interval"]), self.control.cycles

    def _hopeless(self, waited: float) -> None:
        """Raise DeviceTimeout when a transfer takes longer than the timeout and than the accelerator's own clock
        allows: a device whose clock is slow, as a simulated one's, gets the cycles that it needs."""
        if self.feeder is not None:
            self.feeder.raise_error()
        if waited < self.timeout:
            return
        cycles = self.control.cycles - self._begun
        if 0 < cycles < self._expected:
            return
        read = self.control.read
        state = (f"{read('FRAMES_IN')} frames entered, {read('FRAMES_OUT')} came out; {cycles} cycles passed, at most "
                 f"{self._expected} were expected")
        raise DeviceTimeout("The accelerator is stuck." if cycles else "The clock of the accelerator stands still.",
                            self.bitfile, f"after {waited:.1f} s {state}",
                            "it has been reset; if this happens again, check the bitfile" if cycles
                            else "load the overlay again, which sets the clock")

    # ---- the end
    def _free(self) -> None:
        for pair in self._buffers:
            for b in pair:
                b.freebuffer()
        self._buffers = []

    def close(self) -> None:
        """Stop what is under way, free the buffers, end a simulation."""
        try:
            self._stop()
        except HostError as e:  # better to lose memory than to free what may still be written to
            print(f"note: the buffers are not freed: {e}", file=sys.stderr)
            self._buffers = []
        if self.feeder is not None:
            self.feeder.close()
            self.feeder = None
        self._free()
        if self.simulated:
            self.device.close()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_) -> None:
        self.close()


