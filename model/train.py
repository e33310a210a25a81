"""Training in two phases: float batch norm first, then the frozen fixed-point network.

Phase one trains latent weights and float batch norm. Its best network on the validation images is frozen: every
constant becomes fixed point, with scales from training images. Phase two fine-tunes that network, whose
evaluation is the hardware's arithmetic. The best network on the validation images is the result; the test images
are looked at once, at the end.

After every epoch a checkpoint is replaced atomically. Order of images, augmentation and learning rate depend only on
the seed, the phase and the epoch, so a run that is killed and continued ends with the same numbers (same machine,
same number of threads) as one that was not. Under `torchrun` the processes share each batch and average their
gradients; batch-norm statistics are averaged before each validation.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional

from bhvit.errors import CheckFailed, UserError
from bhvit.model import data, weights
from bhvit.model.evaluate import as_input, evaluate, percent, predict, ranks
from bhvit.progress import Progress

PHASES = ("float", "fixed")
COLUMNS = ("phase", "epoch", "learning_rate", "train_loss", "train_top1", "val_loss", "val_top1", "seconds")


class TrainConfig(BaseModel):
    """Training hyper-parameters; the defaults suit small networks on small images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(60, ge=0, description="epochs of phase one (float batch norm)")
    finetune_epochs: int = Field(15, ge=0, description="epochs of phase two (fixed point)")
    batch_size: int = Field(32, ge=2, description="images per step, over all processes")
    learning_rate: float = Field(3e-3, gt=0, description="peak of phase one")
    finetune_learning_rate: float = Field(2e-4, gt=0, description="start of phase two")
    weight_decay: float = Field(0.0, ge=0)
    warmup_epochs: float = Field(2.0, ge=0, description="linear warm-up of phase one")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    max_gradient: float = Field(5.0, gt=0, description="gradients are scaled to at most this norm")
    shift: float = Field(0.06, ge=0, lt=0.5, description="largest random shift, as a part of the image side")
    flip: bool | None = Field(None, description="random horizontal flips; default: for photographs")
    calibration_images: int = Field(256, ge=1, description="training images from which freeze takes scales")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")


def train(cfg, data_spec: str, out_dir: str | Path, options: TrainConfig | None = None, *, resume: bool = True,
          quiet: bool | None = None, start: dict | None = None, build: Callable | None = None) -> dict:
    """Train a network to a deployed weight file.

    cfg: ModelConfig; data_spec: a data SPEC without split (its train, val and test images are used); out_dir: gets
    `<name>.safetensors` (deployed), `<name>_float.safetensors`, metrics.csv, metrics.json, curves.png and
    checkpoint.pt; resume: continue from a checkpoint of the same configuration, data and options, if there is
    one. start: float parameters to begin with. build: makes the network from cfg (default BHViT; it must offer
    what BHViT offers). Returns what metrics.json holds. Raises UserError for
    unusable data or checkpoints, CheckFailed if the saved file does not give the trained network back.
    """
    options = options or TrainConfig()
    run = _Run(cfg, data_spec, Path(out_dir), options, quiet, start, build)
    try:
        return run.execute(resume)
    finally:
        run.close()


class _Run:
    """One training run: data, network, checkpoint, processes."""

    def __init__(self, cfg, data_spec, out_dir, options, quiet, start, build):
        if build is None:
            from bhvit.model.network import BHViT as build
        self.cfg, self.out_dir, self.options, self.start, self.build = cfg, out_dir, options, start, build
        self.spec = data.parse(data_spec)
        self.world, self.rank, self.device, self._joined = _processes(options.device)
        self.quiet = quiet if self.rank == 0 else True
        self.sets = {}
        for split in data.SPLITS:
            self.sets[split] = data.load(data.Spec(self.spec.kind, self.spec.arg, split), cfg.image_size,
                                         cfg.image_channels)
        for split, images in self.sets.items():
            if images.labels is None:
                raise UserError("Training needs labels.", str(images.name), f"the {split} images have none")
            if images.labels.max() >= cfg.classes:
                raise UserError("The data has more classes than the network.", images.name,
                                f"largest label {images.labels.max()}, classes {cfg.classes}")
        if len(self.sets["train"]) < options.batch_size:
            raise UserError("There are fewer training images than a batch holds.", self.sets["train"].name,
                            f"{len(self.sets['train'])} images, batch_size {options.batch_size}")
        if options.batch_size % self.world or options.batch_size // self.world < 2:
            raise UserError("The batch does not divide among the processes.", "batch_size",
                            f"{options.batch_size} images, {self.world} processes")
        photographs = self.spec.kind in ("cifar10", "imagefolder")
        self.flip = photographs if options.flip is None else options.flip
        self.history, self.cpu_seconds, self.wall_seconds = [], 0.0, 0.0
        self._clock = (time.process_time(), time.monotonic())

    def close(self) -> None:
        if self._joined:
            dist.destroy_process_group()

    # --- the two phases ---

    def execute(self, resume: bool) -> dict:
        torch.manual_seed(self.options.seed)
        saved = self._restore() if resume else None
        phases = {name: None for name in PHASES} | (saved["phases"] if saved else {})
        if saved:
            self.history, self.cpu_seconds, self.wall_seconds = saved["history"], saved["cpu"], saved["wall"]
        net = self.build(self.cfg).to(self.device)
        if self.start is not None:
            net.load_state_dict(self.start)
        float_state = self._phase("float", net, phases, self.options.epochs)
        self._load(net, float_state)
        chosen = np.random.RandomState(self.options.seed).permutation(len(self.sets["train"]))
        chosen = np.sort(chosen[:self.options.calibration_images])
        net.cpu().eval()  # the CPU's float32 defines the scales, whatever trains
        net.freeze(as_input(self.sets["train"].images[chosen]))
        net.to(self.device)
        self._load(net, self._phase("fixed", net, phases, self.options.finetune_epochs))
        return self._finish(net, phases) if self.rank == 0 else {}

    def _phase(self, name: str, net: nn.Module, phases: dict, epochs: int) -> dict:
        """Train one phase from where it stands; returns the best state on the validation images."""
        trained = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.options.learning_rate, weight_decay=self.options.weight_decay)
        entry = phases[name]
        if entry is None:
            loss, top1 = self._validate(net)  # the start counts as epoch 0
            entry = phases[name] = {"epoch": 0, "best": _copy(net.state_dict()), "best_top1": top1,
                                    "best_loss": loss, "best_epoch": 0, "model": None, "optimizer": None}
            self._log(name, 0, 0.0, math.nan, math.nan, loss, top1)
            entry["model"], entry["optimizer"] = entry["best"], optimizer.state_dict()
            self._save(phases)
        if entry["epoch"] < epochs:
            self._load(net, entry["model"])
            optimizer.load_state_dict(entry["optimizer"])
        steps = len(self.sets["train"]) // self.options.batch_size
        title = {"float": "phase 1, float", "fixed": "phase 2, fixed point"}[name]
        with Progress(title, epochs * steps, "steps", quiet=self.quiet, start=entry["epoch"] * steps) as bar:
            for epoch in range(entry["epoch"] + 1, epochs + 1):
                loss, hits, rate = self._epoch(name, net, optimizer, trained, epoch, epochs, steps, bar)
                self._average_buffers(net)
                val_loss, top1 = self._validate(net)
                if (top1, -val_loss) > (entry["best_top1"], -entry["best_loss"]):
                    entry |= {"best": _copy(net.state_dict()), "best_top1": top1, "best_loss": val_loss,
                              "best_epoch": epoch}
                entry |= {"epoch": epoch, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
                self._log(name, epoch, rate, loss, hits, val_loss, top1)
                bar.update(epoch * steps, f"epoch {epoch}/{epochs}, loss {loss:.3f}, val {top1:.2f} %")
                self._save(phases)
        entry |= {"model": None, "optimizer": None, "epoch": max(epochs, entry["epoch"])}
        return entry["best"]

    def _load(self, net: nn.Module, state: dict) -> None:
        net.load_state_dict(state)
        net.to(self.device)  # quantizers that the state has set up anew

    def _epoch(self, name, net, optimizer, trained, epoch, epochs, steps, bar) -> tuple[float, float, float]:
        """One pass over the training images; returns (mean loss, top-1 in percent, last learning rate)."""
        options, images = self.options, self.sets["train"]
        draw = np.random.RandomState([options.seed, PHASES.index(name), epoch])
        order = draw.permutation(len(images))
        net.train()
        losses, hits, rate = [], [], 0.0
        for step in range(steps):
            chosen = order[step * options.batch_size:(step + 1) * options.batch_size]
            pixels = augment(images.images[chosen], draw, options.shift, self.flip)
            mine = slice(self.rank, None, self.world)
            batch = as_input(pixels[mine], self.device)
            target = torch.from_numpy(images.labels[chosen][mine]).to(self.device)
            rate = learning_rate(options, name, (epoch - 1) * steps + step, epochs * steps, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            logits = net(batch)
            loss = functional.cross_entropy(logits, target, label_smoothing=options.label_smoothing)
            if not torch.isfinite(loss):
                raise UserError("The training diverged: the loss is not a finite number.",
                                f"phase {name}, epoch {epoch}, step {step + 1}", None,
                                "lower learning_rate or finetune_learning_rate; the last checkpoint is kept")
            loss.backward()
            self._average_gradients(trained)
            nn.utils.clip_grad_norm_(trained, options.max_gradient)
            optimizer.step()
            losses.append(loss.item())
            hits.append((logits.argmax(1) == target).float().mean().item())
            bar.advance()
        return float(np.mean(losses)), percent(np.array(hits)), rate

    def _validate(self, net: nn.Module) -> tuple[float, float]:
        images = self.sets["val"]
        logits = predict(net, images.images, quiet=True)
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(images.labels)).item()
        return loss, percent(ranks(logits, images.labels) < 1)

    def _finish(self, net: nn.Module, phases: dict) -> dict:
        """Save the deployed network, read it back, look at the test images, write the metrics."""
        net = net.cpu().eval()
        path = self.out_dir / f"{self.cfg.name}.safetensors"
        metrics = {"config": self.cfg.name, "config_hash": weights.config_hash(self.cfg),
                   "data": str(self.spec).rpartition("@")[0], "seed": self.options.seed,
                   "float_val_top1": phases["float"]["best_top1"], "float_epoch": phases["float"]["best_epoch"],
                   "val_top1": phases["fixed"]["best_top1"], "finetune_epoch": phases["fixed"]["best_epoch"]}
        state = net.deployed_state()
        weights.save(path, state, self.cfg, metrics)
        again = self.build.from_deployed(self.cfg, weights.load(path, self.cfg))
        sample = self.sets["val"].images[:16]
        if not np.array_equal(predict(net, sample, quiet=True), predict(again, sample, quiet=True)):
            raise CheckFailed("The saved weights do not give the trained network back.", path)
        test = evaluate(again, self.sets["test"], quiet=True)
        single = self.build(self.cfg)
        single.load_state_dict(_to_cpu(phases["float"]["best"]))
        metrics |= {"float_test_top1": evaluate(single, self.sets["test"], quiet=True)["top1"],
                    "test_top1": test["top1"], "test_top5": test["top5"], "test_images": test["images"],
                    "distinct_outputs": test["distinct_outputs"]}
        weights.save(path, state, self.cfg, metrics)
        weights.save(self.out_dir / f"{self.cfg.name}_float.safetensors", phases["float"]["best"], self.cfg,
                     metrics, kind="float")
        self._tick()
        metrics |= {"weights": path.name, "weights_bytes": path.stat().st_size,
                    "images": {split: len(images) for split, images in self.sets.items()},
                    "cpu_seconds": round(self.cpu_seconds, 1), "wall_seconds": round(self.wall_seconds, 1),
                    "versions": _versions(), "options": self.options.model_dump()}
        weights.write_atomically(self.out_dir / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        self._curves()
        return metrics

    # --- checkpoints and logs ---

    def _identity(self) -> dict:
        return {"data": str(self.spec), "options": self.options.model_dump(exclude={"device"})}

    def _save(self, phases: dict) -> None:
        self._tick()
        if self.rank == 0:
            content = {"phases": phases, "history": self.history, "cpu": self.cpu_seconds,
                       "wall": self.wall_seconds, "identity": self._identity()}
            weights.save_checkpoint(self.out_dir / "checkpoint.pt", content, self.cfg)
            self._table()

    def _restore(self) -> dict | None:
        path = self.out_dir / "checkpoint.pt"
        if not path.exists():
            return None
        saved = weights.load_checkpoint(path, self.cfg)
        if saved["identity"] != self._identity():
            theirs, ours = _flat(saved["identity"]), _flat(self._identity())
            keys = [key for key in ours if theirs.get(key) != ours[key]]
            raise UserError("The checkpoint was made with other settings.", path,
                            "; ".join(f"{key}: {theirs.get(key)} there, {ours[key]} here" for key in keys),
                            "use the same settings, another folder, or start again without resuming")
        return saved

    def _log(self, *values) -> None:
        self._tick()
        self.history.append(dict(zip(COLUMNS, (*values, round(self.wall_seconds, 2)))))

    def _tick(self) -> None:
        now = (time.process_time(), time.monotonic())
        self.cpu_seconds += now[0] - self._clock[0]
        self.wall_seconds += now[1] - self._clock[1]
        self._clock = now

    def _table(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self.history:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        weights.write_atomically(self.out_dir / "metrics.csv", text.getvalue().encode())

    def _curves(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2)
        place = range(len(self.history))
        for axis, kind, unit in ((axes[0], "loss", "cross-entropy"), (axes[1], "top1", "top-1 (%)")):
            for split, style in (("train", "--"), ("val", "-")):
                axis.plot(place, [row[f"{split}_{kind}"] for row in self.history], style, label=split)
            change = sum(row["phase"] == "float" for row in self.history) - 0.5
            axis.axvline(change, color="grey", linewidth=0.8, label="freeze")
            axis.set(xlabel="epoch (both phases)", ylabel=unit)
            axis.legend()
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120)
        weights.write_atomically(self.out_dir / "curves.png", picture.getvalue())

    # --- several processes ---

    def _average_gradients(self, parameters) -> None:
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
        dist.all_reduce(flat)
        flat /= self.world
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad.copy_(part.view_as(parameter))

    def _average_buffers(self, net: nn.Module) -> None:
        if self.world == 1:
            return
        for buffer in net.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world


def learning_rate(options: TrainConfig, phase: str, step: int, total: int, per_epoch: int) -> float:
    """Learning rate of step 0..total-1: linear warm-up (phase float only), then half a cosine to zero."""
    peak, warmup = options.finetune_learning_rate, 0.0
    if phase == "float":
        peak, warmup = options.learning_rate, min(options.warmup_epochs * per_epoch, total / 2)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def augment(images: np.ndarray, draw: np.random.RandomState, shift: float, flip: bool) -> np.ndarray:
    """Shift each image by up to `shift` of its side in both directions (edges repeated), flip half of them.

    images: uint8 (N, H, W, C); returns the same shape and type.
    """
    number, side = len(images), images.shape[1]
    reach = round(shift * side)
    offsets = draw.randint(0, 2 * reach + 1, (number, 2))
    mirrored = draw.random_sample(number) < 0.5
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "edge")
    result = np.empty_like(images)
    for i, (top, left) in enumerate(offsets):
        image = padded[i, top:top + side, left:left + side]
        result[i] = image[:, ::-1] if flip and mirrored[i] else image
    return result


def _processes(device: str) -> tuple[int, int, torch.device, bool]:
    """(processes, own number, device, joined a group), from the environment that torchrun sets."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise UserError("There is no CUDA device.", f"device {device}", do="use device cpu or auto")
    name = "cpu"
    if cuda:
        name = device if device != "auto" else f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    joined = world > 1 and not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if cuda else "gloo")
    return world, rank, torch.device(name), joined


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "brevitas", "numpy", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _copy(state: dict) -> dict:
    return {key: value.detach().clone() if isinstance(value, torch.Tensor) else value
            for key, value in state.items()}


def _to_cpu(state: dict) -> dict:
    return {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in state.items()}


def _flat(entries: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in entries.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
