"""Images in arrays: CIFAR-10 and npz files."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bhvit.errors import UserError

from .generated import enlarge
from .sets import Dataset, NoSplit, Spec, check_images, stratified_split

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
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
    check_images(images, labels, 32, 3, f"{folder} ({part})")
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


def npz(spec: Spec, image_size: int, channels: int, count: int | None) -> Dataset:
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
        raise NoSplit(f"The file has no {spec.split} images.", path, f"its arrays are {', '.join(sorted(names))}",
                      "add train_images and train_labels, or use the file for evaluation only")
    if images.ndim == 3 and channels == 1:
        images = images[..., None]
    check_images(images, labels, image_size, channels, path)
    if spec.split != "test" and "val_images" not in names:
        if labels is None:
            raise UserError("Holding out validation images needs labels.", path, "no array `train_labels`")
        chosen = stratified_split(labels, {"val": 0.1})[spec.split]
        images, labels = images[chosen], labels[chosen]
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
