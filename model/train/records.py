"""What a run writes beside the weights: metrics.csv, curves.png, sign flips and histograms of the latent weights."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from bhvit.model import weights
from bhvit.model.train.full_precision import binary_weights

COLUMNS = ("phase", "epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1", "ema_val_top1",
           "regularization", "flipped", "images_per_second", "data_share", "seconds")
EDGES = np.linspace(-2, 2, 81)  # of the weight histograms; what lies outside counts in the outermost bins


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    """A CSV file, replaced atomically; floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    weights.write_atomically(path, text.getvalue().encode())


def write_curves(path: Path, history: list[dict]) -> None:
    """Loss and top-1 over the epochs of all phases."""
    def draw(figure):
        axes = figure.subplots(1, 2)
        lines = [("loss", "train_loss", "--"), ("loss", "val_loss", "-"), ("top1", "train_top1", "--"),
                 ("top1", "val_top1", "-"), ("top1", "ema_val_top1", ":")]
        for kind, key, style in lines:
            points = [(at, row[key]) for at, row in enumerate(history) if not math.isnan(row[key])]
            if points:
                axes[int(kind == "top1")].plot(*zip(*points), style, label=key.rpartition("_")[0].replace("_", " "))
        for axis, unit in zip(axes, ("cross-entropy", "top-1 (%)")):
            for at in range(1, len(history)):
                if history[at]["phase"] != history[at - 1]["phase"]:
                    axis.axvline(at - 0.5, color="grey", linewidth=0.8)
                    axis.text(at, 0.5, history[at]["phase"], rotation=90, transform=axis.get_xaxis_transform(),
                              fontsize=7, color="grey")
            axis.set(xlabel="epoch (all phases)", ylabel=unit)
            axis.legend()
    _picture(path, draw, (9, 3.5))


class Flips:
    """Share of binary weights that change their sign from epoch to epoch (paper, figure 8), layer by layer.

    entries: phase -> {"layers", "sizes", "counts" (one list per epoch)}, which is also what a checkpoint holds.
    """

    def __init__(self, entries: dict | None = None) -> None:
        self.entries = entries or {}

    def add(self, phase: str, before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
        """Count one epoch; returns the share over all layers in percent (nan without binary layers)."""
        entry = self.entries.setdefault(phase, {"layers": list(after), "sizes": [v.numel() for v in after.values()],
                                                "counts": []})
        counts = [int((before[name].to(after[name].device) != after[name]).sum()) for name in after]
        entry["counts"].append(counts)
        return 100 * sum(counts) / sum(entry["sizes"]) if counts else math.nan

    def write(self, folder: Path) -> None:
        """flips.csv."""
        rows = [{"phase": phase, "epoch": epoch, "layer": layer, "weights": size, "flipped": count,
                 "percent": 100 * count / size}
                for phase, entry in self.entries.items() for epoch, counts in enumerate(entry["counts"], 1)
                for layer, size, count in zip(entry["layers"], entry["sizes"], counts)]
        write_table(folder / "flips.csv", ("phase", "epoch", "layer", "weights", "flipped", "percent"), rows)

    def draw(self, path: Path) -> None:
        """flips.png: the four layers of `shown`, over the epochs of all phases."""
        def paint(figure):
            axis, start = figure.subplots(), 0
            colours: dict[int, str] = {}
            for entry in self.entries.values():
                for at in shown(len(entry["layers"])):
                    share = [100 * counts[at] / entry["sizes"][at] for counts in entry["counts"]]
                    line, = axis.plot(range(start + 1, start + 1 + len(share)), share, color=colours.get(at),
                                      label=_short(entry["layers"][at]) if at not in colours else None)
                    colours[at] = line.get_color()
                start += len(entry["counts"])
                axis.axvline(start + 0.5, color="grey", linewidth=0.8)
            axis.set(xlabel="epoch (all phases)", ylabel="changed signs per epoch (%)", yscale="symlog")
            axis.set_ylim(bottom=0)
            if colours:
                axis.legend(fontsize=7)
        _picture(path, paint, (7, 4))


def write_histograms(folder: Path, net: nn.Module) -> None:
    """histograms.csv and histograms.png of the latent binary weights (paper, figure 7)."""
    latent = {name: w.detach().float().cpu().numpy() for name, w in binary_weights(net).items()}
    counts = {name: np.histogram(w.clip(EDGES[0], EDGES[-1]), EDGES)[0] for name, w in latent.items()}
    rows = [{"layer": name, "from": float(low), "to": float(high), "weights": int(number)}
            for name, numbers in counts.items() for low, high, number in zip(EDGES, EDGES[1:], numbers)]
    write_table(folder / "histograms.csv", ("layer", "from", "to", "weights"), rows)

    def draw(figure):
        names = list(latent)
        chosen = [names[at] for at in shown(len(names))]
        for axis, name in zip(np.atleast_1d(figure.subplots(1, max(1, len(chosen)))), chosen):
            axis.hist(latent[name].reshape(-1), 61)
            axis.set_title(_short(name), fontsize=7)
            axis.tick_params(labelsize=6)
    _picture(folder / "histograms.png", draw, (10, 3))


def shown(layers: int) -> list[int]:
    """Places of up to four layers spread over the network."""
    return sorted({round(part * (layers - 1)) for part in (0, 1 / 3, 2 / 3, 1)}) if layers else []


def _short(name: str) -> str:
    return name.replace("vit.encoder.", "").replace("attention.attention", "attention").removesuffix(".weight")


def _picture(path: Path, draw, size: tuple[float, float]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    weights.write_atomically(path, picture.getvalue())
