"""Weight files: safetensors, bit-packed where values are +-1, whole or not there at all.

A deployed network consists of +-1 weights and integers times powers of two, so its file needs no floats:
every tensor is stored in the smallest exact form (`packing.py`), and `load` gives back the same values, shapes and
types. The metadata names the configuration (with a hash), the metrics and a checksum; a file that is
missing, cut short, damaged, foreign or made for another configuration is refused with a sentence that says
which.

Training checkpoints (latent float weights, optimizer state) are torch files that are read with weights_only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from bhvit.errors import UserError
from bhvit.model.packing import pack, unpack

FORMAT, VERSION = "bhvit-weights", 1
TEACHERS = {"full": " --full-precision", "convnet": " --set network=convnet"}  # kind -> options that train it
IMAGES = ("image_size", "image_channels", "classes", "mean", "std")  # entries that a convolutional teacher depends on
RETRAIN = "train the network (`bhvit train`), or give the weights of this configuration"


def config_hash(cfg) -> str:
    """16 hex digits that identify the network (its name left out)."""
    return cfg.digest()[:16]


# --- deployed weights --------------------------------------------------------------------------------


def save(path: str | Path, state: dict, cfg, metrics: dict | None = None, kind: str = "deployed") -> Path:
    """Write a deployed network (state: name -> torch tensor or numpy array) atomically.

    kind: "deployed", "float" for the parameters of the float phase, "full" for those of a full-precision twin,
    "convnet" for those of a convolutional teacher; metrics: anything JSON can hold. Returns the path. Raises UserError
    when the file cannot be written; an older file of that name then stays as it was.
    """
    arrays, layout = pack(state)
    about = {"version": VERSION, "kind": kind, "config_name": _name(cfg), "config_hash": config_hash(cfg),
             "config": _entries(cfg), "layout": layout, "checksum": _checksum(arrays, layout), "metrics": metrics or {}}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))  # one: several come in any order
    return write_atomically(path, safetensors.numpy.save(arrays, {FORMAT: text}))


def load(path: str | Path, cfg, kind: str = "deployed") -> dict[str, torch.Tensor]:
    """Read the deployed network (or the float parameters) of this configuration; UserError if the file is not
    exactly that. Float parameters also serve a configuration with other `bits`, which fixed point alone depends on; a
    convolutional teacher every network for the same images."""
    path = Path(path)
    arrays, metadata = _read(path)
    if metadata["kind"] != kind:
        raise UserError(f"The file holds {metadata['kind']} weights, needed are {kind} weights.", path,
                        "it is a teacher: its weights are not binary, so it has no hardware"
                        if metadata["kind"] in TEACHERS else None, _other_kind(metadata["kind"], kind))
    if metadata["config_hash"] != config_hash(cfg) and (kind == "deployed" or _differing(metadata, cfg)):
        raise UserError("The weights belong to another configuration.", path, _difference(metadata, cfg),
                        RETRAIN)
    try:
        return unpack(arrays, metadata["layout"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("The weight file is damaged.", path, f"{type(error).__name__}: {error}",
                        RETRAIN) from error


def info(path: str | Path) -> dict:
    """What a weight file says about itself: kind, config_name, config_hash, config, metrics, bytes."""
    metadata = _read(Path(path))[1]
    told = {key: metadata[key] for key in ("kind", "config_name", "config_hash", "config", "metrics")}
    return told | {"bytes": Path(path).stat().st_size}


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    if not path.is_file():
        raise UserError("The weight file does not exist.", path, do=RETRAIN)
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get(FORMAT)
            arrays = {name: file.get_tensor(name) for name in file.keys()} if text else {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError("The weight file is cut short or is no safetensors file.", path, error,
                        "copy it again, or train again") from error
    if not text:
        raise UserError(
            "The file holds no deployed BHViT weights.", path, "its metadata lacks the format mark",
            "for a checkpoint of the authors use `bhvit import-checkpoint`; to get weights, train")
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = {"version": VERSION}
    if metadata.get("version") != VERSION:
        raise UserError("The weight file has another format version.", path,
                        f"version {metadata.get('version')}, this program reads {VERSION}", RETRAIN)
    needed = {"kind", "config_name", "config_hash", "config", "layout", "checksum", "metrics"}
    if needed - set(metadata) or metadata["checksum"] != _checksum(arrays, metadata["layout"]):
        raise UserError("The weight file is damaged.", path, "its checksum or metadata do not match",
                        "copy it again, or train again")
    return arrays, metadata


def _checksum(arrays: dict[str, np.ndarray], layout: dict) -> str:
    value = zlib.crc32(json.dumps(layout, sort_keys=True).encode("utf-8"))
    for name in sorted(arrays):
        value = zlib.crc32(name.encode("utf-8"), value)
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), value)
    return f"{value:08x}"


def _other_kind(given: str, needed: str) -> str:
    if needed == "deployed" and given == "float":
        return "turn float weights into deployed ones with `bhvit deploy-model`"
    if needed == "float" and given == "deployed":
        return "take the *_float.safetensors of `bhvit train`: deployed weights cannot become float ones"
    return f"take {needed} weights of `bhvit train{TEACHERS.get(needed, '')}`"


def _differing(metadata: dict, cfg) -> list[str]:
    """Entries of the model file that parameters before fixed point depend on and that differ: all but its widths; of a
    convolutional teacher those of the images."""
    differ = [key for key in _entries_that_differ(metadata, cfg) if not key.startswith("bits.")]
    return [key for key in differ if metadata["kind"] != "convnet" or key in IMAGES]


def _entries_that_differ(metadata: dict, cfg) -> dict[str, tuple]:
    ours = _flat(_entries(cfg))
    fields = getattr(type(cfg), "model_fields", {})
    theirs = {k: fields[k].default for k in ours.keys() & fields.keys()  # entries that came after the file
              if k not in metadata["config"]} | _flat(metadata["config"])
    return {key: (theirs.get(key), ours.get(key)) for key in sorted(theirs.keys() | ours.keys())
            if key != "name" and theirs.get(key) != ours.get(key)}


def _difference(metadata: dict, cfg) -> str:
    differ = _entries_that_differ(metadata, cfg)
    decisive = differ if metadata["kind"] == "deployed" else _differing(metadata, cfg)
    differing = [(key, differ[key]) for key in decisive]
    listed = "; ".join(f"{key}: {there} in the file, {here} here" for key, (there, here) in differing[:4])
    more = " ..." if differing[4:] else ""
    return f"made for {metadata['config_name']}, asked for {_name(cfg)}: {listed}{more}"


def _flat(entries, prefix: str = "") -> dict:
    flat = {}
    for key, value in entries.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _entries(cfg) -> dict:
    return cfg.model_dump(mode="json")


def _name(cfg) -> str:
    return str(getattr(cfg, "name", "") or "unnamed")


# --- training checkpoints ----------------------------------------------------------------------------------


def save_checkpoint(path: str | Path, content: dict, cfg) -> Path:
    """Write a training checkpoint (tensors, numbers, strings, lists, dictionaries) atomically."""
    buffer = io.BytesIO()
    torch.save({"format": "bhvit-checkpoint", "config_hash": config_hash(cfg), "content": content}, buffer)
    return write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path, cfg) -> dict:
    """Read a training checkpoint of this configuration; never runs code from it. UserError otherwise."""
    path = Path(path)
    if not path.is_file():
        raise UserError("The checkpoint does not exist.", path)
    again = "delete it to start again, or continue with the configuration that it was made with"
    try:
        file = torch.load(path, map_location="cpu", weights_only=True)
        known = isinstance(file, dict) and file.get("format") == "bhvit-checkpoint"
    except Exception as error:  # the unpickler fails in every way on a file of another kind
        raise UserError("The checkpoint cannot be read.", path, str(error).split("\n")[0], again) from error
    if not known:
        raise UserError("This is not a training checkpoint of this program.", path, do=again)
    if file["config_hash"] != config_hash(cfg):
        raise UserError("The checkpoint belongs to another configuration.", path, do=again)
    return file["content"]


def write_atomically(path: str | Path, data: bytes) -> Path:
    """Write a file so that at any moment either the old or the complete new one is there.

    Raises UserError when the disk is full or the folder cannot be written; the old file then stays whole.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "The disk is full, or a size limit was reached." if full else "The file cannot be written."
        raise UserError(what, path, error.strerror,
                        "free some space or choose another folder; an older file is untouched") from error
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
