"""Ablations of the paper (tables 5, 6 and 7): the same training with one thing changed per row.

A row is a set of overrides of the model file and of the training options. A row whose model switch a network does not
have is listed as not available, with the reason; the others run one after the other, each in a folder of its own, and
continue after an interruption.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.config import ConfigError, ModelConfig, parse_config
from bhvit.model.train.options import TrainConfig
from bhvit.model.train.run import train


@dataclass(frozen=True)
class Row:
    """name; model, train: overrides; paper: top-1 in percent there (BHViT-small), None where it states none."""

    name: str
    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    paper: float | None = None


FDL = {"downsample": "fp"}
NO_RL = {"regularization": 0.0}
RL = {"regularization": 0.1}

def _dropped(*steps: tuple) -> tuple[Row, ...]:
    """Rows that each keep the overrides of those before: (name, model, train, paper)."""
    rows, model, options = [], {}, {}
    for name, more_model, more_options, paper in steps:
        model, options = model | more_model, options | more_options
        rows.append(Row(name, model, options, paper))
    return tuple(rows)


TABLES: dict[str, tuple[str, tuple[Row, ...]]] = {
    # the paper's value of the second row is not legible in the text at hand
    "parts": ("Table 5: parts of the network, dropped one after the other", _dropped(
        ("everything", {"downsample": "fp"}, {"regularization": 0.1}, 95.0),
        ("without FDL", {"downsample": "binary"}, {}, None),
        ("without RL", {}, {"regularization": 0.0}, 90.7),
        ("without QD", {"attention": "binary"}, {}, 88.9),
        ("without MSMHA", {"merge_tokens": "off"}, {}, 86.7),
        ("without MSGDC", {"dilations": [1]}, {}, 85.6),
        ("without shift", {"shift": "off"}, {}, 83.2))),
    "lambda": ("Table 6: weight of the distillation", tuple(
        Row(f"lambda {value}", train={"distillation": value}, paper=top1)
        for value, top1 in zip((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
                               (93.6, 93.8, 94.1, 94.2, 93.9, 94.5, 94.8, 95.0, 94.7)))),
    "mixer": ("Table 7: token mixers (there: ImageNet-1K, full-precision down-sampling)", (
        Row("hybrid", {"downsample": "fp"}, paper=70.1),
        Row("MSMHA in all stages", {"downsample": "fp", "mixer": "attention"}, paper=68.8),
        Row("MSGDC in all stages", {"downsample": "fp", "mixer": "convolution"}, paper=67.2))),
}


def ablate(table: str, cfg: ModelConfig, data_spec: str, out: str | Path, options: TrainConfig | None = None, *,
           quiet: bool | None = None, run: Callable = train) -> dict:
    """Train every row of a table and write `<table>.json` and `<table>.md` into `out`.

    table: one of TABLES; options: the schedule of every row; run: what trains (see `train`). Returns what the JSON
    holds: {"table", "title", "model", "data", "rows", "options"}, a row with its overrides, `top1` (test, percent; null
    where it is not available, then `reason`) and `paper`. Raises UserError (an unknown table, no teacher for lambda).
    """
    if table not in TABLES:
        raise UserError("There is no such ablation.", f"table {table}", do=f"take one of {', '.join(TABLES)}")
    title, rows = TABLES[table]
    options, out = options or TrainConfig(deploy=False), Path(out)
    if table == "lambda" and options.teacher is None:
        raise UserError("The ablation of lambda needs a teacher.", "table lambda",
                        "lambda weighs the distillation", "give --set teacher=..., see docs/training.md")
    plans = [_options(options, row) for row in rows]  # what cannot be is refused before hours of training
    result = {"table": table, "title": title, "model": cfg.name, "data": data_spec, "rows": [],
              "options": options.model_dump()}
    for number, row in enumerate(rows):
        entry = {"name": row.name, "model": row.model, "train": row.train, "top1": None, "val_top1": None,
                 "paper": row.paper}
        result["rows"].append(entry)
        network, reason = _variant(cfg, row, options)
        if network is None:
            entry["reason"] = reason
            continue
        metrics = run(network, data_spec, out / f"{number}_{row.name.replace(' ', '_')}",
                      plans[number], quiet=quiet)
        if metrics:  # empty in further processes
            entry |= {"top1": metrics.get("test_top1"), "val_top1": metrics["val_top1"]}
            if entry["top1"] is None:
                entry["reason"] = "test=false"
            _write(out, result)
    _write(out, result)
    return result


def _options(options: TrainConfig, row: Row) -> TrainConfig:
    try:
        return TrainConfig(**options.model_dump() | row.train)
    except pydantic.ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError("A row of the table contradicts the options.", f"row {row.name}: {row.train}", why,
                        "change the options given with --set") from error


def _variant(cfg: ModelConfig, row: Row, options: TrainConfig) -> tuple[ModelConfig | None, str | None]:
    missing = row.model.keys() - ModelConfig.model_fields.keys()
    if missing:
        return None, f"the model file has no switch {', '.join(sorted(missing))}"
    try:
        network = parse_config(cfg.model_dump(mode="json") | row.model, row.name)
        if options.deploy:
            network.deployable()
    except ConfigError as error:
        return None, error.why or error.what
    return network, None


def _write(out: Path, result: dict) -> None:
    weights.write_atomically(out / f"{result['table']}.json", (json.dumps(result, indent=2) + "\n").encode())
    weights.write_atomically(out / f"{result['table']}.md", markdown(result).encode())


def markdown(result: dict) -> str:
    """The result as a table, with the schedule that it was made with."""
    options = result["options"]
    schedule = (f"{options['epochs']} epochs ({options['schedule']}), batch {options['batch_size']}, seed "
                f"{options['seed']}, {'fixed point' if options['deploy'] else 'float phase'}")
    lines = [f"# {result['title']}", "",
             f"Network {result['model']}, data {result['data']}, {schedule}. The paper's figures are those of "
             "BHViT-small after its full schedule: compare the order of the rows, not the values.", "",
             "| row | test top-1 (%) | paper (%) |", "|---|---:|---:|"]
    for row in result["rows"]:
        top1 = f"{row['top1']:.2f}" if row["top1"] is not None else f"not available: {row.get('reason', 'not run')}"
        lines.append(f"| {row['name']} | {top1} | {row['paper'] if row['paper'] is not None else ''} |")
    return "\n".join(lines) + "\n"
