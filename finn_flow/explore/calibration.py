"""The formulas for logic against Yosys: instances of every kind of layer of a network in several foldings.

Memories that can be chosen are block RAM here, so that what is compared is the logic of the kernels; memories have a
comparison of their own (reports/memory_calibration.json).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from .. import graph, ops
from ..config import BuildConfig
from ..layers.base import Layer
from ..layers.registry import layers
from ..layers.storage import BLOCK
from ..memory_plan import TINY
from ..synth import synthesize_all
from .design import fold

#: estimated look-up tables of the instances that are synthesized: less says little, more takes long
LEAST, MOST = 30, 2600
#: instances of a kind: at these parts of the kind's instances, ordered by size
PLACES = (0.0, 0.5, 1.0)


def in_block_ram(layer: Layer) -> Layer:
    """The layer with every memory that can be chosen in block RAM."""
    chosen = [s.name for s in layer.stores() if not s.fixed and s.depth > TINY]
    return layer.model_copy(update={"styles": " ".join(f"{n}={BLOCK}" for n in chosen)})


def _key(layer: Layer) -> str:
    return json.dumps([layer.stem, {k: v for k, v in layer.model_dump().items() if k not in ("ID", "passes")}],
                      sort_keys=True)


def spread(model: ModelWrapper, config: BuildConfig, targets: Iterable[int]) -> list[Layer]:
    """Instances to synthesize: of every kind in the network small, middle and large ones, of the others the examples.

    Args:
        model: of :func:`.design.with_engines`. targets: intervals for which it is folded.
    """
    found: dict[str, dict[str, Layer]] = {}
    for target in targets:
        for n in fold(model, config, target).graph.node:
            layer = in_block_ram(ops.layer_from_node(n).model_copy(update={"styles": ""}))
            found.setdefault(graph.stem(n), {})[_key(layer)] = layer
    chosen: list[Layer] = []
    for stem, cls in layers().items():
        every = list(found.get(stem, {}).values()) or [in_block_ram(cls(**a)) for a in cls.examples()]
        every.sort(key=lambda x: x.resources().lut)
        some = [x for x in every if LEAST <= x.resources().lut <= MOST] or every[:1]
        chosen += [some[i] for i in sorted({round(p * (len(some) - 1)) for p in PLACES})]
    return chosen


def examples(count: int = 2) -> list[Layer]:
    """The first examples of every declaration, small shapes: instances that no formula was fitted to."""
    return [in_block_ram(cls(**a)) for cls in layers().values() for a in cls.examples()[:count]]


def same(data: dict[str, Any]) -> list[Layer]:
    """The instances of an earlier result: how changed formulas compare."""
    return [layers()[r["layer"]](**r["attributes"]) for r in data["rows"]]


def calibrate(instances: list[Layer], cache: Path, progress: Callable[[int, int, str], None] | None = None,
              ) -> dict[str, Any]:
    """Synthesize and compare.

    Returns:
        {"kinds": {stem: {"instances", "median", "least", "most": estimate / Yosys of LUT sites, "dsp_exact"}},
        "total": the same of all instances and "sum", the ratio of the sums, "rows", "seconds"}.
    """
    begun, rows = time.monotonic(), []
    found = synthesize_all([(layer, None) for layer in instances], cache=cache,
                           progress=progress and (lambda n, stem: progress(n, len(instances), stem)))
    for layer, got in zip(instances, found, strict=True):
        want = layer.resources()
        rows.append({"layer": layer.stem, "attributes": layer.model_dump(exclude_defaults=True),
                     "estimate": {"lut": round(want.lut, 1), "dsp": want.dsp},
                     "yosys": {"lut": got.lut_sites, "dsp": got.dsp, "lutram": got.lutram, "srl": got.srl},
                     "ratio": round(want.lut / max(got.lut_sites, 1), 4)})
    kinds = {s: _summary([r for r in rows if r["layer"] == s]) for s in sorted({r["layer"] for r in rows})}
    sums = [sum(r[k]["lut"] for r in rows) for k in ("estimate", "yosys")]
    return {"kinds": kinds, "total": {**_summary(rows), "sum": round(sums[0] / sums[1], 4)}, "rows": rows,
            "seconds": round(time.monotonic() - begun, 1)}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    ratios = [r["ratio"] for r in rows]
    return {"instances": len(rows), "median": round(statistics.median(ratios), 4), "least": min(ratios),
            "most": max(ratios), "dsp_exact": sum(r["estimate"]["dsp"] == r["yosys"]["dsp"] for r in rows)}


def markdown(data: dict[str, Any]) -> str:
    """The table by kind of layer."""
    before = data.get("before") or {}
    lines = ["| layer | instances | estimate / Yosys, median | least | most |" + " median before |" * bool(before)
             + " DSPs exact |", "|---|---:|---:|---:|---:|---:|" + "---:|" * bool(before)]
    for name, k in {**data["kinds"], "all": data["total"]}.items():
        old = f"{before[name]['median']:.2f} | " if name in before else " | " * bool(before)
        lines.append(f"| {name} | {k['instances']} | {k['median']:.2f} | {k['least']:.2f} | {k['most']:.2f} | {old}"
                     f"{k['dsp_exact']} of {k['instances']} |")
    sums = f"Sum of all instances: {data['total']['sum']:.2f}"
    if before:
        sums += f", before {before['all']['sum']:.2f}"
    return "\n".join([*lines, "", f"{sums}. Evidence: {data['evidence']}."])
