"""Data sets by SPEC, always uint8 images (N, H, W, C), nothing normalized (the stem does that).

    SPEC            images
    digits          scikit-learn's bundled 8x8 digits, enlarged; 1,797 images, no download
    cifar10:DIR     the python batches, or train.npz and test.npz with `images` and `labels`
    imagefolder:DIR photographs; class folders give labels, a flat folder has none
    npz:FILE        `images` uint8 (N, H, W, C) and, optionally, `labels`
    random:SEED     made-up images with structure, without labels

Each may end in `@train`, `@val` or `@test` (default test). Where a source has no validation images of its
own, a tenth of the training images of each class (seed 0) is held out for validation. A folder or file
that is one set (class folders directly in DIR; a plain `images` array) is a test set; to train, give it the
folders `train/` and `test/`, or the arrays `train_images`, `train_labels`, `test_images`, `test_labels`.
"""

from __future__ import annotations

import numpy as np

from bhvit.errors import UserError

from .arrays import cifar10, npz
from .generated import RANDOM_COUNT, digits, enlarge, random_image, random_images
from .photographs import FolderImages, imagefolder, photograph
from .sets import SPLITS, Dataset, NoSplit, Spec, stratified_split

KINDS = {"digits": None, "cifar10": "DIR", "imagefolder": "DIR", "npz": "FILE", "random": "SEED"}
FORMS = "digits, cifar10:DIR, imagefolder:DIR, npz:FILE, random:SEED, each optionally @train, @val or @test"

__all__ = ["FORMS", "KINDS", "RANDOM_COUNT", "SPLITS", "Dataset", "FolderImages", "NoSplit", "Spec", "enlarge", "load",
           "parse", "photograph", "random_image", "stratified_split"]


def parse(spec: str | Spec) -> Spec:
    """Read a SPEC; UserError with the known forms if it is none."""
    if isinstance(spec, Spec):
        return spec
    text, split = str(spec).strip(), "test"
    head, at, tail = text.rpartition("@")
    if at and (tail in SPLITS or "/" not in tail):
        if tail not in SPLITS:
            _bad_spec(text, f"there is no split '@{tail}'; the splits are @train, @val and @test")
        text, split = head, tail
    kind, colon, arg = text.partition(":")
    if kind not in KINDS:
        _bad_spec(text, f"'{kind}' is not a kind of data")
    if KINDS[kind] is None and colon:
        _bad_spec(text, f"'{kind}' takes no argument")
    if KINDS[kind] is not None and not arg:
        _bad_spec(text, f"'{kind}' needs an argument: {kind}:{KINDS[kind]}")
    if kind == "random" and not arg.isdecimal():
        _bad_spec(text, f"SEED must be a non-negative integer, not '{arg}'")
    return Spec(kind, arg if colon else None, split)


def load(spec: str | Spec, image_size: int, channels: int, count: int | None = None, whole: bool = False) -> Dataset:
    """The images of a SPEC at image_size x image_size pixels with 1 or 3 channels.

    count: only the first `count` images; for `random` exactly so many (default 64). whole: photographs stay files, from
    which a training can cut crops (else small folders are decoded at once, to their centres). Returns a Dataset, never
    empty. Raises UserError (missing data, wrong shape or type), which says how to get the data.
    """
    spec = parse(spec)
    if image_size < 1 or channels not in (1, 3):
        raise UserError("Images must have a positive size and 1 or 3 channels.",
                        f"image_size {image_size}, channels {channels}")
    if count is not None and count < 1:
        raise UserError("At least one image is needed.", f"count {count}")
    load_kind = {"digits": digits, "cifar10": cifar10, "imagefolder": imagefolder, "npz": npz,
                 "random": random_images}[spec.kind]
    options = {"whole": whole} if spec.kind == "imagefolder" else {}
    data = load_kind(spec, image_size, channels, count, **options)
    if data.labels is not None:
        data.labels = np.asarray(data.labels, np.int64)
    if len(data) == 0:
        raise UserError("The data set is empty.", str(spec))
    return data if count is None else data.take(count)


def _bad_spec(spec: str, why: str):
    raise UserError("This is not a data SPEC.", f"'{spec}'", why, f"the forms are {FORMS}")
