"""Weight files: exact round trip, small, and a clear refusal of everything that is not right."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ModelConfig


def stub(**changes) -> ModelConfig:
    base = dict(name="stub", image_size=32, image_channels=1, classes=3, stem_patch=2, widths=(8, 8, 16, 16),
                depths=(1, 1, 1, 1), heads=(2, 2), window=2, pool_padding=0)
    return ModelConfig(**(base | changes))


def some_state():
    state = np.random.RandomState(0)
    return {
        "binary": torch.from_numpy(state.choice([-1.0, 1.0], (16, 5, 3)).astype(np.float32)),
        "affine.m": torch.from_numpy(state.randint(-2048, 2048, 16).astype(np.float32) / 256),
        "affine.o": torch.from_numpy(state.randint(-70000, 70000, 16).astype(np.float32)),
        "level": torch.arange(5, dtype=torch.int64),
        "frozen": torch.tensor(True),
        "step": torch.tensor(0.125),
        "empty": torch.zeros(0, 3),
        "free": torch.from_numpy(state.standard_normal(7)),
        "minus_zero": torch.tensor([-0.0, 1.0]),
    }


def same(a, b):
    return set(a) == set(b) and all(
        a[key].dtype == b[key].dtype and a[key].shape == b[key].shape
        and a[key].numpy().tobytes() == b[key].numpy().tobytes() for key in a)


def test_round_trip(tmp_path):
    path = weights.save(tmp_path / "deep" / "w.safetensors", some_state(), stub(), {"test_top1": 98.5})
    assert same(weights.load(path, stub()), some_state())
    told = weights.info(path)
    assert told["metrics"] == {"test_top1": 98.5} and told["config_name"] == "stub"
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_smallest_forms():
    arrays, layout = weights.pack(some_state())
    assert arrays["binary"].nbytes == 30 and layout["binary"] == {"dtype": "float32", "bits": [16, 5, 3]}
    assert arrays["affine.m"].dtype == np.int16 and layout["affine.m"]["exponent"] == -8
    assert arrays["affine.o"].dtype == np.int32
    assert layout["level"] == {"dtype": "int64", "values": [0, 1, 2, 3, 4]} and "level" not in arrays
    assert layout["step"] == {"dtype": "float32", "shape": [], "values": [1], "exponent": -3}
    assert layout["free"] == {"raw": True} and layout["minus_zero"] == {"raw": True, "dtype": "float32"}
    assert weights.pack({"plain": torch.arange(20, dtype=torch.int32)})[1] == {}


def test_halves_and_rows_of_one_magnitude(tmp_path):
    rows = torch.sign(torch.randn(6, 3, 2)) * torch.rand(6, 1, 1)
    state = {"a.weight": torch.randn(40, 3).half().float(), "b.weight": rows, "c.weight": torch.randn(40, 3),
             "d.weight": torch.cat([rows, torch.zeros(1, 3, 2)]), "e": torch.tensor([7e4, 0.1])}
    arrays, layout = weights.pack(state)
    assert arrays["a.weight"].dtype == np.float16 and arrays["c.weight"].itemsize == 4
    assert arrays["b.weight"].nbytes == 5 and arrays["b.weight:scales"].shape == (6,)
    assert not {"bits", "scales"} & layout["d.weight"].keys() and arrays["d.weight"].itemsize == 4
    assert same(weights.load(weights.save(tmp_path / "w", state, stub(), kind="float"), stub(), "float"), state)


@pytest.mark.parametrize("exponent", [-140, -30, 0, 12])
def test_any_power_of_two(exponent):
    value = torch.ldexp(torch.tensor([-3.0, 0.0, 127.0]), torch.tensor(exponent))
    assert same(weights.unpack(*weights.pack({"x": value})), {"x": value})


def test_name_does_not_matter_but_the_network_does(tmp_path):
    path = weights.save(tmp_path / "w", some_state(), stub())
    weights.load(path, stub(name="renamed"))
    with pytest.raises(UserError, match="another configuration") as caught:
        weights.load(path, stub(classes=4))
    assert "classes: 3 in the file, 4 here" in caught.value.why


def test_a_convolutional_teacher_serves_every_network_of_its_images(tmp_path):
    path = weights.save(tmp_path / "w", some_state(), stub(), kind="convnet")
    assert same(weights.load(path, stub(depths=(2, 2, 2, 1), bits={"slope": 12}), "convnet"), some_state())
    with pytest.raises(UserError, match="another configuration") as caught:
        weights.load(path, stub(depths=(2, 2, 2, 1), image_channels=3, mean=(0.5,) * 3, std=(0.5,) * 3), "convnet")
    assert "image_channels: 1 in the file, 3 here" in caught.value.why and "depths" not in caught.value.why


def test_missing(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        weights.load(tmp_path / "none", stub())


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(tmp_path, keep):
    path = weights.save(tmp_path / "w", some_state(), stub())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cut short"):
        weights.load(path, stub())


def test_damaged(tmp_path):
    path = weights.save(tmp_path / "w", some_state(), stub())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        weights.load(path, stub())


def test_foreign(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(3)}, {"format": "pt"}))
    with pytest.raises(UserError, match="no deployed BHViT weights") as caught:
        weights.load(path, stub())
    assert "import-checkpoint" in caught.value.do
    torch.save({"x": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="no safetensors file"):
        weights.load(path, stub())


def test_float_weights_are_not_deployed_ones(tmp_path):
    path = weights.save(tmp_path / "w", some_state(), stub(), kind="float")
    assert same(weights.load(path, stub(), kind="float"), some_state()) and weights.info(path)["kind"] == "float"
    with pytest.raises(UserError, match="holds float weights") as caught:
        weights.load(path, stub())
    assert "deploy-model" in caught.value.do


def test_full_disk_leaves_the_old_file_whole(tmp_path):
    path = weights.save(tmp_path / "w", some_state(), stub())
    before = path.read_bytes()
    code = f"""
import resource, sys
import torch
from bhvit.errors import UserError
from bhvit.model import weights
class Config:
    name = "stub"
    def model_dump(self, mode): return {{}}
    def digest(self): return "0" * 64
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    weights.save({str(path)!r}, {{"x": torch.randn(10000)}}, Config())
except UserError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stdout and str(path) in done.stdout
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["w"]


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        weights.save(tmp_path / "file" / "w", some_state(), stub())


def test_checkpoint(tmp_path):
    content = {"model": {"w": torch.randn(3)}, "epoch": 4, "history": [{"loss": 0.5}]}
    path = weights.save_checkpoint(tmp_path / "c.pt", content, stub())
    back = weights.load_checkpoint(path, stub())
    assert torch.equal(back["model"]["w"], content["model"]["w"]) and back["history"] == content["history"]
    with pytest.raises(UserError, match="another configuration"):
        weights.load_checkpoint(path, stub(classes=4))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_checkpoint(path, stub())
    with pytest.raises(UserError, match="does not exist"):
        weights.load_checkpoint(tmp_path / "none", stub())


def test_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    torch.save({"format": "bhvit-checkpoint", "content": Evil()}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_checkpoint(tmp_path / "c.pt", stub())
    assert not (tmp_path / "owned").exists()
