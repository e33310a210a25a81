"""Packing of tensors on the host: MB/s on one core, and the ratio to FINN's function in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: type -> numpy type that holds it on the host
TYPES = {"BIPOLAR": np.int8, "INT8": np.int8, "INT24": np.int32}
#: shapes by name: a tensor that fills the caches, and the logits of CIFAR-10's test images
SHAPES = {"1 Mi elements in rows of 64": (1 << 14, 64), "10,000 rows of 10": (10_000, 10)}


def best(call: Callable[[], Any], runs: int) -> float:
    """Shortest of some runs in seconds."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def packing() -> dict[str, Any]:
    """By type and shape: the host's integers (`MB_per_s`: bytes of these) against FINN's functions on its own float32
    tensors, once with default arguments and once in the byte order that streams have (both reverse flags)."""
    from ..deployment import host_import

    host_import()
    return {name: {shape: _one(name, kind, *SHAPES[shape]) for shape in SHAPES} for name, kind in TYPES.items()}


def _one(name: str, kind: type, rows: int, row: int) -> dict[str, Any]:
    from bhvit_host.packing import DataType, pack, unpack
    from finn.util.data_packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
    from qonnx.core.datatype import DataType as FinnType

    t, finn = DataType.of(name), FinnType[name]
    x = np.random.default_rng(0).integers(t.min, t.max + 1, (rows, row)).astype(kind)
    x = np.where(x >= 0, 1, -1).astype(kind) if t.bipolar else x
    packed, floats = pack(x, t), x.astype(np.float32)
    out = np.empty_like(packed)
    if not np.array_equal(unpack(packed, t, row), x) or not np.array_equal(
            packed, finnpy_to_packed_bytearray(floats, finn, reverse_inner=True, reverse_endian=True)):
        raise AssertionError(f"packing of {name} is wrong")
    ours = {"pack": best(lambda: pack(x, t, out), 15), "unpack": best(lambda: unpack(packed, t, row), 15)}
    theirs = {"default": best(lambda: finnpy_to_packed_bytearray(floats, finn), 5),
              "reversed": best(lambda: finnpy_to_packed_bytearray(floats, finn, True, True), 5)}
    back = best(lambda: packed_bytearray_to_finnpy(packed, finn, x.shape, True, True), 3)
    return {**{f"{k}_MB_per_s": x.nbytes / s / 1e6 for k, s in ours.items()},
            "finn_pack_MB_per_s": {k: x.nbytes / s / 1e6 for k, s in theirs.items()},
            "ratio_to_finn": theirs["default"] / ours["pack"],
            "ratio_to_finn_reversed": theirs["reversed"] / ours["pack"],
            "unpack_ratio_to_finn": back / ours["unpack"]}


def text(r: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = ["packing on one core (host code; FINN's finnpy_to_packed_bytearray on float32 in the same run)"]
    for name, shapes in r.items():
        for shape, v in shapes.items():
            lines.append(f"  {name:8} {shape:28} pack {v['pack_MB_per_s']:>8,.0f} MB/s, {v['ratio_to_finn']:.0f} times "
                         f"FINN's with default arguments, {v['ratio_to_finn_reversed']:.1f} times with both flags; "
                         f"unpack {v['unpack_MB_per_s']:,.0f} MB/s, {v['unpack_ratio_to_finn']:.0f} times")
    lines.append("  FINN's 1-bit path with both flags is numpy's packbits too, without a check of the values; without "
                 "the flags it takes its general path")
    return "\n".join(lines)
