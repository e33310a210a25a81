"""Rung 0: the float network equals the authors'; every altered value of a golden file is found and named."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import golden_writer as writer
import numpy as np
import pytest
from golden_writer import TINY, Shape, write_golden

from bhvit.errors import UserError
from bhvit.model import golden
from bhvit.model.config import ModelConfig
from bhvit.model.golden_files import read_case, read_folder
from bhvit.model.random_weights import recipe_images, recipe_tensor

ROOT = Path(__file__).parents[2]
GOLDEN = Path(os.environ.get("BHVIT_GOLDEN", "nowhere"))
CASES = ("bhvit_tiny_somefp0_gsb0", "bhvit_tiny_somefp1_gsb0", "bhvit_tiny_somefp0_gsb1", "bhvit_small_somefp0_gsb0",
         "bhvit_small_somefp1_gsb0")
GIGABYTES = 4
VARIANTS = {"binary": Shape(), "fp": Shape(some_fp=True), "gsb": Shape(gsb=True)}


def config(s: Shape) -> ModelConfig:
    return ModelConfig(name="reduced", image_size=s.side, classes=s.classes, stem_patch=s.patch, widths=s.widths,
                       depths=s.depths, heads=s.heads, mlp_ratios=s.ratios, downsample="fp" if s.some_fp else "binary",
                       attention="gsb" if s.gsb else "qd")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Golden files of reduced networks, by variant: folder with the case `x` of seed 5."""
    folders = {}
    for name, shape in VARIANTS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        write_golden(folders[name], "x", 5, shape)
    return folders


@pytest.fixture
def folder(written, tmp_path):
    """A copy to spoil."""
    shutil.copytree(written["binary"], tmp_path / "golden")
    return tmp_path / "golden"


def differences(folder: Path, shape: Shape = VARIANTS["binary"]) -> list[dict]:
    (case,) = read_folder(folder)
    return golden.check(case, config=config(shape))["differences"]


def edit(file: Path, change) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


# --- the authors' values -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CASES[0], *(pytest.param(c, marks=pytest.mark.full) for c in CASES[1:])])
def test_authors_values(name, tmp_path):
    """In a process of its own, as users run it."""
    if not (GOLDEN / f"{name}.npz").is_file():
        pytest.skip("the authors' golden files are not at hand: BHVIT_GOLDEN names their folder")
    for file in GOLDEN.glob(f"{name}*"):
        shutil.copy(file, tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "bhvit.cli.main", "check-golden", str(tmp_path), "--json"],
                          capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (case,) = json.loads(done.stdout)["cases"]
    data = json.loads((tmp_path / f"{name}.json").read_text())
    trace = json.loads((tmp_path / f"{name}_trace.json").read_text())
    assert case["ok"] and case["case"] == name and case["logit_error"] < 1e-12
    sections = ("modules", "sign_inputs", "attention", "binary_weights")
    assert {s: case["compared"][s] for s in sections} == {s: len(trace[s]) for s in sections}
    assert case["compared"]["stages"] == len(data["stages"]) and case["compared"]["logits"] == 2000
    assert case["signs"] == data["sensitivity"]["n_sign_decisions"]
    assert after.ru_maxrss < GIGABYTES * 1e6
    assert after.ru_utime - before.ru_utime < 110  # seconds of two cores


# --- a second implementation, other seeds ----------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_second_implementation(written, variant):
    (case,) = read_folder(written[variant])
    result = golden.check(case, config=config(VARIANTS[variant]))
    assert result["ok"] and result["seed"] == 5 and result["logit_error"] < 1e-14
    assert result["compared"]["attention"] == 3 and result["compared"]["sign_inputs"] > 40


def test_recipe_of_the_second_implementation():
    keys = {**writer.shapes(TINY), **writer.shapes(Shape(gsb=True))}
    assert len(writer.shapes(TINY)) == 1155
    for key, shape in keys.items():
        if np.prod(shape) < 5000:
            assert np.array_equal(recipe_tensor(key, shape, 3), writer.tensor(key, shape, 3)), key
    assert np.array_equal(recipe_images(224, 3, 3), writer.pictures(224, 3))


@pytest.mark.full
def test_another_seed_of_the_whole_network(tmp_path):
    write_golden(tmp_path, "seed7", 7, TINY)
    done = subprocess.run([sys.executable, "-m", "bhvit.cli.main", "check-golden", str(tmp_path)], capture_output=True,
                          text=True)
    assert done.returncode == 0 and "seed7: ok (seed 7:" in done.stdout, done.stderr


def test_seed_is_read_from_the_file(folder):
    edit(folder / "x.json", lambda d: d["meta"].update(SEED=6))
    found = differences(folder)
    keys = {d["key"] for d in found}
    assert {"meta.state_dict_crc32", "meta.input_crc32", "SEED", "logits_f64[0, 0]"} <= keys
    edit(folder / "x_trace.json", lambda d: d.update(SEED=6))
    assert len(differences(folder)) == len(found) - 1


def test_without_trace(folder):
    (folder / "x_trace.json").unlink()
    (case,) = read_folder(folder)
    result = golden.check(case, config=config(VARIANTS["binary"]))
    assert result["ok"] and "sign_inputs" not in result["compared"] and result["compared"]["stages"] == 12


# --- altered values ----------------------------------------------------------------------------------------


def altered(value):
    if isinstance(value, float):
        return value * (1 + 1e-8) + 2e-10
    if isinstance(value, list):
        return [*value[:-1], altered(value[-1])]
    if isinstance(value, dict):
        return {k: v + 1 for k, v in value.items()}
    return value + 1


RECORDS = [("stages", k) for k in ("mean", "std", "dot", "first", "shape")] + [
    ("modules", k) for k in ("mean", "std", "dot", "first")] + [
    ("sign_inputs", k) for k in ("pos", "zero", "crc_pos", "shape")] + [
    ("attention", "hist"), ("attention", "crc_levels")] + [
    ("binary_weights", k) for k in ("pos", "zero", "crc_pos")]


@pytest.fixture(scope="module")
def altered_everywhere(written, tmp_path_factory):
    """Differences of a case in which every kind of entry of one record each is altered, by key."""
    folder = tmp_path_factory.mktemp("altered") / "golden"
    shutil.copytree(written["binary"], folder)
    changed = {}

    def change(data):
        for n, (section, entry) in enumerate(RECORDS):
            if section in data:
                record = data[section][-1 - n % len(data[section])]
                changed[section, entry] = record["name"], record[entry]
                record[entry] = altered(record[entry])

    for file in ("x.json", "x_trace.json"):
        edit(folder / file, change)
    return changed, {d["key"]: d for d in differences(folder)}


@pytest.mark.parametrize("section, entry", RECORDS)
def test_an_altered_record_is_named(altered_everywhere, section, entry):
    changed, found = altered_everywhere
    name, right = changed[section, entry]
    last = f"[{len(right) - 1}]" if entry == "first" else ""
    assert f"{section}[{name}].{entry}{last}" in found
    assert len(found) == len(RECORDS)
    told = found[f"{section}[{name}].{entry}{last}"]
    want = right[-1] if last else right
    assert told["got"] == (pytest.approx(want, rel=1e-12) if isinstance(want, float) else want)
    assert told["expected"] != told["got"] and told["file"] == ("x.json" if section == "stages" else "x_trace.json")


@pytest.mark.parametrize("key", ["logits_f64", "stage1_hidden_head", "stage3_hidden_head"])
def test_an_altered_array_is_named(folder, key):
    arrays = dict(np.load(folder / "x.npz"))
    right = float(arrays[key][1, 3])
    arrays[key][1, 3] += 1.1e-9 if key == "logits_f64" else 1e-8
    np.savez(folder / "x.npz", **arrays)
    (found,) = differences(folder)
    assert (found["file"], found["key"]) == ("x.npz", f"{key}[1, 3]")
    assert found["expected"] == arrays[key][1, 3] and found["got"] == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("key", ["state_dict_crc32", "input_crc32", "n_keys"])
def test_altered_meta_data_are_named(folder, key):
    edit(folder / "x.json", lambda d: d["meta"].update({key: d["meta"][key] ^ 1}))
    (found,) = differences(folder)
    assert (found["file"], found["key"]) == ("x.json", f"meta.{key}") and found["expected"] == found["got"] ^ 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_altered_texts_and_totals_are_named(written, variant, tmp_path):
    shutil.copytree(written[variant], tmp_path / "golden")
    right = json.loads((tmp_path / "golden" / "x.json").read_text())
    assert len(right["sensitivity"]) == 7

    def change(data):
        data["meta"].update(case="w", mode="train")
        data["sensitivity"] = {key: altered(value) for key, value in right["sensitivity"].items()}
    edit(tmp_path / "golden" / "x.json", change)
    edit(tmp_path / "golden" / "x_trace.json", lambda d: d["attention"][1].update(
        margin=altered(d["attention"][1]["margin"])))
    found = {d["key"]: d for d in differences(tmp_path / "golden", VARIANTS[variant])}
    names = [r["name"] for r in json.loads((tmp_path / "golden" / "x_trace.json").read_text())["attention"]]
    assert set(found) == {"meta.case", "meta.mode", f"attention[{names[1]}].margin",
                          *(f"sensitivity.{key}" for key in right["sensitivity"])}
    assert all(found[f"sensitivity.{key}"]["got"] == pytest.approx(value, abs=1e-12)
               for key, value in right["sensitivity"].items())


def test_nan_and_unknown_tensors_differ(folder):
    def change(data):
        data["stages"][2]["mean"] = float("nan")
        data["stages"].append({**data["stages"][0], "name": "vit.encoder.layerA.99"})

    edit(folder / "x.json", change)
    edit(folder / "x_trace.json", lambda d: d["attention"].pop())  # fewer records are no difference
    assert [d["key"] for d in differences(folder)] == ["stages[vit.encoder.patch_embed1].mean",
                                                       "stages[vit.encoder.layerA.99]"]


# --- the command -------------------------------------------------------------------------------------------


def command(capsys, *argv) -> tuple[int, str, str]:
    from bhvit.cli.main import main

    with pytest.raises(SystemExit) as exit_:
        main(["check-golden", *map(str, argv)])
    return (exit_.value.code, *capsys.readouterr())


@pytest.fixture
def reduced(monkeypatch):
    """The command takes the reduced network for the one that the files name."""
    from bhvit.model.golden_files import Case

    monkeypatch.setattr(Case, "config", property(lambda self: config(VARIANTS["binary"])))


def test_command(capsys, folder, reduced):
    code, out, err = command(capsys, folder)
    assert code == 0 and out.startswith("x: ok (seed 5: 12 stages, 773,968 signs, 3 attentions, 36 binary weights")
    assert "x: " in err and "(100 %)" in err
    for n in ("y", "z"):
        for file in folder.glob("x*"):
            shutil.copy(file, folder / file.name.replace("x", n, 1))
        edit(folder / f"{n}_trace.json", lambda d, n=n: d.update(case=n))
        edit(folder / f"{n}.json", lambda d, n=n: d["meta"].update(case=n))
    edit(folder / "y.json", lambda d: d["stages"][1].update(std=1.25))
    code, out, err = command(capsys, folder, "--json")
    told = json.loads(out)
    assert code == 1 and [c["ok"] for c in told["cases"]] == [True, False, True] and told["ok"] is False
    (found,) = told["cases"][1]["differences"]
    assert (found["case"], found["file"], found["expected"]) == ("y", "y.json", 1.25)
    key = "stages[vit.encoder.layerA.0].std"
    assert f"y.json: {key}: expected 1.25, got {found['got']}" in err and "1 of 3 golden cases differ in 1 value" in err


def test_many_differences_are_counted(capsys, folder, reduced):
    edit(folder / "x.json", lambda d: d["meta"].update(SEED=6))
    code, out, err = command(capsys, folder)
    assert code == 1 and "DIFFERENCES" in out and "more (--json lists all)" in err and len(err.splitlines()) < 40


def spoil(folder: Path, what: str) -> None:
    npz, text, trace = folder / "x.npz", folder / "x.json", folder / "x_trace.json"
    if what == "no folder":
        shutil.rmtree(folder)
    elif what == "empty folder":
        for f in folder.iterdir():
            f.unlink()
    elif what == "a file":
        shutil.rmtree(folder)
        folder.write_text("x")
    elif what in ("no npz", "no json"):
        (npz if what == "no npz" else text).unlink()
    elif what == "only a trace":
        npz.unlink()
        text.unlink()
    elif what == "cut npz":
        npz.write_bytes(npz.read_bytes()[:1000])
    elif what == "empty npz":
        npz.write_bytes(b"")
    elif what == "pickled npz":
        np.savez(npz, **{**dict(np.load(npz)), "logits_f64": np.array([{}], dtype=object)})
    elif what in ("array", "shape"):
        arrays = dict(np.load(npz))
        left = {k: v for k, v in arrays.items() if k != "stage2_hidden_head"}
        np.savez(npz, **left if what == "array" else {**arrays, "logits_f64": arrays["logits_f64"][:1]})
    elif what == "cut json":
        text.write_text(text.read_text()[:5000])
    elif what == "bytes":
        text.write_bytes(b"\xff\xfe\x00")
    elif what == "list":
        text.write_text("[]")
    elif what == "cut trace":
        trace.write_text(trace.read_text()[:5000])
    elif what == "section":
        edit(trace, lambda d: d.update(sign_input=d.pop("sign_inputs")))
    else:
        changes = {
            "meta": lambda d: d.pop("meta"), "seed": lambda d: d["meta"].update(SEED="1"),
            "negative seed": lambda d: d["meta"].update(SEED=-1), "model": lambda d: d["meta"].update(model="huge"),
            "crc": lambda d: d["meta"].pop("input_crc32"), "stages": lambda d: d.update(stages={}),
            "no stages": lambda d: d.update(stages=[]), "record": lambda d: d["stages"][3].pop("dot"),
            "entry": lambda d: d["stages"][3].update(mean="0.5"), "extra": lambda d: d["stages"][3].update(meen=0.5),
            "twice": lambda d: d["stages"].append(d["stages"][0]),
            "first": lambda d: d["stages"][0].update(first=[0.5, None])}
        edit(text, changes[what])


@pytest.mark.parametrize("what, phrases", [
    ("no folder", ["does not exist"]), ("empty folder", ["holds no golden files"]), ("a file", ["This is no folder"]),
    ("no npz", ["incomplete", "x.npz", "there is x.json"]), ("no json", ["incomplete", "x.json", "there is x.npz"]),
    ("only a trace", ["incomplete", "there is x_trace.json"]), ("cut npz", ["x.npz", "cut short"]),
    ("empty npz", ["x.npz", "cut short"]), ("pickled npz", ["x.npz"]),
    ("array", ["x.npz: stage2_hidden_head", "missing"]), ("shape", ["x.npz: logits_f64", "(2, 10)", "(1, 10)"]),
    ("cut json", ["no JSON", "x.json"]), ("bytes", ["no text file"]), ("list", ["x.json: top level", "list"]),
    ("cut trace", ["no JSON", "x_trace.json"]), ("section", ["x_trace.json: sign_input", "no such section"]),
    ("meta", ["x.json: meta", "missing"]), ("seed", ["x.json: meta.SEED", "type int"]),
    ("negative seed", ["meta.SEED", "-1"]), ("model", ["meta.model", "'huge'", "tiny, small"]),
    ("crc", ["meta.input_crc32", "missing"]), ("stages", ["x.json: stages", "type list"]),
    ("no stages", ["stages", "nothing to compare"]), ("record", ["stages[vit.encoder.layerA.1].dot", "missing"]),
    ("entry", ["stages[vit.encoder.layerA.1].mean", "type float"]), ("extra", [".meen", "no such entry"]),
    ("twice", ["stages[vit.embeddings]", "twice"]), ("first", ["stages[vit.embeddings].first", "numbers"])])
def test_files_that_are_none(capsys, folder, what, phrases):
    spoil(folder, what)
    code, out, err = command(capsys, folder)
    assert code == 2 and not out and err.startswith("error: ") and "where:" in err and "what to do:" in err
    assert all(p in err for p in phrases), err
    code, out, _ = command(capsys, folder, "--json")
    assert code == 2 and set(json.loads(out)) == {"error", "where", "why", "do", "exit_code"}


def test_case_of_the_paper(written):
    """Which network it is comes from the meta data."""
    file = written["binary"]
    case = read_case(file / "x.npz", file / "x.json")
    for model, fp, gsb in (("tiny", False, False), ("small", True, False), ("tiny", False, True)):
        case.meta.update(model=model, some_fp=fp, gsb=gsb, num_labels=1000)
        name = f"bhvit_{model}{'_fp' * fp}{'_gsb' * gsb}"
        from bhvit.model.config import load_config

        shipped = load_config(ROOT / "configs" / "model" / f"{name}.yaml")
        same = {"name": case.config.name, "mean": case.config.mean, "std": case.config.std}
        assert case.config == shipped.model_copy(update=same)


def test_progress_is_counted(written):
    (case,) = read_folder(written["fp"])
    steps = []
    golden.check(case, lambda: steps.append(time.monotonic()), config=config(VARIANTS["fp"]))
    assert len(steps) == case.records


def test_user_error_is_one():
    with pytest.raises(UserError, match="does not exist"):
        read_folder("nowhere")
