"""Training in phases: float batch norm first, then the frozen fixed-point network.

Phase one trains latent weights and float batch norm. Its best network on the validation images is frozen: every
constant becomes fixed point, with scales from training images. Phase two fine-tunes that network, whose
evaluation is the hardware's arithmetic. The best network on the validation images is the result; the test images
are looked at once, at the end. Before phase one there may be a stage with binary activations only; a
full-precision twin has one phase and is never frozen.

Checkpoints are replaced atomically, after every epoch and by time inside epochs. Order of images, augmentation and
learning rate depend only on the seed, the phase, the epoch and the step, so a run that is killed and continued ends
with the same numbers (same machine, same number of threads) as one that was not. Under `torchrun` the processes share
each batch and average their gradients; batch-norm statistics are averaged before each validation and checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bhvit.errors import CheckFailed, UserError
from bhvit.memory import keep_freed_memory
from bhvit.model import data, weights
from bhvit.model.evaluate import as_input, evaluate, predict
from bhvit.model.train import checkpoint, records
from bhvit.model.train.batches import Batches
from bhvit.model.train.full_precision import relax, restore
from bhvit.model.train.loop import Loop
from bhvit.model.train.options import TrainConfig
from bhvit.model.train.processes import Processes
from bhvit.model.train.teacher import load_teacher


def train(cfg, data_spec: str, out_dir: str | Path, options: TrainConfig | None = None, *, resume: bool = True,
          quiet: bool | None = None, start: dict | None = None, build: Callable | None = None) -> dict:
    """Train a network to a deployed weight file.

    cfg: ModelConfig; data_spec: a data SPEC without split (its train, val and test images are used); out_dir: gets
    `<name>.safetensors` (deployed), `<name>_float.safetensors` (or only `<name>_full.safetensors` with
    full_precision), metrics.csv, metrics.json, curves.png, flips.csv, flips.png, histograms.csv, histograms.png,
    checkpoint.pt and, with schedule wsd, stable.pt; resume: continue from a checkpoint of the same configuration, data
    and options, if there is one. start: float parameters to begin with, before those of `options.start`. build: makes
    the network from cfg (default BHViT; it must offer what BHViT offers). Returns what metrics.json holds, in further
    processes of torchrun nothing.
    Raises UserError for unusable data, teachers or checkpoints, CheckFailed if the saved file does not give the
    trained network back.
    """
    options = options or TrainConfig()
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    run = Run(cfg, data_spec, Path(out_dir), options, quiet, start, build)
    try:
        return run.execute(resume)
    finally:
        run.close()


class Run:
    """One training run: data, network, checkpoint, processes."""

    def __init__(self, cfg, data_spec, out_dir, options, quiet, start, build):
        if build is None:
            build = network_of(options)
        self.cfg, self.out_dir, self.options, self.start, self.build = cfg, out_dir, options, start, build
        if start is None and options.start:
            self.start = weights.load(options.start, cfg, kind_of(options))
        self.spec = data.parse(data_spec)
        self.identity = checkpoint.identity(self.spec, options, self.start)
        self.sets = load_sets(self.spec, cfg, options.crop == "resized")
        if len(self.sets["train"]) < options.batch_size:
            raise UserError("There are fewer training images than a batch holds.", self.sets["train"].name,
                            f"{len(self.sets['train'])} images, batch_size {options.batch_size}")
        self.processes = Processes(options.device)
        world = self.processes.world
        if options.batch_size % world or options.batch_size // world < 2:
            raise UserError("The batch does not divide among the processes.", "batch_size",
                            f"{options.batch_size} images, {world} processes")
        self.quiet = quiet if self.processes.rank == 0 else True
        photographs = self.spec.kind in ("cifar10", "imagefolder")
        flip = photographs if options.flip is None else options.flip
        self.batches = Batches(self.sets["train"], options, flip, cfg.classes, self.processes.device,
                               self.processes.rank, world)
        self.teacher = None
        if options.teacher:
            self.teacher = load_teacher(options.teacher, cfg.classes, cfg.image_channels, len(self.sets["train"]),
                                        self.processes.device)
        self.history, self.flips, self.cpu_seconds, self.wall_seconds = [], records.Flips(), 0.0, 0.0
        self._clock, self._saved = (time.process_time(), time.monotonic()), time.monotonic()

    def close(self) -> None:
        """Leave the process group and end the decoding threads."""
        self.batches.close()
        self.processes.close()

    # --- the phases ---

    def execute(self, resume: bool) -> dict:
        """All phases, from the checkpoint if there is one; see `train`."""
        torch.manual_seed(self.options.seed)
        saved = checkpoint.find(self.out_dir, self.cfg, self.identity, self.options) if resume else None
        plan = self.options.phases()
        phases = {name: saved["phases"].get(name) if saved else None for name in plan}
        if saved:
            self.history, self.cpu_seconds, self.wall_seconds = saved["history"], saved["cpu"], saved["wall"]
            self.flips = records.Flips(saved["flips"])
        net = self.build(self.cfg).to(self.processes.device)
        if self.start is not None:
            net.load_state_dict(self.start)
        for name, epochs in plan.items():
            if name == "fixed":
                if self.processes.rank == 0 and phases["fixed"] is None:
                    self._save_float(phases["float"])  # before the freeze, which may fail
                self._freeze(net)
            elif name != "float":
                relax(net, activations=name == "full")
            best = Loop(self, name, net, epochs).train(phases)
            restore(net)
            self.load(net, best)
        return self._finish(net, phases) if self.processes.rank == 0 else {}

    def _freeze(self, net: nn.Module) -> None:
        from bhvit.model.deploy import default_images

        chosen = np.random.RandomState(self.options.seed).permutation(len(self.sets["train"]))
        chosen = np.sort(chosen[:self.options.calibration_images or default_images(self.cfg.image_size)])
        if self.processes.rank == 0:
            records.write_histograms(self.out_dir, net)  # latent weights end here
        net.cpu().eval()  # the CPU's float32 defines the scales, whatever trains
        net.freeze(as_input(self.sets["train"].images[chosen]))
        net.to(self.processes.device)

    def load(self, net: nn.Module, state: dict) -> None:
        """Put a state into a network, on the run's device."""
        net.load_state_dict(state)
        net.to(self.processes.device)  # quantizers that the state has set up anew

    def _finish(self, net: nn.Module, phases: dict) -> dict:
        """Save the network, read it back, look at the test images, write the metrics."""
        net = net.cpu().eval()
        last = phases[list(phases)[-1]]
        metrics = {"config": self.cfg.name, "config_hash": weights.config_hash(self.cfg),
                   "data": str(self.spec).rpartition("@")[0], "seed": self.options.seed, "phase": list(phases)[-1],
                   "val_top1": last["best_top1"], "epoch": last["best_epoch"], "averaged": last["best_ema"]}
        if "fixed" in phases:
            path = self._finish_deployed(net, phases, metrics)
        else:
            kind = kind_of(self.options)
            records.write_histograms(self.out_dir, net)
            if kind == "full":
                relax(net)
            self._test(net, metrics)
            path = self.out_dir / f"{self.cfg.name}_{kind}.safetensors"
            weights.save(path, cpu_state(last["best"]), self.cfg, metrics, kind=kind)
        self._tick()
        metrics |= {"weights": path.name, "weights_bytes": path.stat().st_size,
                    "images": {split: len(images) for split, images in self.sets.items()},
                    "cpu_seconds": round(self.cpu_seconds, 1), "wall_seconds": round(self.wall_seconds, 1),
                    "versions": _versions(), "options": self.options.model_dump()}
        weights.write_atomically(self.out_dir / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        records.write_curves(self.out_dir / "curves.png", self.history)
        self.flips.draw(self.out_dir / "flips.png")
        return metrics

    def _finish_deployed(self, net: nn.Module, phases: dict, metrics: dict) -> Path:
        path = self.out_dir / f"{self.cfg.name}.safetensors"
        metrics |= {"float_val_top1": phases["float"]["best_top1"], "float_epoch": phases["float"]["best_epoch"],
                    "finetune_epoch": phases["fixed"]["best_epoch"]}
        state = net.deployed_state()
        weights.save(path, state, self.cfg, metrics)
        again = self.build.from_deployed(self.cfg, weights.load(path, self.cfg))
        sample = self.sets["val"].images[:16]
        if not np.array_equal(predict(net, sample, quiet=True), predict(again, sample, quiet=True)):
            raise CheckFailed("The saved weights do not give the trained network back.", path)
        self._test(again, metrics)
        if self.options.test:
            single = self.build(self.cfg)
            single.load_state_dict(cpu_state(phases["float"]["best"]))
            metrics["float_test_top1"] = evaluate(single, self.sets["test"], quiet=True)["top1"]
        weights.save(path, state, self.cfg, metrics)
        self._save_float(phases["float"], metrics)
        return path

    def _save_float(self, entry: dict, metrics: dict | None = None) -> None:
        metrics = metrics or {"val_top1": entry["best_top1"], "epoch": entry["best_epoch"]}
        weights.save(self.out_dir / f"{self.cfg.name}_float.safetensors", cpu_state(entry["best"]), self.cfg, metrics,
                     kind="float")

    def _test(self, net: nn.Module, metrics: dict) -> None:
        if not self.options.test:
            return
        test = evaluate(net, self.sets["test"], quiet=True)
        metrics |= {"test_top1": test["top1"], "test_top5": test["top5"], "test_images": test["images"],
                    "distinct_outputs": test["distinct_outputs"]}

    # --- checkpoints and records, called by the loop ---

    def due(self, share: float = 1.0) -> bool:
        """Whether the last checkpoint is so old that another one is due (in the first process). share: of the time
        between two."""
        return self.processes.rank == 0 and time.monotonic() - self._saved >= share * self.options.checkpoint_seconds

    def save(self, phases: dict) -> None:
        """Write the checkpoint and the tables."""
        self._tick()
        if self.processes.rank == 0:
            content = {"phases": phases, "history": self.history, "flips": self.flips.entries,
                       "cpu": self.cpu_seconds, "wall": self.wall_seconds,
                       "identity": self.identity}
            checkpoint.save(self.out_dir, content, self.cfg, self.options)
            records.write_table(self.out_dir / "metrics.csv", records.COLUMNS, self.history)
            self.flips.write(self.out_dir)
        self._saved = time.monotonic()

    def log(self, *values) -> None:
        """Add a row of `records.COLUMNS` (without the last, the seconds) to the history."""
        self._tick()
        self.history.append(dict(zip(records.COLUMNS, (*values, round(self.wall_seconds, 2)))))

    def _tick(self) -> None:
        now = (time.process_time(), time.monotonic())
        self.cpu_seconds += now[0] - self._clock[0]
        self.wall_seconds += now[1] - self._clock[1]
        self._clock = now


def kind_of(options: TrainConfig) -> str:
    """Kind of the weight file with the parameters of the first long phase; see `weights.save`."""
    return "convnet" if options.network == "convnet" else "full" if options.full_precision else "float"


def network_of(options: TrainConfig) -> Callable:
    """What makes the network from a ModelConfig."""
    if options.network == "convnet":
        from bhvit.model.train.convnet import ConvNet

        return ConvNet
    from bhvit.model.network import BHViT

    return BHViT


def load_sets(spec: data.Spec, cfg, whole: bool = False) -> dict[str, data.Dataset]:
    """Training, validation and test images of a SPEC, checked for labels that the network has. whole: the training
    images stay whole photographs."""
    sets = {split: data.load(data.Spec(spec.kind, spec.arg, split), cfg.image_size, cfg.image_channels,
                             whole=whole and split == "train") for split in data.SPLITS}
    for split, images in sets.items():
        if images.labels is None:
            raise UserError("Training needs labels.", str(images.name), f"the {split} images have none",
                            "give data with classes: digits, cifar10:DIR, imagefolder:DIR with a folder per class, or "
                            "npz:FILE with *_labels (docs/data.md)")
        if images.labels.max() >= cfg.classes:
            raise UserError("The data has more classes than the network.", images.name,
                            f"largest label {images.labels.max()}, classes {cfg.classes}")
    return sets


def cpu_state(state: dict) -> dict:
    """A state dict on the CPU."""
    return {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in state.items()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "brevitas", "numpy", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
