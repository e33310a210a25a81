"""Data SPECs: parsing, splits, shapes, determinism and every complaint."""

import pickle

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.model import data


@pytest.mark.parametrize("text, kind, arg, split", [
    ("digits", "digits", None, "test"),
    ("digits@train", "digits", None, "train"),
    ("random:7@val", "random", "7", "val"),
    ("npz:a/b@c/x.npz", "npz", "a/b@c/x.npz", "test"),
    ("imagefolder:/p@q/r@test", "imagefolder", "/p@q/r", "test"),
    ("cifar10:C:/x", "cifar10", "C:/x", "test"),
])
def test_parse(text, kind, arg, split):
    assert data.parse(text) == data.Spec(kind, arg, split)
    assert data.parse(str(data.parse(text))) == data.parse(text)


@pytest.mark.parametrize("text", [
    "", "digit", "digits:1", "digits@tset", "random:x", "random:-1", "npz:", "cifar10"])
def test_parse_refuses(text):
    with pytest.raises(UserError) as caught:
        data.parse(text)
    assert "imagefolder:DIR" in caught.value.do and caught.value.exit_code == 2


def test_digits_splits_are_stratified_disjoint_complete_and_repeatable():
    from sklearn.datasets import load_digits

    labels = load_digits().target
    parts = data.stratified_split(labels, {"test": 0.2, "val": 0.1})
    assert {name: len(part) for name, part in parts.items()} == {"test": 359, "val": 179, "train": 1259}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1797))
    for name, fraction in {"test": 0.2, "val": 0.1, "train": 0.7}.items():
        share = np.bincount(labels[parts[name]]) / np.bincount(labels)
        assert np.all(abs(share - fraction) < 0.006)
    again = data.stratified_split(labels, {"test": 0.2, "val": 0.1})
    assert parts["test"].tolist() == again["test"].tolist()
    other = data.stratified_split(labels, {"test": 0.2, "val": 0.1}, seed=1)
    assert other["test"].tolist() != parts["test"].tolist()


def test_digits_images():
    sets = {split: data.load(f"digits@{split}", 48, 1) for split in data.SPLITS}
    assert [s.images.shape for s in sets.values()] == [(1259, 48, 48, 1), (179, 48, 48, 1), (359, 48, 48, 1)]
    assert all(s.images.dtype == np.uint8 and s.labels.dtype == np.int64 for s in sets.values())
    seen = [image.tobytes() for s in sets.values() for image in s.images]
    assert len(set(seen)) == len(seen)  # no image in two splits
    colour = data.load("digits", 24, 3, count=5)
    assert colour.images.shape == (5, 24, 24, 3)
    assert np.array_equal(colour.images[..., 0], colour.images[..., 2])


def test_enlarge_is_exact():
    image = np.random.RandomState(0).randint(0, 17, (2, 8, 8, 1))
    assert np.array_equal(data.enlarge(image, 8, 255, 16)[..., 0], (image[..., 0] * 255 + 8) // 16)
    assert np.all(data.enlarge(np.full((1, 8, 8, 3), 16), 48, 255, 16) == 255)
    centre = (np.arange(48) + 0.5) * 8 / 48 - 0.5  # the same in floating point
    low, part = np.clip(np.floor(centre).astype(int), 0, 7), centre - np.floor(centre)
    low[centre < 0], part[centre < 0], part[centre > 7] = 0, 0, 0
    high = np.minimum(low + 1, 7)
    rows = image[:, low] * (1 - part)[:, None, None] + image[:, high] * part[:, None, None]
    want = (rows[:, :, low] * (1 - part)[:, None] + rows[:, :, high] * part[:, None]) * 255 / 16
    assert abs(data.enlarge(image, 48, 255, 16) - want).max() <= 0.5 + 1e-9


def test_random_is_repeatable_diverse_and_prefix_stable():
    few, many = data.load("random:3", 48, 3, count=4), data.load("random:3", 48, 3, count=9)
    assert np.array_equal(few.images, many.images[:4]) and few.labels is None
    assert len({image.tobytes() for image in many.images}) == 9
    assert not np.array_equal(few.images, data.load("random:4", 48, 3, count=4).images)
    assert not np.array_equal(few.images, data.load("random:3@train", 48, 3, count=4).images)
    assert 40 < many.images.std() < 70 and len(data.load("random:3", 16, 1)) == data.RANDOM_COUNT


def make_cifar(folder, per_class=20, style="npz"):
    for part, seed in (("train", 0), ("test", 1)):
        state = np.random.RandomState(seed)
        labels = np.repeat(np.arange(10), per_class)
        images = state.randint(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8)
        if style == "npz":
            np.savez(folder / f"{part}.npz", images=images, labels=labels.astype(np.uint8))
            continue
        for i in range(5) if part == "train" else [None]:
            chosen = slice(None) if i is None else slice(i, None, 5)
            planes = images[chosen].transpose(0, 3, 1, 2).reshape(-1, 3072)
            batch = {b"data": planes, b"labels": labels[chosen].tolist()}
            name = "test_batch" if i is None else f"data_batch_{i + 1}"
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


@pytest.mark.parametrize("style", ["npz", "batches", "nested"])
def test_cifar10(tmp_path, style):
    folder = tmp_path
    if style == "nested":
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
    make_cifar(folder, style="npz" if style == "npz" else "batches")
    sizes = [len(data.load(f"cifar10:{tmp_path}@{split}", 32, 3)) for split in data.SPLITS]
    assert sizes == [180, 20, 200]
    test = data.load(f"cifar10:{tmp_path}", 32, 3)
    want = np.random.RandomState(1).randint(0, 256, (200, 32, 32, 3))
    assert np.array_equal(test.images, want) and test.classes[3] == "cat"
    assert data.load(f"cifar10:{tmp_path}", 64, 3, count=3).images.shape == (3, 64, 64, 3)


def test_cifar10_complaints(tmp_path):
    with pytest.raises(UserError, match="does not exist") as caught:
        data.load(f"cifar10:{tmp_path / 'no'}", 32, 3)
    assert "cs.toronto.edu" in caught.value.do
    with pytest.raises(UserError, match="incomplete"):
        data.load(f"cifar10:{tmp_path}", 32, 3)
    make_cifar(tmp_path, per_class=2, style="batches")
    with pytest.raises(UserError, match="3 channels"):
        data.load(f"cifar10:{tmp_path}", 32, 1)
    (tmp_path / "test_batch").write_bytes(b"\x80\x02junk")
    with pytest.raises(UserError, match="not a CIFAR-10 python batch"):
        data.load(f"cifar10:{tmp_path}", 32, 3)


def test_cifar10_batch_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    make_cifar(tmp_path, per_class=1, style="batches")
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(UserError, match="refused object"):
        data.load(f"cifar10:{tmp_path}", 32, 3)
    assert not (tmp_path / "owned").exists()


def write_picture(path, size, seed=0):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def test_imagefolder_flat_and_geometry(tmp_path):
    write_picture(tmp_path / "b.png", (320, 256))
    write_picture(tmp_path / "a.JPG", (100, 300))
    (tmp_path / "notes.txt").write_text("no picture")
    got = data.load(f"imagefolder:{tmp_path}", 224, 3)
    assert got.images.shape == (2, 224, 224, 3) and got.labels is None and got.files == ("a.JPG", "b.png")
    original = np.random.RandomState(0).randint(0, 256, (256, 320, 3))
    assert np.array_equal(got.images[1], original[16:240, 48:272])  # 256 high already: only the crop
    assert data.load(f"imagefolder:{tmp_path}", 32, 1).images.shape == (2, 32, 32, 1)


def test_imagefolder_classes_and_splits(tmp_path):
    for part, number in (("train", 10), ("test", 3)):
        for label in ("10", "9"):
            for i in range(number):
                write_picture(tmp_path / part / label / f"{i}.png", (40, 40), seed=i)
    sets = {split: data.load(f"imagefolder:{tmp_path}@{split}", 32, 3) for split in data.SPLITS}
    assert {split: len(s) for split, s in sets.items()} == {"train": 18, "val": 2, "test": 6}
    assert sorted(set(sets["test"].labels)) == [9, 10]  # numeric folder names are the labels
    assert not set(sets["train"].files) & set(sets["val"].files)
    single = data.load(f"imagefolder:{tmp_path / 'test'}", 32, 3)
    assert np.array_equal(single.images, sets["test"].images)
    with pytest.raises(UserError, match="no train images"):
        data.load(f"imagefolder:{tmp_path / 'test'}@train", 32, 3)


def test_imagefolder_decodes_large_folders_on_demand(tmp_path, monkeypatch):
    for i in range(5):
        write_picture(tmp_path / f"{i}.png", (40, 40), seed=i)
    eager = data.load(f"imagefolder:{tmp_path}", 32, 3).images
    monkeypatch.setattr(data.photographs, "EAGER_BYTES", 10)
    lazy = data.load(f"imagefolder:{tmp_path}", 32, 3).images
    assert isinstance(lazy, data.FolderImages) and lazy.shape == eager.shape and len(lazy) == 5
    assert np.array_equal(lazy[1:3], eager[1:3]) and np.array_equal(lazy[np.array([4, 0])], eager[[4, 0]])
    assert np.array_equal(lazy[-1], eager[-1]) and np.array_equal(np.asarray(lazy), eager)


def test_imagefolder_complaints(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.load(f"imagefolder:{tmp_path / 'no'}", 32, 3)
    with pytest.raises(UserError, match="no pictures"):
        data.load(f"imagefolder:{tmp_path}", 32, 3)
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read") as caught:
        data.load(f"imagefolder:{tmp_path}", 32, 3)
    assert "x.png" in caught.value.where


def test_npz(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (40, 16, 16, 1)).astype(np.uint8)
    labels = np.arange(40) % 4
    np.savez(tmp_path / "one.npz", images=images, labels=labels)
    got = data.load(f"npz:{tmp_path / 'one.npz'}", 16, 1)
    assert np.array_equal(got.images, images) and np.array_equal(got.labels, labels)
    np.savez(tmp_path / "grey.npz", images=images[..., 0])
    assert data.load(f"npz:{tmp_path / 'grey.npz'}", 16, 1).images.shape == (40, 16, 16, 1)
    np.savez(tmp_path / "parts.npz", train_images=images, train_labels=labels, test_images=images[:5])
    sizes = [len(data.load(f"npz:{tmp_path / 'parts.npz'}@{split}", 16, 1)) for split in data.SPLITS]
    assert sizes == [36, 4, 5]


@pytest.mark.parametrize("arrays, complaint", [
    ({"images": np.zeros((2, 16, 16, 1))}, "uint8"),
    ({"images": np.zeros((2, 1, 16, 16), np.uint8)}, "wrong shape"),
    ({"images": np.zeros((2, 16, 16, 1), np.uint8), "labels": np.zeros(3, int)}, "one non-negative integer"),
    ({"images": np.zeros((2, 16, 16, 1), np.uint8), "labels": np.zeros(2)}, "one non-negative integer"),
    ({"images": np.zeros((0, 16, 16, 1), np.uint8)}, "empty"),
    ({"pictures": np.zeros((2, 16, 16, 1), np.uint8)}, "no array `images`"),
    ({"images": np.array([None, "x"], object)}, "cannot be read"),
])
def test_npz_complaints(tmp_path, arrays, complaint):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=complaint):
        data.load(f"npz:{tmp_path / 'x.npz'}", 16, 1)


def test_npz_unreadable(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.load(f"npz:{tmp_path / 'x.npz'}", 16, 1)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="not a readable npz"):
        data.load(f"npz:{tmp_path / 'x.npz'}", 16, 1)
    np.savez(tmp_path / "y.npz", images=np.zeros((2, 16, 16, 1), np.uint8))
    with pytest.raises(UserError, match="no train images"):
        data.load(f"npz:{tmp_path / 'y.npz'}@train", 16, 1)


def test_a_folder_without_test_images_says_where_they_go(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="no test images") as caught:
        data.load(f"imagefolder:{tmp_path}@test", 16, 3)
    assert "into val/" in caught.value.do
