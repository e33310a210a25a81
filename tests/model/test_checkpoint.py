"""Checkpoints of the authors' training code: exact round trips, complete lists of what does not fit, no code run."""

from __future__ import annotations

import argparse
import io
import json
import pickle
from pathlib import Path

import pytest
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.checkpoint import LISTED, Mismatch, export_checkpoint, import_checkpoint, read
from bhvit.model.config import load_config
from bhvit.model.network import BHViT
from bhvit.model.random_weights import recipe_state

MODELS = Path(__file__).parents[2] / "configs" / "model"
NANO = load_config(Path(__file__).parent / "configs" / "nano.yaml")
CHANGES = {"plain": {}, "fp": {"downsample": "fp"}, "gsb": {"attention": "gsb"}, "batch": {"token_norm": "batch"}}


def state_of(cfg, seed: int = 1) -> dict[str, torch.Tensor]:
    return recipe_state({k: tuple(v.shape) for k, v in BHViT(cfg).state_dict().items()}, seed)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape
                                        and a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)


def round_trip(cfg, tmp_path) -> int:
    state = state_of(cfg)
    torch.save({"model": state, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}, tmp_path / "a.pth")
    told = import_checkpoint(tmp_path / "a.pth", cfg, tmp_path / "w.safetensors")
    assert told["tensors"] == len(state)
    assert same(weights.load(tmp_path / "w.safetensors", cfg, kind="float"), state)
    export_checkpoint(weights.load(tmp_path / "w.safetensors", cfg, kind="float"), tmp_path / "b.pth")
    assert same(torch.load(tmp_path / "b.pth", weights_only=True), state)
    assert same(read(tmp_path / "b.pth"), state)
    return len(state)


@pytest.mark.parametrize("change", CHANGES)
def test_round_trip(change, tmp_path):
    round_trip(NANO.model_copy(update=CHANGES[change]), tmp_path)


@pytest.mark.parametrize("name, tensors", [
    ("bhvit_tiny", 1155), *(pytest.param(n, k, marks=pytest.mark.full) for n, k in (
        ("bhvit_tiny_fp", 1143), ("bhvit_tiny_gsb", 1155), ("bhvit_small", 1766), ("bhvit_small_fp", 1754)))])
def test_round_trip_of_the_papers_networks(name, tensors, tmp_path):
    assert round_trip(load_config(MODELS / f"{name}.yaml"), tmp_path) == tensors


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "module.module.", "model."])
@pytest.mark.parametrize("container", [None, "model", "state_dict"])
def test_wrappers(prefix, container, tmp_path):
    """DistributedDataParallel, torch.compile; SyncBatchNorm has the names of batch norm."""
    state = state_of(NANO)
    wrapped = {prefix + k: v for k, v in state.items()}
    torch.save(wrapped if container is None else {container: wrapped, "epoch": 1}, tmp_path / "a.pth")
    assert same(read(tmp_path / "a.pth"), state)


def test_synchronised_norms(tmp_path):
    net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(BHViT(NANO))
    torch.save(net.state_dict(), tmp_path / "a.pth")
    import_checkpoint(tmp_path / "a.pth", NANO, tmp_path / "w.safetensors")
    assert same(weights.load(tmp_path / "w.safetensors", NANO, kind="float"), dict(net.state_dict()))


def test_half_precision_and_other_types(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v.int() for k, v in state_of(NANO).items()}
    torch.save(state, tmp_path / "a.pth")
    import_checkpoint(tmp_path / "a.pth", NANO, tmp_path / "w.safetensors")
    loaded = weights.load(tmp_path / "w.safetensors", NANO, kind="float")
    assert all(torch.equal(v, state[k].to(v.dtype)) for k, v in loaded.items())
    BHViT(NANO).load_state_dict(loaded)


def spoiled() -> dict[str, torch.Tensor]:
    """Twelve tensors missing, eleven surplus, ten misshapen."""
    state = state_of(NANO)
    names = sorted(state)
    for k in [n for n in names if ".GC." in n][:12]:
        del state[k]
    for i in range(11):
        state[f"extra.{i}"] = torch.zeros(2)
    for k in [n for n in names if ".query." in n or ".rprelu" in n][:10]:
        state[k] = torch.zeros(3, 3, 3)
    return state


def test_every_tensor_that_does_not_fit_is_listed(tmp_path, capsys):
    from bhvit.cli.main import main

    torch.save(spoiled(), tmp_path / "a.pth")
    with pytest.raises(Mismatch) as caught:
        import_checkpoint(tmp_path / "a.pth", NANO, tmp_path / "w.safetensors")
    found = caught.value.tensors
    assert {k: len(v) for k, v in found.items()} == {"missing": 12, "surplus": 11, "misshapen": 10}
    assert not (tmp_path / "w.safetensors").exists()
    model = Path(__file__).parent / "configs" / "nano.yaml"
    argv = ["import-checkpoint", str(tmp_path / "a.pth"), str(model), "-o", str(tmp_path / "w.safetensors")]
    with pytest.raises(SystemExit) as exit_:
        main([*argv, "--json"])
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert exit_.value.code == 2
    assert {k: told[k] for k in found} == found and told["exit_code"] == 2
    for kind, names in found.items():
        assert f"{len(names)} {kind}:" in err and f"... and {len(names) - LISTED} more" in err
        assert sum(name in err for name in names) == LISTED
    name, shapes = next(iter(found["misshapen"].items()))
    assert shapes["file"] == [3, 3, 3] and f"{name}: [3, 3, 3] in the file, {shapes['network']} in the network" in err


@pytest.mark.parametrize("theirs, ours, words", [
    ({"attention": "gsb"}, {}, "use attention: gsb"), ({}, {"attention": "gsb"}, "use attention: qd"),
    ({"downsample": "fp"}, {}, "use downsample: fp"), ({}, {"downsample": "fp"}, "use downsample: binary"),
    ({"shift": "off"}, {}, "use shift: off"), ({"classes": 9}, {}, "another number of classes"),
    ({"image_size": 48}, {}, "position embeddings belong to one size of the map and are not interpolated")])
def test_what_a_difference_means(theirs, ours, words, tmp_path):
    torch.save(state_of(NANO.model_copy(update=theirs)), tmp_path / "a.pth")
    with pytest.raises(Mismatch) as caught:
        import_checkpoint(tmp_path / "a.pth", NANO.model_copy(update=ours), tmp_path / "w.safetensors")
    assert words in caught.value.do and not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("change", [
    {"pre_norm": False}, {"context_norm": False}, {"merge_output": "sum"}, {"token_norm": "batch"},
    {"downsample": "fp"}, {"downsample": "conv"}], ids=str)
def test_variants_point_to_their_key_and_no_other(change, tmp_path):
    (key, value), = change.items()
    variant = NANO.model_copy(update=change)
    for theirs, ours, remedy in ((variant, NANO, value), (NANO, variant, getattr(NANO, key))):
        torch.save(state_of(theirs), tmp_path / "a.pth")
        with pytest.raises(Mismatch) as caught:
            import_checkpoint(tmp_path / "a.pth", ours, tmp_path / "w.safetensors")
        told = str(remedy).lower()
        assert caught.value.do.count(": use ") == 1 and caught.value.do.endswith(f"use {key}: {told}"), caught.value.do


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["value", "pickle", "legacy", "protocol", "namespace"])
def test_no_code_from_the_file_runs(kind, tmp_path):
    file, owned = tmp_path / "a.pth", tmp_path / "owned"
    if kind == "value":
        torch.save({"model": state_of(NANO), "args": Evil(owned)}, file)
    elif kind == "namespace":
        torch.save({"model": state_of(NANO), "args": argparse.Namespace(run=Evil(owned))}, file)
    elif kind == "legacy":
        torch.save({"model": Evil(owned)}, file, _use_new_zipfile_serialization=False)
    else:
        file.write_bytes(pickle.dumps(Evil(owned), protocol=2 if kind == "pickle" else 5))
    with pytest.raises(UserError) as caught:
        import_checkpoint(file, NANO, tmp_path / "w.safetensors")
    assert caught.value.where == str(file) and caught.value.do
    assert not owned.exists() and not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("content, words", [
    ({}, "no parameters"), ({"epoch": 3}, "no parameters"), ([torch.zeros(2)], "no parameters")])
def test_files_without_parameters(content, words, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=words):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("keep", [0, 10, -100])
def test_damaged_files(keep, tmp_path):
    buffer = io.BytesIO()
    torch.save(state_of(NANO), buffer)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(UserError, match=r"cut short|not read"):
        read(tmp_path / "a.pth")
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "b.pth")


def test_values_that_are_no_numbers(tmp_path):
    state = state_of(NANO)
    state["classifier.bias"][1] = float("nan")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match="no finite numbers") as caught:
        import_checkpoint(tmp_path / "a.pth", NANO, tmp_path / "w.safetensors")
    assert "classifier.bias" in caught.value.where
