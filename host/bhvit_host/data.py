"""Data sets for `validate`: images ready for the accelerator, in batches, with labels.

    package               the test images of the deployment package
    npz:FILE              `images` uint8 (N, H, W, C) or (N, H, W) of the network's size, and `labels`
    cifar10:DIR           DIR/test.npz (`images`, `labels`), or the python batch DIR/test_batch
    imagefolder:DIR       one folder of pictures per class; scaled and cropped
    digits                scikit-learn's digits, all of them (the network's own test split is in the package)
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .errors import HostError
from .images import SUFFIXES, Preprocess

FORMS = "package, digits, npz:FILE, cifar10:DIR, imagefolder:DIR"


class Data:
    """labels: (N,) integers. batches(n): uint8 images, n at a time."""

    def __init__(self, name: str, labels: np.ndarray, images=None, paths: list[Path] | None = None,
                 preprocess: Preprocess | None = None) -> None:
        self.name, self.labels = name, np.asarray(labels, np.int64)
        self._images, self._paths, self._preprocess = images, paths, preprocess

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, n: int) -> Iterator[np.ndarray]:
        for i in range(0, len(self), n):
            if self._paths is None:
                yield self._images[i:i + n]
            else:
                yield np.stack([self._preprocess.photograph(p) for p in self._paths[i:i + n]])


def load(name: str, root: str | None, package: Path, preprocess: Preprocess) -> Data:
    """A data set by name (`KIND:ARGUMENT`, or KIND with root as the argument). Raises HostError."""
    kind, _, argument = name.partition(":")
    place = Path(argument or root or "")
    if kind == "package":
        return _package(package)
    if kind == "digits":
        return _digits(preprocess)
    if kind not in ("npz", "cifar10", "imagefolder"):
        raise HostError("There is no such data set.", name, do=f"choose one of {FORMS}")
    if not (argument or root) or not place.exists():
        raise HostError("The data does not exist.", place, do=f"write {kind}:PATH, or give --dataset_root")
    return {"npz": _npz, "cifar10": _cifar10, "imagefolder": _folder}[kind](place, preprocess)


def test_vectors(package: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Images, PyTorch's integer logits and, where known, labels of a package."""
    folder = Path(package) / "data"
    try:
        labels = folder / "labels.npy"
        return (np.load(folder / "input.npy"), np.load(folder / "expected_output.npy"),
                np.load(labels) if labels.is_file() else None)
    except (OSError, ValueError) as e:
        raise HostError("The package's test images cannot be read.", folder, e, "copy the package again") from e


def _package(package: Path) -> Data:
    images, _, labels = test_vectors(package)
    if labels is None:
        raise HostError("The package's test images have no labels.", package, do="use another data set, or make the "
                        "package with labelled ones: `bhvit deploy --data SPEC`")
    return Data("package", labels, images)


def _npz(file: Path, preprocess: Preprocess) -> Data:
    images, labels = _arrays(file)
    return _sized(f"npz:{file}", images, labels, preprocess)


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as d:
            return d["images"], d["labels"]
    except (OSError, ValueError, KeyError) as e:
        raise HostError("The npz file cannot be used.", file, e,
                        "it must have `images` (uint8, NHWC) and `labels`") from e


def _sized(name: str, images: np.ndarray, labels: np.ndarray, preprocess: Preprocess) -> Data:
    if images.ndim == 3:
        images = images[..., None]
    want = (preprocess.size, preprocess.size, preprocess.channels)
    if images.dtype != np.uint8 or images.shape[1:] != want:
        raise HostError("The images have the wrong shape or type.", name, f"they are {images.dtype} {images.shape}, "
                        f"needed is uint8 (N, {want[0]}, {want[1]}, {want[2]})", "use imagefolder:DIR for pictures of "
                        "other sizes")
    if labels.shape != images.shape[:1]:
        raise HostError("There is not one label per image.", name, f"{len(images)} images, labels {labels.shape}")
    return Data(name, labels, images)


class _ArraysOnly(pickle.Unpickler):
    """CIFAR's batches are pickles, and a pickle can run code: only arrays are read."""

    allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
               ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module, name):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"refused object {module}.{name}")
        return super().find_class(module, name)


def _cifar10(folder: Path, preprocess: Preprocess) -> Data:
    if (folder / "test.npz").is_file():
        images, labels = _arrays(folder / "test.npz")
    else:
        batch = folder / "test_batch"
        batch = batch if batch.is_file() else folder / "cifar-10-batches-py" / "test_batch"
        try:
            with batch.open("rb") as f:
                d = _ArraysOnly(f, encoding="bytes").load()
            images = np.asarray(d[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            labels = np.asarray(d[b"labels"])
        except Exception as e:
            raise HostError("CIFAR-10's test images cannot be read.", batch, f"{type(e).__name__}: {e}",
                            "give the folder with test_batch, or with test.npz") from e
    return Data(f"cifar10:{folder}", labels, preprocess.small(np.asarray(images)))


def _folder(folder: Path, preprocess: Preprocess) -> Data:
    root = next((folder / n for n in ("test", "val") if (folder / n).is_dir()), folder)
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    numbered = all(c.isdecimal() for c in classes)
    paths, labels = [], []
    for i, name in enumerate(classes):
        found = sorted(p for p in (root / name).iterdir() if p.suffix.lower() in SUFFIXES)
        paths += found
        labels += [int(name) if numbered else i] * len(found)
    if not paths:
        raise HostError("There are no pictures.", root, do="give a folder with one folder of pictures per class")
    return Data(f"imagefolder:{folder}", np.array(labels), paths=paths, preprocess=preprocess)


def _digits(preprocess: Preprocess) -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise HostError("The digits need scikit-learn.", why=e, do="pip install scikit-learn, or use --dataset package"
                        ) from e
    bundle = load_digits()
    return Data("digits", bundle.target, preprocess.small(bundle.images.astype(np.int64)[..., None], 255, 16))
