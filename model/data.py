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

import io
import pickle
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bhvit.errors import UserError

SPLITS = ("train", "val", "test")
KINDS = {"digits": None, "cifar10": "DIR", "imagefolder": "DIR", "npz": "FILE", "random": "SEED"}
FORMS = "digits, cifar10:DIR, imagefolder:DIR, npz:FILE, random:SEED, each optionally @train, @val or @test"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
RANDOM_COUNT = 64  # images of random:SEED when no count is asked for
EAGER_BYTES = 2 << 30  # larger image folders are decoded when they are indexed
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


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


def load(spec: str | Spec, image_size: int, channels: int, count: int | None = None) -> Dataset:
    """The images of a SPEC at image_size x image_size pixels with 1 or 3 channels.

    count: only the first `count` images; for `random` exactly so many (default 64). Returns a Dataset, never
    empty. Raises UserError (missing data, wrong shape or type), which says how to get the data.
    """
    spec = parse(spec)
    if image_size < 1 or channels not in (1, 3):
        raise UserError("Images must have a positive size and 1 or 3 channels.",
                        f"image_size {image_size}, channels {channels}")
    if count is not None and count < 1:
        raise UserError("At least one image is needed.", f"count {count}")
    load_kind = {"digits": _digits, "cifar10": _cifar10, "imagefolder": _imagefolder, "npz": _npz,
                 "random": _random}[spec.kind]
    data = load_kind(spec, image_size, channels, count)
    if data.labels is not None:
        data.labels = np.asarray(data.labels, np.int64)
    if len(data) == 0:
        raise UserError("The data set is empty.", str(spec))
    return data if count is None else data.take(count)


def stratified_split(labels: np.ndarray, fractions: dict[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    """Split indices 0..N-1 so that every class is divided alike.

    labels: (N,) integers; fractions: name -> fraction; the rest is `train`. Returns name -> sorted indices,
    disjoint and complete. Each class is permuted by its own numpy RandomState (frozen stream), so the result
    depends on nothing but the labels and the seed.
    """
    parts: dict[str, list] = {name: [] for name in [*fractions, "train"]}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.random.RandomState(_crc(f"split:{label}:{seed}")).permutation(len(members))]
        start = 0
        for name, fraction in fractions.items():
            stop = start + int(len(members) * fraction + 0.5)
            parts[name].append(members[start:stop])
            start = stop
        parts["train"].append(members[start:])
    return {name: np.sort(np.concatenate(chunks)) if chunks else np.zeros(0, np.int64)
            for name, chunks in parts.items()}


def enlarge(images: np.ndarray, size: int, scale: int = 1, divisor: int = 1) -> np.ndarray:
    """Bilinear enlargement (pixel centres aligned, edges repeated) in exact integer arithmetic.

    images: (N, h, h, C) integers; returns uint8 (N, size, size, C) of round_half_up(value * scale / divisor).
    """
    side = images.shape[1]
    position = (2 * np.arange(size) + 1) * side - size  # in units of 1 / (2 size) pixels
    position = np.clip(position, 0, (side - 1) * 2 * size)
    low, part = position // (2 * size), position % (2 * size)
    high = np.minimum(low + 1, side - 1)
    wide = images.astype(np.int64)
    wide = wide[:, low] * (2 * size - part)[:, None, None] + wide[:, high] * part[:, None, None]
    wide = wide[:, :, low] * (2 * size - part)[:, None] + wide[:, :, high] * part[:, None]
    whole = divisor * (2 * size) ** 2
    return ((2 * scale * wide + whole) // (2 * whole)).astype(np.uint8)


# --- digits ----------------------------------------------------------------------------------------------


def _digits(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("The digits need scikit-learn.", str(spec), str(error),
                        "run `make setup`, or pip install scikit-learn") from error
    if image_size < 8:
        raise UserError("Digits are 8x8 pixels and only enlarged.", f"image_size {image_size}")
    bundle = load_digits()
    labels = bundle.target.astype(np.int64)
    chosen = stratified_split(labels, {"test": 0.2, "val": 0.1})[spec.split][:count]
    grey = bundle.images[chosen].astype(np.int64)[..., None]  # 0..16
    images = enlarge(grey, image_size, 255, 16)
    return Dataset(np.repeat(images, channels, -1), labels[chosen], str(spec), tuple("0123456789"))


# --- CIFAR-10 --------------------------------------------------------------------------------------------

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _cifar10(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    folder = Path(spec.arg)
    how = (f"download {CIFAR_URL}, unpack it and give that folder, or give a folder with train.npz and "
           "test.npz (arrays `images` uint8 (N,32,32,3) and `labels`)")
    if not folder.is_dir():
        raise UserError("The CIFAR-10 folder does not exist.", folder, do=how)
    if channels != 3:
        raise UserError("CIFAR-10 images have 3 channels.", str(spec), f"the model takes {channels}",
                        "use a model with channels: 3")
    if image_size < 32:
        raise UserError("CIFAR-10 images are 32x32 and only enlarged.", str(spec),
                        f"the model takes {image_size}x{image_size}")
    part = "test" if spec.split == "test" else "train"
    if (folder / f"{part}.npz").is_file():
        images, labels = _arrays(folder / f"{part}.npz", "images", "labels")
        if labels is None:
            raise UserError("The CIFAR-10 file has no labels.", folder / f"{part}.npz", do=how)
    else:
        if (folder / "cifar-10-batches-py").is_dir():
            folder = folder / "cifar-10-batches-py"
        names = ["test_batch"] if part == "test" else [f"data_batch_{i}" for i in range(1, 6)]
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UserError("CIFAR-10 is incomplete.", folder,
                            f"no {part}.npz and no {', '.join(missing)}", how)
        batches = [_cifar_batch(folder / name) for name in names]
        images, labels = (np.concatenate(parts) for parts in zip(*batches))
    _check(images, labels, 32, 3, f"{folder} ({part})")
    if spec.split != "test":
        chosen = stratified_split(labels, {"val": 0.1})[spec.split]
        images, labels = images[chosen], labels[chosen]
    images, labels = images[:count], labels[:count]
    if image_size > 32:
        pieces = [enlarge(images[i:i + 256], image_size) for i in range(0, len(images), 256)]
        images = np.concatenate(pieces)
    return Dataset(images, labels, str(spec), CIFAR_CLASSES)


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists, strings and numpy arrays, and refuses every other object: a batch file is a
    pickle, and a pickle can run code."""

    allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
               ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module, name):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"refused object {module}.{name}")
        return super().find_class(module, name)


def _cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        planes = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        return planes.transpose(0, 2, 3, 1), np.asarray(batch[b"labels"], np.int64)
    except Exception as error:
        raise UserError("This is not a CIFAR-10 python batch.", path, f"{type(error).__name__}: {error}",
                        f"download {CIFAR_URL} again and unpack it") from error


# --- npz -------------------------------------------------------------------------------------------------


def _npz(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    path = Path(spec.arg)
    if not path.is_file():
        raise UserError("The npz file does not exist.", path,
                        do="write it with numpy.savez(FILE, images=uint8 (N,H,W,C), labels=(N,))")
    names = _npz_names(path)
    part = "train" if spec.split == "val" and "val_images" not in names else spec.split
    if f"{part}_images" in names:
        images, labels = _arrays(path, f"{part}_images", f"{part}_labels")
    elif spec.split == "test":
        images, labels = _arrays(path, "images", "labels")
    else:
        raise UserError(f"The file has no {spec.split} images.", path,
                        f"its arrays are {', '.join(sorted(names))}",
                        "add train_images and train_labels, or use the file for evaluation only")
    if spec.split != "test" and "val_images" not in names:
        if labels is None:
            raise UserError("Holding out validation images needs labels.", path, "no array `train_labels`")
        chosen = stratified_split(labels, {"val": 0.1})[spec.split]
        images, labels = images[chosen], labels[chosen]
    if images.ndim == 3 and channels == 1:
        images = images[..., None]
    _check(images, labels, image_size, channels, path)
    return Dataset(images[:count], None if labels is None else labels[:count], str(spec))


def _npz_names(path: Path) -> set[str]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError("The file is not a readable npz file.", path, error,
                        "write it with numpy.savez(FILE, images=..., labels=...)") from error


def _arrays(path: Path, images: str, labels: str) -> tuple[np.ndarray, np.ndarray | None]:
    names = _npz_names(path)
    if images not in names:
        raise UserError(f"The file has no array `{images}`.", path,
                        f"its arrays are {', '.join(sorted(names))}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[images], file[labels] if labels in names else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError("The arrays cannot be read.", path, error) from error


def _check(images: np.ndarray, labels: np.ndarray | None, size: int, channels: int, where) -> None:
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


# --- folders of photographs ------------------------------------------------------------------------------


class FolderImages:
    """Photographs decoded on demand: shape (N, S, S, C), indexed by an integer, a slice or an index array."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: list[Path], size: int, channels: int):
        self.paths, self.size, self.channels, self.workers = paths, size, channels, 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), self.size, self.size, self.channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return photograph(self.paths[index], self.size, self.channels)
        if isinstance(index, slice):
            chosen = self.paths[index]
        else:
            chosen = [self.paths[i] for i in np.arange(len(self))[np.asarray(index)]]
        return self._decode(chosen, [None] * len(chosen))

    def crops(self, index, boxes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """Parts of photographs scaled to (N, S, S, C): boxes (N, 4) of top, left, height, width in parts of the whole
        picture's sides, mirrored (N,) bool."""
        images = self._decode([self.paths[i] for i in index], boxes)
        images[mirrored] = images[mirrored, :, ::-1]
        return images

    def _decode(self, paths: list[Path], boxes) -> np.ndarray:
        images = np.empty((len(paths), self.size, self.size, self.channels), np.uint8)
        with ThreadPoolExecutor(self.workers) as pool:
            decoded = pool.map(lambda path, box: photograph(path, self.size, self.channels, box), paths, boxes)
            for i, image in enumerate(decoded):
                images[i] = image
        return images

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def photograph(path: Path, size: int, channels: int, box: np.ndarray | None = None) -> np.ndarray:
    """A picture as uint8 (size, size, channels): shorter side to size * 256 / 224 (bicubic), centre crop; or the part
    `box` (top, left, height, width in parts of the sides) scaled to size x size."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB" if channels == 3 else "L")
            if box is not None:
                (width, height), (top, left, tall, wide) = picture.size, box
                part = (left * width, top * height, (left + wide) * width, (top + tall) * height)
                picture = picture.resize((size, size), Image.Resampling.BICUBIC, part)
                return np.asarray(picture, np.uint8).reshape(size, size, channels)
            short = round(size * 256 / 224)
            width, height = picture.size
            if width <= height:
                width, height = short, max(short, int(short * height / width))
            else:
                width, height = max(short, int(short * width / height)), short
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
            left, top = round((width - size) / 2), round((height - size) / 2)
            pixels = np.asarray(picture.crop((left, top, left + size, top + size)), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError("The picture cannot be read.", path, error, "remove or replace the file") from error
    return pixels.reshape(size, size, channels)


def _imagefolder(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    root = Path(spec.arg)
    if not root.is_dir():
        raise UserError("The image folder does not exist.", root,
                        do="give a folder of pictures, or of one folder of pictures per class; to train on ImageNet, "
                        "register at image-net.org, unpack ILSVRC2012 into train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, "
                        "and give the folder above")
    folder, held_out = root, None
    if (root / "train").is_dir():  # a folder with splits
        own_val = (root / "val").is_dir() and (root / "test").is_dir()
        if spec.split == "test":
            folder = root / ("test" if (root / "test").is_dir() else "val")
        elif spec.split == "val" and own_val:
            folder = root / "val"
        else:
            folder, held_out = root / "train", None if own_val else spec.split
        if not folder.is_dir():
            raise UserError(f"The image folder has no {spec.split} images.", root,
                            f"there is no folder {folder.name}/")
    elif spec.split != "test":
        raise UserError(f"The image folder has no {spec.split} images.", root, "there is no folder train/",
                        "put the class folders into train/ and test/ (and, if you like, val/)")
    classes = _classes(root / "train" if (root / "train").is_dir() else folder)
    if classes is None:
        paths, labels = _pictures(folder), None
    else:
        paths, labels = _labelled(folder, classes)
    if not paths:
        raise UserError("The image folder has no pictures.", folder,
                        f"no file ends in {', '.join(sorted(IMAGE_SUFFIXES))}")
    if held_out is not None:
        if labels is None:
            raise UserError("Holding out validation images needs class folders.", folder)
        chosen = stratified_split(labels, {"val": 0.1})[held_out]
        paths, labels = [paths[i] for i in chosen], labels[chosen]
    paths, labels = paths[:count], None if labels is None else labels[:count]
    images = FolderImages(paths, image_size, channels)
    if np.prod(images.shape, dtype=np.int64) <= EAGER_BYTES:
        images = images[:]
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    return Dataset(images, labels, str(spec), None if classes is None else tuple(classes), names)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(folder: Path) -> dict[str, int] | None:
    """Class folder -> label, None for a flat folder. Names that are all numbers are the labels themselves,
    other names are numbered in alphabetical order."""
    names = _folders(folder)
    if not any(_pictures(folder / name) for name in names):
        return None
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    return {name: label for label, name in enumerate(names)}


def _labelled(folder: Path, classes: dict[str, int]) -> tuple[list[Path], np.ndarray]:
    paths, labels = [], []
    for name in _folders(folder):
        found = _pictures(folder / name)
        if found and name not in classes:
            raise UserError("A class folder is unknown.", folder / name, "train/ has no folder of that name")
        paths += found
        labels += [classes.get(name, 0)] * len(found)
    return paths, np.asarray(labels, np.int64)


# --- random ----------------------------------------------------------------------------------------------


def _random(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
    number = RANDOM_COUNT if count is None else count
    images = np.empty((number, image_size, image_size, channels), np.uint8)
    for i in range(number):
        images[i] = random_image(int(spec.arg), i, image_size, channels, spec.split)
    return Dataset(images, None, str(spec))


def random_image(seed: int, index: int, image_size: int, channels: int, split: str = "test") -> np.ndarray:
    """Image `index` of random:SEED, uint8 (S, S, C): coarse blocks plus fine noise, as in the golden recipe.

    A pixel is clip(round(128 + 48 * (0.5 * fine + coarse)), 0, 255), fine and the 7x7 coarse blocks standard
    normal; every image has generators of its own, so any number can be drawn in any order.
    """
    def normal(part: str, side: int) -> np.ndarray:
        state = np.random.RandomState(_crc(f"random.{split}.{index}.{part}:{seed}"))
        return state.standard_normal((side, side, channels))

    block = np.arange(image_size) * 7 // image_size
    field = 0.5 * normal("fine", image_size) + normal("coarse", 7)[block][:, block]
    return np.clip(np.rint(128 + 48 * field), 0, 255).astype(np.uint8)


def _bad_spec(spec: str, why: str):
    raise UserError("This is not a data SPEC.", f"'{spec}'", why, f"the forms are {FORMS}")


def _crc(text: str) -> int:
    return zlib.crc32(text.encode("utf-8")) & 0x7FFFFFFF
