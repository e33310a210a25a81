"""The report of `deploy` for people: terminal tables and a Markdown page, from its dictionary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bhvit.model import weights

LAYER_HEAD = ("layer", "signs forced %", "in block %", "free %", "levels forced %", "in block %", "free %",
              "output error %", "largest saturation %")
DECISION_HEAD = ("decision", "kind", "count", "differ", "forced %", "in block %", "free %", "within 1/2 LSB %")
QUANTIZER_HEAD = ("quantizer", "bits", "exp", "saturated %", "range used %", "error %", "SQNR dB", "error to float %")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 2) -> str:
    return _number(None if value is None else 100 * value, digits)


def layer_rows(report: dict[str, Any]) -> list[list[str]]:
    """One row a layer, see LAYER_HEAD."""
    found = []
    for r in report["layers"]:
        shares = [_number(r[kind][mode] if r[kind] else None) for kind in ("signs", "levels")
                  for mode in ("forced", "block", "free")]
        found.append([r["layer"], *shares, _percent(r["float_error"]), _number(r["saturation"], 3)])
    return found


def decision_rows(report: dict[str, Any]) -> list[list[str]]:
    """One row a decision, see DECISION_HEAD."""
    return [[d["name"], d["kind"], f"{d['count']:,}", f"{d['wrong']:,}", _number(d["forced"], 3),
             _number(d["block"], 3), _number(d["free"], 3), _number(d.get("within_half_lsb"))]
            for d in report["decisions"]]


def quantizer_rows(report: dict[str, Any]) -> list[list[str]]:
    """One row a quantizer, see QUANTIZER_HEAD."""
    return [[q["name"], str(q["bits"]), str(q["exponent"]), _number(q["saturation"], 3), _number(q["range_used"], 0),
             _percent(q["relative_error"]), _number(q["sqnr_db"], 1), _percent(q["float_error"])]
            for q in report["quantizers"]]


def first_rows(report: dict[str, Any]) -> list[list[str]]:
    """Decision, percent of map positions at which it is the first of its layer to differ."""
    return [[name, _number(share)] for r in report["layers"] for name, share in r["first_difference"].items()]


def summary(report: dict[str, Any]) -> list[str]:
    """Sentences: outputs, decisions, what is below the requirement, what saturates."""
    text = (f"first class unchanged for {report['agreement']:.2f} % of {report['images']} images of {report['data']}, "
            f"logit error {100 * report['logit_error']:.1f} % of their spread")
    if report["top1"] is not None:
        text += f", top-1 {report['float_top1']:.2f} % -> {report['top1']:.2f} %"
    lines = [text]
    for kind in ("signs", "levels"):
        t = report[kind]
        if t is None:  # a network without attention
            continue
        lines.append(f"{kind}: {t['forced']:.2f} % of {t['count']:,} as in the float network when each layer sees its "
                     f"tensors; least {t['worst_forced']:.2f} % at {t['worst']}")
    below = report["below"]
    lines.append(f"below {report['required']:g} %: " + (", ".join(below) if below else "none"))
    explained = [q for q in report["quantizers"] if q["explanation"]]
    lines += [f"{q['name']}: {q['explanation']}" for q in explained]
    if not explained:
        lines.append("no quantizer has more than 1 % of its values at an end of its range")
    if report["report_images_used_for_calibration"]:
        lines.append("these images were also used for calibration: give other data to see what is lost on new ones")
    return lines


def tables(report: dict[str, Any]) -> list[Any]:
    """Rich renderables for a terminal: layers, and decisions below the requirement."""
    from rich.table import Table

    def table(title: str, head: tuple[str, ...], rows: list[list[str]]) -> Table:
        t = Table(title=title, header_style="bold")
        for i, h in enumerate(head):
            t.add_column(h, justify="right" if i else "left", no_wrap=not i)
        for row in rows:
            t.add_row(*row)
        return t

    title = (f"{report['model']}: deployed against float on {report['report_images']} images "
             f"(forced: every layer sees the float network's tensors)")
    found = [table(title, LAYER_HEAD, layer_rows(report))]
    low = [r for r in decision_rows(report) if r[0] in report["below"]]
    if low:
        found.append(table(f"decisions below {report['required']:g} %", DECISION_HEAD, low))
    return found


def markdown(report: dict[str, Any]) -> str:
    """The whole report as a Markdown page."""
    def table(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
        lines = [" | ".join(head), "|".join(["---", *["---:"] * (len(head) - 1)]), *(" | ".join(r) for r in rows)]
        return [f"| {x} |" if i != 1 else f"|{x}|" for i, x in enumerate(lines)] + [""]

    p = report["provenance"]
    lines = [f"# Deployment of {report['model']}", "", *(f"* {x}" for x in summary(report)), "",
             f"{report['calibration_images']} calibration images; the tables are of {report['report_images']} images "
             f"of {report['data']}. {', '.join(f'{k} {v}' for k, v in p.items())}.", "",
             "## Layers", "", *table(LAYER_HEAD, layer_rows(report)),
             "## Decisions", "", *table(DECISION_HEAD, decision_rows(report)),
             "## Where a layer's decisions first differ", "",
             "Only the layer's input is the float network's.", "",
             *table(("decision", "map positions %"), first_rows(report)),
             "## Quantizers", "", *table(QUANTIZER_HEAD, quantizer_rows(report))]
    return "\n".join(lines)


def write(report: dict[str, Any], path: Path) -> list[Path]:
    """Writes the JSON file (one row of a table a line) and the Markdown page of the same name. Returns both paths.
    Raises UserError."""
    page = path.with_suffix(".md")
    parts = []
    for key, value in report.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
        parts.append(f"  {json.dumps(key)}: {text}")
    weights.write_atomically(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())
    weights.write_atomically(page, markdown(report).encode())
    return [path, page]
