"""Batches: order, augmentation and targets of every step, from nothing but seed, phase, epoch and step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bhvit.model.data import Dataset, FolderImages
from bhvit.model.train import augmentation
from bhvit.model.train.loss import soft_targets
from bhvit.model.train.options import PHASES, TrainConfig

ON_DEVICE_BYTES = 8 << 30  # larger sets of images stay in the CPU's memory


@dataclass
class Batch:
    """One process's part of a step.

    images: float (B, S, S, C), whole numbers 0..255; labels: int64 (B,); target: probabilities (B, classes); index,
    partner: places of the image and of the one mixed into it among the training images, int64 (B,) on the CPU;
    share: part of the image itself, float (B,) on the CPU, 1 where nothing is mixed.
    """

    images: Tensor
    labels: Tensor
    target: Tensor
    index: Tensor
    partner: Tensor
    share: Tensor


class Batches:
    """Training batches on a device; `rank` of `world` processes takes every world-th image of each batch."""

    def __init__(self, data: Dataset, options: TrainConfig, flip: bool, classes: int, device: torch.device,
                 rank: int = 0, world: int = 1) -> None:
        self.options, self.flip, self.classes, self.device = options, flip, classes, device
        self.rank, self.world, self.count = rank, world, len(data)
        self.steps = self.count // options.batch_size
        self.labels = np.asarray(data.labels, np.int64)
        self.images, self.lazy, self._pool = data.images, isinstance(data.images, FolderImages), None
        if self.lazy:
            self.images.workers = options.workers
            self._pool = ThreadPoolExecutor(1)  # decodes the next batch while this one is computed
        else:
            self.images = torch.from_numpy(np.ascontiguousarray(data.images))
            if device.type == "cuda" and self.images.nbytes <= ON_DEVICE_BYTES:
                self.images = self.images.to(device)

    def close(self) -> None:
        """End the decoding thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def epoch(self, phase: str, epoch: int, epochs: int, first: int = 0):
        """Yield the batches of steps first..steps-1 of an epoch (1-based)."""
        order = np.random.RandomState([self.options.seed, PHASES.index(phase), epoch]).permutation(self.count)
        late = self.options.late(phase, epoch, epochs, epochs - self.options.mix_off_epochs)
        mixing = (self.options.mixup > 0 or self.options.cutmix > 0) and self.options.loss == "paper" and not late

        def make(step: int) -> Batch:
            draw = np.random.RandomState([self.options.seed, PHASES.index(phase), epoch, step + 1])
            size = self.options.batch_size
            return self._make(order[step * size:(step + 1) * size], draw, mixing)

        if self._pool is None:
            yield from (make(step) for step in range(first, self.steps))
            return
        ahead: Future | None = None
        for step in range(first, self.steps):
            batch = ahead.result() if ahead else make(step)
            ahead = self._pool.submit(make, step + 1) if step + 1 < self.steps else None
            yield batch

    def _make(self, chosen: np.ndarray, draw: np.random.RandomState, mixing: bool) -> Batch:
        size = len(chosen)
        mine = np.arange(size)[self.rank::self.world]
        partners = size - 1 - mine  # the batch in reverse, as is usual
        needed = np.concatenate([mine, partners]) if mixing else mine
        pixels = self._augmented(chosen, draw, needed).to(self.device)
        images = pixels[:len(mine)].float()
        share = np.ones(len(mine))
        if mixing:
            images, share = augmentation.mix(images, pixels[len(mine):].float(), draw, self.options, mine, size)
        share = share.astype(np.float32)
        labels = augmentation.upload(self.labels[chosen[mine]], self.device)
        target = soft_targets(labels, self.classes, self.options.label_smoothing)
        if mixing:
            other = augmentation.upload(self.labels[chosen[partners]], self.device)
            other = soft_targets(other, self.classes, self.options.label_smoothing)
            own = augmentation.upload(share, self.device)[:, None]
            target = own * target + (1 - own) * other
        index, partner, share = (torch.from_numpy(part) for part in (chosen[mine], chosen[partners], share))
        return Batch(images, labels, target, index, partner, share)

    def _augmented(self, chosen: np.ndarray, draw: np.random.RandomState, needed: np.ndarray) -> Tensor:
        """uint8 images at the places `needed` of the batch. Random numbers are drawn for the whole batch, so that
        each process sees what a single one would; images are only made where they are needed."""
        options, size = self.options, len(chosen)
        seeds = draw.randint(0, 2**31, 3)
        if options.crop == "resized":
            box = augmentation.boxes(np.random.RandomState(seeds[0]), size, options.crop_area)[needed]
            mirrored = ((np.random.RandomState(seeds[1]).random_sample(size) < 0.5) & self.flip)[needed]
            if self.lazy:  # from the whole photograph, not from its centre
                images = torch.from_numpy(self.images.crops(chosen[needed], box, mirrored))
            else:
                images = self.images[torch.from_numpy(chosen[needed]).to(self.images.device)]
                images = augmentation.resized_crops(images, box, mirrored)
        else:
            source, places = self.images, chosen
            if self.lazy:
                places, first = np.arange(size), np.unique(needed)
                decoded = self.images[chosen[first]]
                source = np.zeros((size, *decoded.shape[1:]), np.uint8)
                source[first] = decoded
            images = augmentation.augment(source, np.random.RandomState(seeds[0]), options.shift, self.flip,
                                     options.padding, places)
            if len(needed) != size or np.any(needed != np.arange(size)):
                images = images[augmentation.upload(needed, images.device)]
        if options.operations or options.erase:
            images = self._changed(images, np.random.RandomState(seeds[2]), needed, size)
        return images

    def _changed(self, images: Tensor, draw: np.random.RandomState, needed: np.ndarray, size: int) -> Tensor:
        # every image of the batch gets its numbers: operations are done on the whole batch where processes share it
        if len(needed) != size or np.any(needed != np.arange(size)):
            whole = torch.zeros((size, *images.shape[1:]), dtype=images.dtype, device=images.device)
            whole[torch.from_numpy(needed).to(images.device)] = images
            return self._changed(whole, draw, np.arange(size), size)[torch.from_numpy(needed).to(images.device)]
        for _ in range(self.options.operations):
            images = augmentation.change(images, draw)
        return augmentation.erase(images, draw, self.options.erase) if self.options.erase else images
