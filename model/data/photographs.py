"""Photographs in folders, decoded on demand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bhvit.errors import UserError

from .sets import Dataset, NoSplit, Spec, stratified_split

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
EAGER_BYTES = 2 << 30  # larger image folders are decoded when they are indexed


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


def imagefolder(spec: Spec, image_size: int, channels: int, count: int | None, whole: bool = False) -> Dataset:
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
            raise NoSplit(f"The image folder has no {spec.split} images.", root,
                          f"there is no folder {folder.name}/", f"put the class folders of these images into "
                          f"{folder.name}/; val/ serves as the test images where there is no test/")
    elif spec.split != "test":
        raise NoSplit(f"The image folder has no {spec.split} images.", root, "there is no folder train/",
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
    if not whole and np.prod(images.shape, dtype=np.int64) <= EAGER_BYTES:
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
