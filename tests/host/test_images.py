"""Preprocessing of the host equals that of the network's evaluation, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from bhvit_host.errors import HostError
from bhvit_host.images import Preprocess
from PIL import Image

from bhvit.model import data
from bhvit.model.data.arrays import cifar10

SIZES = [(1, 1), (7, 300), (300, 7), (64, 64), (256, 256), (257, 341), (640, 427), (33, 50)]


@pytest.mark.parametrize("size, channels", [(224, 3), (48, 1), (32, 3), (17, 1)])
def test_photographs(tmp_path, size, channels):
    rng = np.random.default_rng(size)
    ours = Preprocess(size, channels)
    for i, (w, h) in enumerate(SIZES):
        mode = ("RGB", "L", "RGBA", "P")[i % 4]
        picture = Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)).convert(mode)
        for kind in ("png", "jpg") if mode in ("RGB", "L") else ("png",):
            file = tmp_path / f"{i}.{kind}"
            picture.save(file)
            want = data.photograph(file, size, channels)
            got = ours.photograph(file)
            assert got.dtype == want.dtype and np.array_equal(got, want), (w, h, mode, kind)
        assert ours.photograph(picture).shape == (size, size, channels)


def test_small_images_are_enlarged_alike(tmp_path):
    rng = np.random.default_rng(5)
    for side, size in ((8, 48), (32, 32), (32, 224), (5, 17)):
        x = rng.integers(0, 256, (3, side, side, 3))
        assert np.array_equal(Preprocess(size, 3).small(x), data.enlarge(x, size))
    labels = np.arange(4)
    images = rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    np.savez(tmp_path / "test.npz", images=images, labels=labels)
    want = cifar10(data.parse(f"cifar10:{tmp_path}"), 64, 3, None).images
    from bhvit_host.data import load

    got = load(f"cifar10:{tmp_path}", None, tmp_path, Preprocess(64, 3))
    assert np.array_equal(np.concatenate(list(got.batches(3))), want) and np.array_equal(got.labels, labels)


def test_digits(tmp_path):
    from bhvit_host.data import load

    got = load("digits", None, tmp_path, Preprocess(48, 1))
    ours = next(got.batches(len(got)))
    test = data.load("digits", 48, 1)
    found = {(int(y), x.tobytes()) for x, y in zip(ours, got.labels)}
    assert len(got) == 1797 and all((int(y), x.tobytes()) in found for x, y in zip(test.images, test.labels))


def test_image_folder(tmp_path):
    from bhvit_host.data import load

    rng = np.random.default_rng(7)
    for name in ("bird", "cat"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    got = load(f"imagefolder:{tmp_path}", None, tmp_path, Preprocess(32, 3))
    want = data.load(f"imagefolder:{tmp_path}", 32, 3)
    assert np.array_equal(np.concatenate(list(got.batches(4))), want.images)
    assert np.array_equal(got.labels, want.labels)


def test_errors(tmp_path):
    from bhvit_host.data import load

    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(HostError, match="cannot be read"):
        Preprocess(32, 3).photograph(tmp_path / "no.png")
    with pytest.raises(HostError, match="cannot be enlarged"):
        Preprocess(32, 3).small(np.zeros((1, 64, 64, 3)))
    for spec, message in (("mnist", "no such data set"), ("npz:nowhere.npz", "does not exist"),
                          (f"npz:{tmp_path / 'no.png'}", "cannot be used"), (f"cifar10:{tmp_path}", "cannot be read"),
                          (f"imagefolder:{tmp_path}", "no pictures"), ("package", "cannot be read")):
        with pytest.raises(HostError, match=message):
            load(spec, None, tmp_path, Preprocess(32, 3))
    np.savez(tmp_path / "float.npz", images=np.zeros((2, 32, 32, 3)), labels=[0, 1])
    with pytest.raises(HostError, match="wrong shape or type"):
        load("npz", str(tmp_path / "float.npz"), tmp_path, Preprocess(32, 3))
