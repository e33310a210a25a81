"""Packing of tensors on the host: MB/s on one core, and the ratio to FINN's function in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: type -> numpy type that holds it on the host
TYPES = {"BIPOLAR": np.int8, "INT8": np.int8, "INT24": np.int32}
ELEMENTS, ROW = 1 << 20, 64


def best(call: Callable[[], Any], runs: int) -> float:
    """Shortest of some runs in seconds."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def packing() -> dict[str, Any]:
    """Per type: the host's integers (`MB_per_s`: bytes of these) against FINN's functions on its own float32 tensors,
    once with default arguments and once in the byte order that streams have (both reverse flags)."""
    from finn.util.data_packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
    from qonnx.core.datatype import DataType as FinnType

    from ..deployment import host_import

    host_import()
    from bhvit_host.packing import DataType, pack, unpack

    result = {}
    for name, kind in TYPES.items():
        t, finn = DataType.of(name), FinnType[name]
        x = np.random.default_rng(0).integers(t.min, t.max + 1, (ELEMENTS // ROW, ROW)).astype(kind)
        x = np.where(x >= 0, 1, -1).astype(kind) if t.bipolar else x
        packed, floats = pack(x, t), x.astype(np.float32)
        out = np.empty_like(packed)
        if not np.array_equal(unpack(packed, t, ROW), x) or not np.array_equal(
                packed, finnpy_to_packed_bytearray(floats, finn, reverse_inner=True, reverse_endian=True)):
            raise AssertionError(f"packing of {name} is wrong")
        ours = {"pack": best(lambda x=x, t=t, out=out: pack(x, t, out), 9),
                "unpack": best(lambda p=packed, t=t: unpack(p, t, ROW), 9)}
        theirs = {
            "pack_default": best(lambda f=floats, d=finn: finnpy_to_packed_bytearray(f, d), 3),
            "pack_reversed": best(lambda f=floats, d=finn: finnpy_to_packed_bytearray(f, d, True, True), 3),
            "unpack_reversed": best(lambda p=packed, d=finn, s=x.shape: packed_bytearray_to_finnpy(p, d, s, True, True),
                                    3)}
        result[name] = {
            **{f"{k}_MB_per_s": x.nbytes / s / 1e6 for k, s in ours.items()},
            **{f"{k}_elements_per_s": ELEMENTS / s for k, s in ours.items()},
            "finn_pack_elements_per_s": {k.split("_")[1]: ELEMENTS / theirs[k] for k in theirs if k[0] == "p"},
            "ratio_to_finn": theirs["pack_default"] / ours["pack"],
            "ratio_to_finn_reversed": theirs["pack_reversed"] / ours["pack"],
            "unpack_ratio_to_finn": theirs["unpack_reversed"] / ours["unpack"]}
    return result


def text(r: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = ["packing on one core (host code; FINN's finnpy_to_packed_bytearray on float32 in the same run)"]
    lines += [f"  {name:8} pack {v['pack_MB_per_s']:>8,.0f} MB/s, {v['ratio_to_finn']:.0f} times FINN's with default "
              f"arguments, {v['ratio_to_finn_reversed']:.1f} times with both flags; unpack "
              f"{v['unpack_MB_per_s']:,.0f} MB/s, {v['unpack_ratio_to_finn']:.0f} times" for name, v in r.items()]
    lines.append("  FINN's 1-bit path with both flags is numpy's packbits too, without a check of the values; without "
                 "the flags it takes its general path")
    return "\n".join(lines)
