"""What every kind of data shares: the SPEC, the data set, splits, the check of arrays, seeds from text."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from bhvit.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Spec:
    """A parsed data SPEC: kind, argument (None for digits) and split."""

    kind: str
    arg: str | None
    split: str

    def __str__(self) -> str:
        return self.kind + (f":{self.arg}" if self.arg is not None else "") + f"@{self.split}"


@dataclass
class Dataset:
    """images: uint8 (N, H, W, C), an array or, for large folders, something that is indexed like one;
    labels: int64 (N,) or None; name: the SPEC; classes: class names where known; files: paths where known."""

    images: np.ndarray
    labels: np.ndarray | None
    name: str
    classes: tuple[str, ...] | None = None
    files: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, count: int) -> Dataset:
        """The first `count` images (all, if there are fewer)."""
        def cut(values):
            return None if values is None else values[:count]

        return replace(self, images=cut(self.images), labels=cut(self.labels), files=cut(self.files))


class NoSplit(UserError):
    """The data have no images of the split that was asked for."""


def stratified_split(labels: np.ndarray, fractions: dict[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    """Split indices 0..N-1 so that every class is divided alike.

    labels: (N,) integers; fractions: name -> fraction; the rest is `train`. Returns name -> sorted indices,
    disjoint and complete. Each class is permuted by its own numpy RandomState (frozen stream), so the result
    depends on nothing but the labels and the seed.
    """
    parts: dict[str, list] = {name: [] for name in [*fractions, "train"]}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.random.RandomState(crc(f"split:{label}:{seed}")).permutation(len(members))]
        start = 0
        for name, fraction in fractions.items():
            stop = start + int(len(members) * fraction + 0.5)
            parts[name].append(members[start:stop])
            start = stop
        parts["train"].append(members[start:])
    return {name: np.sort(np.concatenate(chunks)) if chunks else np.zeros(0, np.int64)
            for name, chunks in parts.items()}


def check_images(images: np.ndarray, labels: np.ndarray | None, size: int, channels: int, where) -> None:
    """Raise UserError unless images are uint8 (N, size, size, channels) and labels, where given, one each."""
    if images.dtype != np.uint8:
        raise UserError("Images must be uint8.", where, f"they are {images.dtype}",
                        "store pixels 0..255 without normalization")
    if images.ndim != 4 or images.shape[1:] != (size, size, channels):
        raise UserError("The images have the wrong shape.", where,
                        f"they are {images.shape}, needed is (N, {size}, {size}, {channels}): NHWC",
                        "resize them, or use a model with that image_size and number of channels")
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"
                               or (len(labels) and labels.min() < 0)):
        raise UserError("Labels must be one non-negative integer per image.", where,
                        f"labels are {labels.dtype} {labels.shape} for {len(images)} images")


def crc(text: str) -> int:
    """Seed of a numpy RandomState from a text."""
    return zlib.crc32(text.encode("utf-8")) & 0x7FFFFFFF
