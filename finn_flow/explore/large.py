"""The record of a build of a large network: simulation, synthesis and estimates in one file, against the limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import estimate, ops
from ..config import BuildConfig
from ..devices import device_of
from .record import record as origin

#: largest share of a device's look-up tables and DSP slices, and of its block RAM and UltraRAM
LIMITS = {"lut": 0.75, "bram18": 0.85, "uram": 0.85, "dsp": 0.75}
#: cycles of the first frame
LATENCY = 2_000_000
_ESTIMATE = {"lut": "LUT", "bram18": "BRAM_18K", "uram": "URAM", "dsp": "DSP"}


def shares(counts: dict[str, float], part: str) -> dict[str, float | None]:
    """Share of the device by resource (None: the device has none)."""
    device = device_of(part)
    assert device is not None
    return {k: round(counts[k] / getattr(device, k), 4) if getattr(device, k) else None for k in LIMITS}


def estimated(folder: Path, config: BuildConfig) -> dict[str, Any]:
    """Resources by the formulas."""
    total = estimate.layer_resources(ops.load(folder / "stitched_ip" / "graph.onnx"), config.device)["total"]
    memory = json.loads((folder / "report" / "memory.json").read_text())
    counts = {k: round(total[v]) for k, v in _ESTIMATE.items()}
    return {**counts, "logic_lut": round(memory["logic_lut"]), "share": shares(counts, config.device),
            "memory_megabits": {k: round(v["bits"] / 1e6, 2) for k, v in memory["kinds"].items()},
            "source": "estimate"}


def synthesized(result: dict[str, Any], config: BuildConfig) -> dict[str, Any]:
    """Resources as Yosys counts them, see :func:`..synth_build.synthesize_build`."""
    t = result["total"]
    counts = {"lut": t["LUT"] + t["LUTRAM"] + t["SRL"], "bram18": t["BRAM_18K"], "uram": t["URAM"], "dsp": t["DSP"]}
    return {**counts, "ff": t["FF"], "share": shares(counts, config.device), "levels": max(result["levels"].values()),
            "long_paths": len(result["long_paths"]), "formula_errors": result["formula_errors"]["total"],
            **{k: result[k] for k in ("instances", "distinct_instances", "complete", "source", "note")}}


def verdict(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every limit with what was reached; resources as synthesized where that was done, else as estimated."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, limit: float, reached: float | None) -> None:
        found[name] = {"limit": limit, "reached": reached, "met": reached is not None and reached <= limit}

    cosim = record["cosim"]
    # few frames end before buffers are drained, and seem faster than those that go in, or than the slowest layer
    reached = [cosim[k] for k in ("mean_interval_cycles", "input_interval_cycles", "estimated_interval_cycles")]
    add("interval_cycles", record["target_cycles"], None if None in reached else max(reached))
    add("latency_cycles", LATENCY, cosim["latency_cycles"])
    used = record.get("synthesis") or record["estimate"]
    for k, limit in LIMITS.items():
        add(f"{k}_share", limit, used["share"][k] if used["share"][k] is not None else float(bool(used[k])))
    return found


def record(folder: Path, config: BuildConfig, *, command: str, images: str, cosim: dict[str, Any],
           stalled: dict[str, Any] | None, synthesis: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that is reported about a build.

    Args:
        folder: finished build. command, images: how it was made and from what. cosim, stalled:
        results of :func:`..cosim.cosim`. synthesis: that of :func:`..synth_build.synthesize_build`.
    """
    report = folder / "report"
    found: dict[str, Any] = {
        "network": config.model.stem, "weights": f"recipe weights, seed {config.weights.random} (not trained)"
        if config.weights.file is None else config.weights.file.name,
        "board": config.board, "device": config.device, "target_cycles": config.cycles, "clock_mhz": config.clock_mhz,
        "clock_source": "assumed", "images": images, **origin(config, command),
        "seconds_per_step": json.loads((report / "time_per_step.json").read_text()),
        "peak_megabytes_per_step": json.loads((report / "memory_per_step.json").read_text()),
        "cosim": cosim, "cosim_stalls": stalled, "estimate": estimated(folder, config),
        "fifo_sizing": json.loads((report / "fifo_sizing.json").read_text()).get("bhvit", {})}
    found["fifo_sizing"].pop("high_water", None)
    if synthesis is not None:
        found["synthesis"] = synthesized(synthesis, config)
    return {**found, "limits": verdict(found)}


def text(r: dict[str, Any]) -> str:
    """The record in a few lines."""
    names = {"interval_cycles": "interval", "latency_cycles": "latency of the first frame", "lut_share": "LUT",
             "bram18_share": "BRAM18", "uram_share": "UltraRAM", "dsp_share": "DSP"}
    level = "Yosys" if "synthesis" in r else "estimate"
    lines = [f"{r['network']} on {r['board']}: bit-exact {r['cosim']['bit_exact_images']}/{r['cosim']['images']}"
             + (f", with stalls {r['cosim_stalls']['bit_exact_images']}/{r['cosim_stalls']['images']}"
                if r["cosim_stalls"] else "") + " (RTL simulation)"]
    for k, v in r["limits"].items():
        if k.endswith("share"):
            value, limit, how = f"{100 * v['reached']:.1f} %", f"{100 * v['limit']:.0f} %", level
        else:
            value = "none" if v["reached"] is None else f"{v['reached']:,.0f} cycles"
            limit, how = f"{v['limit']:,}", "RTL simulation"
        lines.append(f"  {names[k]:28} {value:>18}, limit {limit:>9}: {'met' if v['met'] else 'NOT met'} ({how})")
    return "\n".join(lines)
