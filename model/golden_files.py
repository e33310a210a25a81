"""Golden files: a folder of `<case>.npz` + `<case>.json` [+ `<case>_trace.json`], read and checked for form.

They hold what the authors' network computes in float64 for parameters and images that follow from a seed. Everything
that is wrong with the files themselves is a UserError (exit code 2); what the network computes differently is found in
`bhvit.model.golden`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bhvit.errors import UserError
from bhvit.model.config import ModelConfig

DEPTHS = {"tiny": (2, 2, 6, 2), "small": (3, 4, 8, 4)}
IMAGES = 2  # the recipe's batch
HEADS = tuple(f"stage{s}_hidden_head" for s in (1, 2, 3))
HEAD = 256  # elements of a hidden head per image
OPTIONAL_ARRAYS = ("logits_f32_reference",)
STATISTICS = ("mean", "std", "dot")
#: sections of a trace: what a record must hold, besides its name, with the type of each entry
TRACE = {
    "modules": {"shape": list, "first": list} | dict.fromkeys(STATISTICS, float),
    "sign_inputs": {"shape": list, "pos": int, "zero": int, "crc_pos": int},
    "attention": {"shape": list},
    "binary_weights": {"shape": list, "pos": int, "zero": int, "crc_pos": int},
}
#: entries that a record may hold besides
EXTRA = {"sign_inputs": {"min_abs": float}, "binary_weights": {"min_abs": float, "scale_first": list},
         "attention": {"hist": list, "crc_levels": int, "codes": dict, "crc_codes": int, "margin": float},
         "modules": {}}
META = {"model": str, "some_fp": bool, "gsb": bool, "SEED": int, "num_labels": int, "state_dict_crc32": int,
        "input_crc32": int}
DO = "write the golden files again, or take them from a whole copy"


@dataclass
class Case:
    """One golden case: its files and what they say."""

    name: str
    npz: Path
    json: Path
    trace_path: Path | None
    meta: dict[str, Any]
    stages: list[dict]
    sensitivity: dict[str, Any]
    arrays: dict[str, np.ndarray]
    trace: dict[str, Any]

    @property
    def config(self) -> ModelConfig:
        """The paper's network that the meta data name, as released."""
        m = self.meta
        return ModelConfig(
            name=f"bhvit_{m['model']}", image_size=224, classes=m["num_labels"], widths=(64, 128, 256, 512),
            depths=DEPTHS[m["model"]], heads=(4, 8), downsample="fp" if m["some_fp"] else "binary",
            attention="gsb" if m["gsb"] else "qd")

    @property
    def records(self) -> int:
        """How many tensors the files describe."""
        return len(self.stages) + sum(len(self.trace.get(section, [])) for section in TRACE)


def read_folder(folder: str | Path) -> list[Case]:
    """All golden cases of a folder, sorted by name.

    Raises: UserError for a missing or empty folder, files without their partner, and anything that cannot be read or
    does not have the form of golden files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError("The folder of golden files does not exist." if not folder.exists() else
                        "This is no folder.", folder, do="give a folder that holds <case>.npz and <case>.json")
    arrays = {f.stem: f for f in folder.glob("*.npz")}
    traces = {f.stem.removesuffix("_trace"): f for f in folder.glob("*_trace.json")}
    texts = {f.stem: f for f in folder.glob("*.json") if not f.stem.endswith("_trace") and f.stem != "summary"}
    if not arrays and not traces and not texts:
        raise UserError("The folder holds no golden files.", folder, "there is no <case>.npz and <case>.json in it",
                        "give the folder of the golden files")
    for name in sorted({*arrays, *traces, *texts}):
        for kind, found in ((".npz", arrays), (".json", texts)):
            if name not in found:
                other = arrays.get(name) or texts.get(name) or traces[name]
                raise UserError("A golden case is incomplete.", folder / f"{name}{kind}",
                                f"the file is missing, but there is {other.name}", DO)
    return [read_case(arrays[name], texts[name], traces.get(name)) for name in sorted(texts)]


def read_case(npz: Path, text: Path, trace: Path | None = None) -> Case:
    """One case from its files. Raises: UserError."""
    data = _json(text)
    meta = _entry(text, data, "meta", dict)
    for key, kind in META.items():
        _entry(text, meta, key, kind, "meta.")
    if meta["model"] not in DEPTHS:
        raise UserError("The golden file names an unknown network.", f"{text}: meta.model",
                        f"it is {meta['model']!r}; known are {', '.join(DEPTHS)}", DO)
    if meta["num_labels"] < 1 or meta["SEED"] < 0:
        key = "SEED" if meta["SEED"] < 0 else "num_labels"
        raise _form(text, f"meta.{key}", f"{meta[key]} cannot be used")
    stages = _records(text, _entry(text, data, "stages", list), "stages", TRACE["modules"], {})
    if not stages:
        raise _form(text, "stages", "it holds nothing to compare")
    sensitivity = _entry(text, data, "sensitivity", dict) if "sensitivity" in data else {}
    return Case(text.stem, npz, text, trace, dict(meta), stages, sensitivity,
                _arrays(npz, meta["num_labels"]), {} if trace is None else _trace(trace))


def _trace(path: Path) -> dict[str, Any]:
    data = _json(path)
    unknown = sorted(data.keys() - TRACE.keys() - {"case", "SEED"})
    if unknown:
        raise _form(path, unknown[0], f"there is no such section; known are {', '.join(TRACE)}")
    for section in TRACE.keys() & data.keys():
        _records(path, _entry(path, data, section, list), section, TRACE[section], EXTRA[section])
    for r in data.get("attention", []):
        if not ({"hist", "crc_levels"} <= r.keys() or {"codes", "crc_codes"} <= r.keys()):
            raise _form(path, f"attention[{r['name']}]", "it needs hist and crc_levels, or codes and crc_codes")
    if not any(data.get(section) for section in TRACE):
        raise _form(path, ", ".join(TRACE), "they hold nothing to compare")
    return data


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as e:
        raise UserError("The golden file is no text file.", path, str(e), DO) from e
    except (ValueError, RecursionError) as e:
        raise UserError("The golden file is no JSON.", path, str(e), DO) from e
    if not isinstance(data, dict):
        raise _form(path, "top level", f"it is a {type(data).__name__}, not an object")
    return data


def _form(path: Path, key: str, why: str) -> UserError:
    return UserError("The golden file does not have the form of golden files.", f"{path}: {key}", why, DO)


def _entry(path: Path, data: dict, key: str, kind: type, prefix: str = "") -> Any:
    if key not in data:
        raise _form(path, prefix + key, "the entry is missing")
    if not _is(data[key], kind):
        raise _form(path, prefix + key, f"it should be of type {kind.__name__}, got {str(data[key])[:60]!r}")
    return data[key]


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value has the type; numbers count as float, 0 and 1 as bool, true and false not as numbers."""
    if kind is bool:
        return value in (0, 1) and isinstance(value, bool | int)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _records(path: Path, records: list, section: str, needed: dict[str, type], extra: dict[str, type]) -> list[dict]:
    seen = set()
    for i, r in enumerate(records):
        where = f"{section}[{i}]"
        if not isinstance(r, dict) or not isinstance(r.get("name"), str):
            raise _form(path, where, "every record is an object with a name")
        for key, kind in {**needed, **{k: v for k, v in extra.items() if k in r}}.items():
            _entry(path, r, key, kind, f"{section}[{r['name']}].")
        if not all(_is(n, int) and n >= 1 for n in r["shape"]):
            raise _form(path, f"{section}[{r['name']}].shape", "it is no list of positive integers")
        for key in ("first", "hist", "scale_first"):
            if not all(_is(v, float) for v in r.get(key, [])):
                raise _form(path, f"{section}[{r['name']}].{key}", "it is no list of numbers")
        unknown = sorted(r.keys() - needed.keys() - extra.keys() - {"name"})
        if unknown:
            raise _form(path, f"{section}[{r['name']}].{unknown[0]}", "there is no such entry")
        if r["name"] in seen:
            raise _form(path, f"{section}[{r['name']}]", "the name occurs twice")
        seen.add(r["name"])
    return records


def _arrays(path: Path, classes: int) -> dict[str, np.ndarray]:
    wanted = {"logits_f64": (IMAGES, classes), **dict.fromkeys(HEADS, (IMAGES, HEAD))}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except OSError as e:
        if e.errno is not None:
            raise
        raise UserError("The golden file is no .npz file.", path, str(e), DO) from e
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, AttributeError) as e:
        # zipfile and numpy raise each of these on some kind of damage; an unknown compression is NotImplementedError
        raise UserError("The golden file is cut short or is no .npz file.", path, f"{type(e).__name__}: {e}", DO) from e
    for key in wanted:
        if key not in arrays:
            raise _form(path, key, "the array is missing")
    for key in wanted.keys() | (set(OPTIONAL_ARRAYS) & arrays.keys()):
        a, shape = arrays[key], wanted.get(key, wanted["logits_f64"])
        if a.shape != shape or a.dtype.kind != "f":
            raise _form(path, key, f"it should hold floats of shape {shape}, got {a.dtype} of shape {a.shape}")
    return arrays
