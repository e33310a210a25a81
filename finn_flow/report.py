"""Reports of a build: one JSON document, a terminal table and a self-contained HTML page.

Every figure carries its evidence level: estimate (formulas), RTL simulation (Verilator), Yosys (synthesis).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

#: layers that connect others
PLUMBING = ("fifo", "duplicate", "width_converter")
ESTIMATE, SIMULATED, SYNTHESIZED = "estimate", "RTL simulation", "Yosys"


def _load(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


@dataclass
class Layer:
    """One row of the layer table; None where a figure does not exist."""

    name: str
    op: str
    cycles: int | None
    simulated: int | None
    lut: float | None
    bram18: float | None
    uram: float | None
    dsp: float | None


def collect(build: Path) -> dict[str, Any]:
    """Everything known about a build directory as one dictionary.

    Raises:
        UserError: the folder holds no build reports.
    """
    report = build / "report"
    cycles = _load(report / "estimate_layer_cycles.json")
    if cycles is None:
        raise UserError("There is nothing to report.", where=str(build),
                        why="report/estimate_layer_cycles.json is missing",
                        do="run `bhvit build` into this folder first")
    resources = _load(report / "estimate_layer_resources.json") or {}
    simulated = _load(report / "rtlsim_layer_cycles.json") or {}
    nodes = (_load(build / "stitched_ip" / "design.json") or {}).get("nodes", {})
    layers = []
    for name, c in cycles.items():
        if name in ("source", "total"):
            continue
        r = resources.get(name, {})
        layers.append(vars(Layer(name, nodes.get(name, {}).get("stem", ""), c, simulated.get(name), r.get("LUT"),
                                 r.get("BRAM_18K"), r.get("URAM"), r.get("DSP"))))
    cosims = {p.stem: _load(p) for p in sorted(report.glob("cosim*.json"))}
    return {
        "build": build.name,
        "config": _load(build / "build_config.json") or {},
        "performance": _load(report / "estimate_network_performance.json") or {},
        "total": resources.get("total", {}),
        "layers": layers,
        "cosim": cosims,
        "synth": _load(report / "synth.json"),
        "bitstream": {p.stem: _load(p) for p in sorted(report.glob("bitstream_*.json"))},
        "fifo": _load(report / "fifo_sizing.json"),
        "memory": _load(report / "memory.json"),
        "time_per_step": _load(report / "time_per_step.json") or _load(build / "time_per_step.json") or {},
        "provenance": _load(report / "provenance.json") or {},
    }


def _number(v: Any) -> str:
    if v is None:
        return ""
    if isinstance(v, float) and not v.is_integer():
        return f"{v:,.1f}"
    return f"{int(v):,}" if isinstance(v, int | float) else str(v)


def _bars(rows: list[tuple[str, float, float | None]], unit: str, limit: float | None) -> str:
    """Horizontal bars as SVG: (label, value, second value or None)."""
    width, left, right, step = 1000, 320, 90, 17
    top = max([v for _, v, _ in rows] + [w for _, _, w in rows if w] + [limit or 0, 1])
    scale = (width - left - right) / top
    out = [f'<svg viewBox="0 0 {width} {len(rows) * step + 24}" width="100%" role="img">']
    for i, (label, v, w) in enumerate(rows):
        y = i * step + 4
        out.append(f'<text x="{left - 6}" y="{y + 10}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{max(v * scale, 0.5):.1f}" height="12" fill="#0072b2"/>')
        if w is not None:
            out.append(f'<rect x="{left}" y="{y + 8}" width="{max(w * scale, 0.5):.1f}" height="4" fill="#e69f00"/>')
        out.append(f'<text x="{left + v * scale + 5:.1f}" y="{y + 10}">{_number(v)}</text>')
    if limit:
        x = left + limit * scale
        out.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{len(rows) * step + 4}" stroke="#d55e00" '
                   'stroke-dasharray="4 3"/>')
    out.append(f'<text x="{left}" y="{len(rows) * step + 18}">{escape(unit)}</text></svg>')
    return "".join(out)


def _charts(data: dict[str, Any]) -> list[dict[str, str]]:
    worth = sorted((x for x in data["layers"] if x["cycles"] and x["op"] not in PLUMBING),
                   key=lambda x: -x["cycles"])[:40]
    if not worth:
        return []
    names = {x["name"] for x in worth}
    ordered = [x for x in data["layers"] if x["name"] in names]
    charts = [{
        "title": "Cycles per frame and layer",
        "note": "Blue: estimate. Orange: interval of the same instance in RTL simulation, where measured. "
                "Dashed: the bottleneck. Only the 40 slowest layers.",
        "svg": _bars([(x["name"], x["cycles"], x["simulated"]) for x in ordered], "clock cycles per frame",
                     max(x["cycles"] for x in worth))}]
    luts: dict[str, float] = {}
    for x in data["layers"]:
        if x["lut"]:
            luts[x["op"]] = luts.get(x["op"], 0) + x["lut"]
    if luts:
        charts.append({"title": "LUTs by kind of layer", "note": "Evidence: estimate from formulas.",
                       "svg": _bars([(k, luts[k], None) for k in sorted(luts, key=lambda k: -luts[k])], "LUTs", None)})
    return charts


def _cards(data: dict[str, Any]) -> list[dict[str, str]]:
    cards = []

    def card(label: str, value: Any, evidence: str, tone: str = "") -> None:
        if value not in (None, ""):
            cards.append({"label": label, "value": value, "evidence": evidence, "tone": tone})

    main = data["cosim"].get("cosim")
    if main:
        ok = main["ok"]
        card("bit-exact images", f"{main['bit_exact_images']}/{main['images']}", SIMULATED, "good" if ok else "bad")
        if main.get("top1_rtl") is not None:
            card("top-1 of the RTL", f"{main['top1_rtl']:.2f} %", SIMULATED)
        card("interval, cycles", _number(main.get("interval_cycles")), SIMULATED)
        card("latency, cycles", _number(main.get("latency_cycles")), SIMULATED)
        if main.get("fps"):
            card(f"frames/s at {_number(main['clock_mhz'])} MHz ({main['clock_source']})", _number(round(main["fps"])),
                 SIMULATED)
    perf = data["performance"]
    if perf.get("estimated_throughput_fps"):
        card("frames/s", _number(round(perf["estimated_throughput_fps"])), ESTIMATE)
    for key, label in (("LUT", "LUTs"), ("BRAM_18K", "BRAM18"), ("URAM", "URAM"), ("DSP", "DSPs")):
        card(label, _number(data["total"].get(key)), ESTIMATE)
    if data["synth"]:
        total = data["synth"].get("total", {})
        sites = sum(total.get(key, 0) for key in ("LUT", "LUTRAM", "SRL"))
        evidence = SYNTHESIZED if data["synth"].get("complete", True) else f"{SYNTHESIZED}, only some kinds of layers"
        for label, value in (("LUTs", sites), ("BRAM18", total.get("BRAM_18K")), ("DSPs", total.get("DSP"))):
            card(label, _number(value), evidence)
    for b in data["bitstream"].values():
        where = f"{b['source']}, {b['board']}"
        card(f"slack in ns at {_number(b['clock_mhz'])} MHz", f"{b['wns_ns']:+.3f}", where,
             "good" if b["timing_met"] else "bad")
        for key, u in b["utilization"].items():
            card(key, f"{_number(u['used'])} ({u['percent']:.0f} %)", where)
        if b.get("power"):
            card("power", f"{b['power']['total_w']:.1f} W", f"estimate of the tool, {b['board']}")
    return cards


def _share(total: dict[str, Any], device: dict[str, Any] | None, key: str) -> str:
    have = (device or {}).get(key)
    if have:
        return f"{100 * total[key] / have:.1f} %"
    return "the device has none" if device and total[key] else ""


def _memory(memory: dict[str, Any] | None) -> dict[str, Any] | None:
    """Tables of the memory plan: by style, by kind, by layer, and every memory, the largest first."""
    if memory is None:
        return None
    columns = ("bits", "bram18", "uram", "lut")

    def rows(part: dict[str, dict[str, float]]) -> list[list[str]]:
        named = {"const": "constants", "buffer": "buffers"}
        return [[named.get(k, k), *(_number(v[c]) for c in columns)]
                for k, v in sorted(part.items(), key=lambda x: -x[1]["bits"])]

    total, device = memory["total"], memory["device"]
    every = sorted(memory["memories"], key=lambda m: -m["bits"])
    return {
        "note": f"Plan: {memory['plan']}; at most {100 * memory['limit']:.0f} % of block RAM and UltraRAM and "
                f"{100 * memory['lut_limit']:.0f} % of the look-up tables, logic included, may be used"
                + ("" if memory["fits"] is not False else ": this design needs more") + ". Evidence: estimate.",
        "fits": memory["fits"] is not False,
        "head": ["", "bits", "BRAM18", "URAM", "LUT"],
        "sums": [*rows(memory["styles"]), *rows(memory["kinds"]), ["total", *(_number(total[c]) for c in columns)],
                 ["share of the device", "", *(_share(total, device, c) for c in columns[1:])]],
        "layers": rows(memory["layers"]),
        "every_head": ["node", "memory", "kind", "width", "depth", "copies", "bits", "style", "BRAM18", "URAM", "LUT"],
        "every": [[m["node"], m["memory"], m["kind"], *(_number(m[k]) for k in ("width", "depth", "copies", "bits")),
                   m["style"] if m["planned"] else f"{m['style']} (tool)", *(_number(m[k]) for k in columns[1:])]
                  for m in every]}


def _stalls(s: dict[str, Any] | None) -> str:
    if s is None:
        return "none"
    return f"seed {s['seed']}: input {s['input_percent']} %, output {s['output_percent']} %"


def write_html(data: dict[str, Any], path: Path) -> None:
    """Self-contained page: no scripts, no external resources."""
    import jinja2

    env = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = env.from_string(Path(__file__).with_name("report.html.j2").read_text())
    slowest = max((x["cycles"] or 0 for x in data["layers"]), default=0)

    def percent(v: float | None) -> str:
        return "" if v is None else f"{v:.2f} %"

    verification = [{
        "name": k, "stalls": _stalls(v["stalls"]), "images": v["images"],
        "exact": f"{v['bit_exact_images']}/{v['images']}", "distinct": v["distinct_outputs"],
        "top1_torch": percent(v["top1_torch"]), "top1_rtl": percent(v["top1_rtl"])} for k, v in data["cosim"].items()]
    steps = [(k, f"{v['seconds'] if isinstance(v, dict) else v:.1f}") for k, v in data["time_per_step"].items()]
    config = data["config"]
    path.write_text(template.render(
        title=f"BHViT accelerator: {data['build']}",
        subtitle=f"backend {config.get('backend', 'open')}, clock {config.get('clock_mhz', '?')} MHz "
                 "(assumed until placed and routed)",
        cards=_cards(data), verification=verification, charts=_charts(data), steps=steps,
        memory=_memory(data["memory"]),
        layer_note="Cycles: estimate, then RTL simulation where measured. Resources: estimate.",
        layer_head=["layer", "kind", "cycles (est.)", "cycles (sim.)", "LUT", "BRAM18", "URAM", "DSP"],
        layer_rows=[{"top": x["cycles"] == slowest, "cells": [
            x["name"], x["op"], *(_number(x[k]) for k in ("cycles", "simulated", "lut", "bram18", "uram", "dsp"))]}
            for x in data["layers"]],
        footer="; ".join(f"{k}: {v}" for k, v in data["provenance"].items()) or "no provenance recorded"))


def table(data: dict[str, Any]) -> Any:
    """The layer table as a rich renderable for a terminal."""
    from rich.table import Table

    t = Table(title=f"{data['build']}: layers in dataflow order (FIFOs and forks only in the total)",
              header_style="bold")
    t.add_column("layer", no_wrap=True)
    t.add_column("kind", no_wrap=True)
    for h in ("cycles est.", "cycles sim.", "LUT", "BRAM18", "URAM", "DSP"):
        t.add_column(h, justify="right")
    slowest = max((x["cycles"] or 0 for x in data["layers"]), default=0)
    for x in data["layers"]:
        if x["op"] in PLUMBING:
            continue
        t.add_row(x["name"], x["op"], *(_number(x[k]) for k in ("cycles", "simulated", "lut", "bram18", "uram", "dsp")),
                  style="bold red" if x["cycles"] == slowest else None)
    total = data["total"]
    t.add_section()
    t.add_row("total (estimate, all layers)", "", _number(slowest), "",
              *(_number(total.get(k)) for k in ("LUT", "BRAM_18K", "URAM", "DSP")))
    return t


def write(build: Path) -> tuple[dict[str, Any], Path]:
    """Collect a build's figures and write report/report.json and report/report.html; returns (data, HTML path)."""
    data = collect(build)
    page = build / "report" / "report.html"
    (build / "report" / "report.json").write_text(json.dumps(data, indent=2) + "\n")
    write_html(data, page)
    return data, page
