"""Wrong model files, weights, data and outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from .conftest import PICO, write_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("changes, phrases", [
    ({"dephts": [1, 1, 1, 1]}, ["dephts: unknown key", "nearest legal key is 'depths'"]),
    ({"bits": {"residul": 8}}, ["bits.residul: unknown key", "nearest legal key is"]),
    ({"widths": [4, 4, 6, 4]}, ["contradicts itself", "widths[2]: 6 is not a multiple of 4", "use 4 or 8"]),
    ({"window": 3, "image_size": 20}, ["image_size: 20 is not a multiple of 8", "use 16 or 24", "window: 3"]),
    ({"heads": [0, 3]}, ["heads[0]: 0", "heads[1]: 3 does not divide"]),
    ({"pool_padding": 1}, ["pool_padding: 1 with window 2", "use at most 0"]),
    ({"classes": "many"}, ["classes", "'many'"]),
    ({"merge_tokens": "max"}, ["merge_tokens", "'blend', 'average' or 'off'"]),
])
def test_model_file(run, tmp_path, changes, phrases):
    f = write_model(tmp_path, **changes)
    r = run("count", f)
    assert r.code == 2 and not r.out
    r.says(*phrases, f"where: {f}", "why:")


@pytest.mark.parametrize("content, phrases", [
    (b"\xff\xfe\x00", ["no text file"]), (b"a: [", ["not valid YAML"]), (b"", ["no mapping"]),
    (b"- 1\n", ["no mapping"]), (b"1: 2\n", ["cannot be used"])])
def test_model_file_that_is_none(run, tmp_path, content, phrases):
    (tmp_path / "m.yaml").write_bytes(content)
    r = run("evaluate", tmp_path / "m.yaml", "--random-weights", 1, "--data", "digits")
    assert r.code == 2
    r.says(*phrases)


@pytest.mark.parametrize("command", [
    ["evaluate", "--random-weights", "1", "--data", "digits"], ["export", "--random-weights", "1", "-o", "n.onnx"],
    ["train", "--data", "digits"]])
def test_gsb_is_refused(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    f = write_model(tmp_path, attention="gsb")
    r = run(command[0], f, *command[1:])
    assert r.code == 2
    r.says("gsb cannot be deployed", "no hardware layer exists", "use attention: qd")
    r = run(command[0], write_model(tmp_path, msgdc_residual=True), *command[1:])
    assert r.code == 2
    r.says("msgdc_residual: true cannot be deployed", "no input for a residual", "use msgdc_residual: false")
    assert [p.name for p in tmp_path.iterdir()] == ["model.yaml"]


def damaged(kind: str, pico, tmp_path):
    f = tmp_path / "w.safetensors"
    good = (pico / "pico.safetensors").read_bytes()
    if kind == "truncated":
        f.write_bytes(good[:len(good) // 2])
    elif kind == "flipped":
        f.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif kind == "foreign":
        import safetensors.numpy

        f.write_bytes(safetensors.numpy.save({"x": np.zeros(3, np.float32)}))
    elif kind == "pickle":
        torch.save({"x": torch.zeros(3)}, f)
    elif kind == "empty":
        f.write_bytes(b"")
    elif kind == "folder":
        f.mkdir()
    return f


@pytest.mark.parametrize("kind, phrase", [
    ("missing", "does not exist"), ("truncated", "cut short"), ("flipped", "damaged"), ("foreign", "no deployed BHViT"),
    ("pickle", "no safetensors file"), ("empty", "cut short"), ("folder", "does not exist")])
def test_weights(run, pico, tmp_path, kind, phrase):
    f = damaged(kind, pico, tmp_path)
    before = f.read_bytes() if f.is_file() else None
    r = run("evaluate", pico / "pico.yaml", "--weights", f, "--data", "random:1")
    assert r.code == 2 and not r.out
    r.says(phrase, str(f), "what to do")
    assert before is None or f.read_bytes() == before


def test_weights_of_another_configuration(run, pico, tmp_path):
    f = write_model(tmp_path, classes=4)
    r = run("evaluate", f, "--weights", pico / "pico.safetensors", "--data", "digits")
    assert r.code == 2
    r.says("belong to another configuration", "classes: 3 in the file, 4 here")


def test_weights_twice_or_not_at_all(run, pico):
    model = pico / "pico.yaml"
    for args, why in (([], "neither"), (["--weights", pico / "pico.safetensors", "--random-weights", 1], "both")):
        r = run("evaluate", model, *args, "--data", "digits")
        assert r.code == 2
        r.says("either --weights FILE or --random-weights SEED", why)


@pytest.mark.parametrize("spec, phrases", [
    ("digit", ["not a data SPEC", "digits, cifar10:DIR"]),
    ("digits@tset", ["@train, @val and @test"]),
    ("cifar10:nowhere", ["nowhere", "what to do"]),
    ("imagefolder:nowhere", ["does not exist", "nowhere"]),
    ("npz:nowhere.npz", ["does not exist", "nowhere.npz", "numpy.savez"]),
    ("random:one", ["SEED must be a non-negative integer"]),
])
def test_data(run, pico, spec, phrases):
    r = run("evaluate", pico / "pico.yaml", "--weights", pico / "pico.safetensors", "--data", spec)
    assert r.code == 2 and not r.out
    r.says(*phrases)


@pytest.mark.parametrize("arrays, phrases", [
    ({"images": np.zeros((2, 8, 8, 1), np.uint8)}, ["wrong shape", "(2, 8, 8, 1)", "(N, 16, 16, 1)"]),
    ({"images": np.zeros((2, 16, 16, 1), np.float32)}, ["must be uint8", "float32"]),
    ({"pictures": np.zeros((2, 16, 16, 1), np.uint8)}, ["no array `images`", "pictures"]),
    ({"images": np.zeros((0, 16, 16, 1), np.uint8)}, ["empty"]),
    ({"images": np.zeros((2, 16, 16, 1), np.uint8), "labels": np.zeros(3, int)}, ["non-negative integer per image"]),
    (None, ["not a readable npz"]),
])
def test_images(run, pico, tmp_path, arrays, phrases):
    f = tmp_path / "x.npz"
    if arrays is None:
        f.write_text("no zip file")
    else:
        np.savez(f, **arrays)
    r = run("evaluate", pico / "pico.yaml", "--weights", pico / "pico.safetensors", "--data", f"npz:{f}")
    assert r.code == 2
    r.says(*phrases)


@pytest.mark.parametrize("pairs, phrases", [
    (["epochs"], ["key=value is needed"]), (["epoch=3"], ["did you mean `epochs`"]),
    (["epochs=many"], ["`epochs` cannot be 'many'"]), (["seed=[1"], ["no YAML"])])
def test_train_options(run, pico, tmp_path, pairs, phrases):
    r = run("train", pico / "pico.yaml", "--data", "digits", "-o", tmp_path / "run", *[x for p in pairs for x in
                                                                                     ("--set", p)])
    assert r.code == 2 and not (tmp_path / "run").exists()
    r.says(*phrases)


@pytest.mark.parametrize("text, pairs, phrases", [
    (None, [], ["cannot be read", "recipe.yaml"]), ("- 1", [], ["no list of `key: value`"]),
    ("a: [", [], ["cannot be read"]),
    ("epoch: 3", [], ["no option `epoch`", "recipe.yaml", "did you mean `epochs`"]),
    ("epochs: many", [], ["`epochs` cannot be 'many'", "recipe.yaml"]),
    ("epochs: 3", ["epochs=-1"], ["`epochs` cannot be -1", "recipe.yaml, --set"])])
def test_train_options_of_a_file(run, pico, tmp_path, text, pairs, phrases):
    if text is not None:
        (tmp_path / "recipe.yaml").write_text(text)
    r = run("train", pico / "pico.yaml", "--data", "digits", "-o", tmp_path / "run", "--options",
            tmp_path / "recipe.yaml", *[x for p in pairs for x in ("--set", p)])
    assert r.code == 2 and not (tmp_path / "run").exists()
    r.says(*phrases)


def test_a_pair_comes_before_the_file(tmp_path):
    from bhvit.cli.model import train_options

    (tmp_path / "recipe.yaml").write_text("epochs: 3\nseed: 5\nfull_precision: false\n")
    options = train_options(("seed=7",), tmp_path / "recipe.yaml", full_precision=True)
    assert (options.epochs, options.seed, options.full_precision) == (3, 7, True)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "train").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_options(path, monkeypatch):
    from bhvit.cli.model import train_options
    from bhvit.model.train.teacher import load_teacher

    monkeypatch.chdir(ROOT)
    options = train_options((), path)
    assert load_teacher(options.teacher, 10, 3, 45000, torch.device("cpu"))


def test_train_data(run, pico, tmp_path):
    r = run("train", pico / "pico.yaml", "--data", "random:1", "-o", tmp_path / "run")
    assert r.code == 2 and not (tmp_path / "run").exists()
    r.says("needs labels")
    r = run("train", pico / "pico.yaml", "--data", "digits", "-o", tmp_path / "run")
    assert r.code == 2 and not (tmp_path / "run").exists()
    r.says("more classes than the network", "classes 3")


def test_export_does_not_overwrite_other_kinds_of_files(run, pico, tmp_path):
    shutil.copy(pico / "pico.yaml", tmp_path / "m.yaml")
    r = run("export", tmp_path / "m.yaml", "--random-weights", 1, "-o", tmp_path / "m.yaml")
    assert r.code == 2
    r.says("no .onnx file", "name it m.onnx")
    r = run("deploy-model", tmp_path / "m.yaml", "--weights", pico / "pico.safetensors", "--data", "digits", "-o",
            pico / "pico.safetensors")
    assert r.code == 2
    r.says("output is the input")
    assert (tmp_path / "m.yaml").read_text() == (pico / "pico.yaml").read_text()


# ---- checkpoints of the authors ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def state(pico):
    from bhvit.model.config import parse_config
    from bhvit.model.network import BHViT
    from bhvit.model.random_weights import recipe_state

    net = BHViT(parse_config(PICO))
    return recipe_state({k: tuple(v.shape) for k, v in net.state_dict().items()}, 1)


def test_checkpoint_to_deployed_weights(run, pico, state, tmp_path):
    import argparse

    torch.save({"model": {"module." + k: v for k, v in state.items()}, "args": argparse.Namespace(lr=1.0), "epoch": 3},
               tmp_path / "c.pth")
    model = pico / "pico.yaml"
    r = run("import-checkpoint", tmp_path / "c.pth", model, "-o", tmp_path / "f.safetensors")
    assert r.code == 0 and f"{len(state)} tensors" in r.out
    r = run("export-checkpoint", model, "--weights", tmp_path / "f.safetensors", "-o", tmp_path / "back.pth", "--json")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert r.json["tensors"] == len(back) and all(torch.equal(back[k], v) for k, v in state.items())
    r = run("export-checkpoint", model, "--random-weights", "1", "-o", tmp_path / "recipe.pth")
    recipe = torch.load(tmp_path / "recipe.pth", weights_only=True)
    assert r.code == 0 and recipe.keys() == state.keys() and all(torch.equal(recipe[k], v) for k, v in state.items())
    r = run("export-checkpoint", model, "-o", tmp_path / "none.pth")
    assert r.code == 2 and not (tmp_path / "none.pth").exists()
    r.says("neither is given", "--random-weights 1")
    r = run("evaluate", model, "--weights", tmp_path / "f.safetensors", "--data", "random:1")
    assert r.code == 2
    r.says("holds float weights", "bhvit deploy-model")
    r = run("deploy-model", model, "--weights", tmp_path / "f.safetensors", "--data", "random:1", "-o",
            tmp_path / "d.safetensors", "--json")
    assert r.code == 0 and r.json["images"] == 64 and r.json["agreement"] > 50 and r.json["logit_error"] < 1
    r = run("deploy-model", model, "--weights", tmp_path / "d.safetensors", "--data", "random:1", "-o",
            tmp_path / "e.safetensors")
    assert r.code == 2 and not (tmp_path / "e.safetensors").exists()
    r.says("holds deployed weights", "cannot become float ones")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit(77)",))


@pytest.mark.parametrize("make, phrases", [
    (lambda s: {**s, "extra.weight": torch.zeros(1)}, ["1 surplus:", "extra.weight"]),
    (lambda s: {k: v for k, v in s.items() if k != "classifier.bias"}, ["1 missing:", "classifier.bias"]),
    (lambda s: {**s, "classifier.bias": torch.zeros(9)},
     ["1 misshapen:", "classifier.bias: [9] in the file, [3] in the network", "another number of classes"]),
    (lambda s: {**s, "classifier.bias": torch.full((3,), float("nan"))}, ["no finite numbers", "classifier.bias"]),
    (lambda s: {"model": [1, 2]}, ["holds no parameters"]),
    (lambda s: {"model": s, "hook": Evil()}, ["holds objects that are not read"]),
])
def test_bad_checkpoints(run, pico, state, tmp_path, make, phrases):
    torch.save(make(state), tmp_path / "c.pth")
    r = run("import-checkpoint", tmp_path / "c.pth", pico / "pico.yaml", "-o", tmp_path / "f.safetensors")
    assert r.code == 2 and not (tmp_path / "f.safetensors").exists()
    r.says(*phrases)


def test_checkpoint_that_is_none(run, pico, tmp_path):
    r = run("import-checkpoint", tmp_path / "c.pth", pico / "pico.yaml", "-o", tmp_path / "f.safetensors")
    r.says("does not exist")
    for content in (b"", b"PK\x03\x04 half a file", b"text\n"):
        (tmp_path / "c.pth").write_bytes(content)
        r = run("import-checkpoint", tmp_path / "c.pth", pico / "pico.yaml", "-o", tmp_path / "f.safetensors")
        assert r.code == 2
        r.says("checkpoint", str(tmp_path / "c.pth"))
