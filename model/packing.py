"""Tensors in their smallest exact form, for weight files.

    +-1                   uint8, numpy.packbits of (value > 0) in C order
    +-s, an s for a row   the same and the s of every row (float32)
    integers              the narrowest of int8, uint8, int16, uint16, int32, int64; value = stored * 2^exponent
    few of them           in the metadata
    float16's numbers     float16
    the rest              as it is
"""

from __future__ import annotations

import numpy as np
import torch

SMALL = 16  # tensors with fewer values are kept in the metadata
INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64)
SCALES = ":scales"  # behind the name of a tensor: the magnitudes of its rows


def pack(state: dict) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Bring tensors into their smallest exact form. Returns (arrays, layout), both by name.

    A layout entry tells how an array differs from a plain int32 tensor: `bits` (the shape of a bit-packed tensor, with
    `scales` where rows have a magnitude), `raw`, `values` (the integers themselves; then there is no array), `shape`,
    `dtype`, `exponent`.
    """
    arrays, layout = {}, {}
    for name, tensor in state.items():
        value = tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
        stored, exponent = _as_integers(value)
        entry = {} if value.dtype == np.int32 else {"dtype": value.dtype.name}
        scales = _scales(value)
        if stored is not None and value.size < SMALL:
            entry["values"] = stored.reshape(-1).tolist()
            if value.ndim != 1:
                entry["shape"] = list(value.shape)
        elif stored is not None and np.all(np.abs(value) == 1):
            arrays[name], entry["bits"] = _bits(value), list(value.shape)
        elif scales is not None:
            arrays[name], arrays[name + SCALES] = _bits(value), scales
            entry |= {"bits": list(value.shape), "scales": True}
        elif (stored is None or stored.itemsize > 2) and _is_half(value):
            arrays[name], entry = value.astype(np.float16), {"raw": True, "dtype": "float32"}
        elif stored is None:
            arrays[name], entry = np.array(value, order="C"), {"raw": True}
        else:
            arrays[name] = np.ascontiguousarray(stored)
        if exponent and not {"raw", "scales"} & entry.keys():
            entry["exponent"] = exponent
        if entry:
            layout[name] = entry
    return arrays, layout


def unpack(arrays: dict[str, np.ndarray], layout: dict[str, dict]) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, as torch tensors."""
    state = {}
    for name in sorted({name for name in arrays if not name.endswith(SCALES)} | layout.keys()):
        entry = layout.get(name, {})
        if "raw" in entry:
            state[name] = torch.from_numpy(arrays[name].astype(entry.get("dtype", arrays[name].dtype)))
            continue
        if "values" in entry:
            value = np.array(entry["values"], np.int64)
            value = value.reshape(entry.get("shape", value.shape))
        elif "bits" in entry:
            size = int(np.prod(entry["bits"], dtype=np.int64))
            value = np.unpackbits(arrays[name], count=size).astype(np.int8).reshape(entry["bits"]) * 2 - 1
            if "scales" in entry:
                value = value * arrays[name + SCALES].reshape(-1, *(1,) * (value.ndim - 1))
        else:
            value = arrays[name]
        if "exponent" in entry:
            value = np.ldexp(value.astype(np.float64), entry["exponent"])
        state[name] = torch.from_numpy(np.array(value, entry.get("dtype", "int32")))
    return state


def _bits(value: np.ndarray) -> np.ndarray:
    return np.packbits(value.reshape(-1) > 0)


def _scales(value: np.ndarray) -> np.ndarray | None:
    """The magnitude of every row (first axis), where all values of a row have one and it is not zero."""
    if value.dtype != np.float32 or value.ndim < 2 or value.size < SMALL:
        return None
    rows = np.abs(value.reshape(len(value), -1))
    found = rows[:, :1]
    return found[:, 0].copy() if np.all((rows == found) & (found > 0) & np.isfinite(found)) else None


def _is_half(value: np.ndarray) -> bool:
    """Whether these are float32 that float16 holds exactly."""
    if value.dtype != np.float32:
        return False
    with np.errstate(over="ignore"):  # beyond float16: infinite, so not equal
        return bool(np.array_equal(value.astype(np.float16).astype(np.float32), value))


def _as_integers(value: np.ndarray) -> tuple[np.ndarray | None, int]:
    """(integers in their narrowest type, exponent) with value = integers * 2^exponent, or (None, 0)."""
    exponent = 0
    if value.dtype.kind == "f":
        if not np.all(np.isfinite(value)) or np.any((value == 0) & np.signbit(value)):
            return None, 0
        mantissa, power = np.frexp(value.astype(np.float64))
        whole = (mantissa * 2.0**53).astype(np.int64)  # value = whole * 2^(power - 53), exactly
        used = whole[whole != 0]
        if used.size:
            low_bit = np.log2((used & -used).astype(np.float64)).astype(np.int64)  # a power of two: exact
            exponent = min(0, int((low_bit + power[whole != 0] - 53).min()))
        scaled = np.ldexp(value.astype(np.float64), -exponent)
        if scaled.size and np.abs(scaled).max() >= 2**31:
            return None, 0
        value = scaled.astype(np.int64)
    elif value.dtype.kind not in "iu":
        return None, 0
    for kind in INTEGERS:
        limits = np.iinfo(kind)
        if not value.size or (value.min() >= limits.min and value.max() <= limits.max):
            return value.astype(kind), exponent
    return None, 0
