"""Teachers for distillation: stored logits, a network of this project, a DeiT of timm, or any torch module."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bhvit.errors import UserError
from bhvit.model import data, weights
from bhvit.model.evaluate import as_input, percent, ranks
from bhvit.model.train.batches import Batch
from bhvit.progress import Progress

FORMS = "logits:FILE.npz, net:MODEL.yaml:WEIGHTS.safetensors, timm:NAME:WEIGHTS or python:FILE.py:FUNCTION"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what timm's DeiT were trained with


def load_teacher(text: str, classes: int, channels: int, images: int, device: torch.device) -> Teacher:
    """The teacher that a TrainConfig names.

    classes, channels, images: of the training run (images: number of training images, for stored logits). Raises
    UserError for an unknown form, a missing file, or a teacher of other classes.
    """
    kind, _, rest = text.partition(":")
    if kind == "logits" and rest:
        return StoredLogits(Path(rest), classes, images)
    first, colon, second = rest.partition(":")
    if kind == "net" and colon:
        return NetworkTeacher(*_own(Path(first), Path(second)), classes, channels, device)
    if kind == "timm" and colon:
        from bhvit.model.train.vit import load_vit

        return NetworkTeacher(*load_vit(first, Path(second)), classes, channels, device)
    if kind == "python" and colon:
        return NetworkTeacher(*_from_python(Path(first), second, classes, channels), classes, channels, device)
    raise UserError("This is not a teacher.", f"teacher '{text}'", do=f"the forms are {FORMS}")


class Teacher(Protocol):
    """Gives the probabilities (B, classes) that a student is to reach on a batch."""

    def __call__(self, batch: Batch) -> Tensor: ...


class StoredLogits:
    """Logits (N, classes) of the N training images, in the order of the data set, without augmentation.

    Mixed images get the mixture of both probabilities.
    """

    def __init__(self, path: Path, classes: int, images: int) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                logits = np.asarray(file["logits"], np.float32)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError("The teacher's logits cannot be read.", path, error,
                            "write them with `bhvit teach`, or numpy.savez(FILE, logits=float (N, classes))") from error
        if logits.shape != (images, classes):
            raise UserError("The teacher's logits do not fit the data.", path,
                            f"they are {logits.shape}, needed is {(images, classes)}: one row per training image "
                            "(the validation images that are held out have none)")
        self.probabilities = torch.softmax(torch.from_numpy(logits), 1)

    def __call__(self, batch: Batch) -> Tensor:
        share = batch.share[:, None]
        mixed = share * self.probabilities[batch.index] + (1 - share) * self.probabilities[batch.partner]
        return mixed.to(batch.images.device)


class NetworkTeacher:
    """A network that looks at the same augmented pixels, scaled to its own input size."""

    def __init__(self, net: nn.Module, side: int, net_classes: int, net_channels: int, name: str, classes: int,
                 channels: int, device: torch.device) -> None:
        if (net_classes, net_channels) != (classes, channels):
            raise UserError("The teacher does not fit the network.", name,
                            f"it has {net_classes} classes and {net_channels} image channels, the network {classes} "
                            f"and {channels}", "take a teacher of the same task, or stored logits (logits:FILE.npz)")
        self.net, self.side = net.to(device).eval().requires_grad_(False), side

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """float (B, classes) of images (B, S, S, C) with values 0..255."""
        if images.shape[1] != self.side:
            planes = functional.interpolate(images.permute(0, 3, 1, 2), (self.side, self.side), mode="bicubic",
                                            antialias=True)
            images = planes.clamp(0, 255).round().permute(0, 2, 3, 1)  # whole numbers: a deployed teacher needs them
        if getattr(self.net, "frozen", False):  # integers in float32, which bf16 would round
            with torch.autocast(images.device.type, enabled=False):
                return self.net(images)
        return self.net(images).float()

    def __call__(self, batch: Batch) -> Tensor:
        return torch.softmax(self.logits(batch.images), 1)


def write_logits(text: str, cfg, data_spec: str, out: Path, *, quiet: bool | None = None) -> dict:
    """Store a teacher's logits on the training images (without augmentation) for `teacher: logits:FILE.npz`.

    text: a network as in `load_teacher`; cfg: ModelConfig of the student, which gives the image size. Returns {"file",
    "images", "top1" (percent on these images)}. Raises UserError.
    """
    spec = data.parse(data_spec)
    images = data.load(data.Spec(spec.kind, spec.arg, "train"), cfg.image_size, cfg.image_channels)
    if images.labels is None or images.labels.max() >= cfg.classes:
        raise UserError("These images do not belong to the network.", images.name,
                        "they have no labels, or more classes")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_teacher(text, cfg.classes, cfg.image_channels, len(images), device)
    if not isinstance(teacher, NetworkTeacher):
        raise UserError("These are logits already.", f"teacher '{text}'",
                        do="name a network: net:..., timm:... or python:...")
    parts = []
    with Progress("teacher", len(images), "images", quiet=quiet) as bar:
        for start in range(0, len(images), 128):
            parts.append(teacher.logits(as_input(images.images[start:start + 128], device)).cpu().numpy())
            bar.advance(len(parts[-1]))
    logits = np.concatenate(parts)
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits)
    weights.write_atomically(out, buffer.getvalue())
    return {"file": str(out), "images": len(images), "top1": percent(ranks(logits, images.labels) < 1)}


def _from_python(path: Path, function: str, classes: int, channels: int) -> tuple[nn.Module, int, int, int, str]:
    """(network, side, classes, channels, name) of what FUNCTION in FILE.py returns: (module, side), where the module
    takes images (B, side, side, C) with values 0..255 and gives logits (B, classes)."""
    name = f"python:{path}:{function}"
    hint = ("write a function without arguments that returns (module, side); the module takes float images "
            "(B, side, side, channels) with values 0..255 and gives logits (B, classes)")
    if not path.is_file():
        raise UserError("The teacher's Python file does not exist.", path, do=hint)
    spec = importlib.util.spec_from_file_location(f"bhvit_teacher_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError("The teacher's file is no Python file.", path, "its name does not end in .py", hint)
    try:
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickles look there
        sys.path.insert(0, str(path.parent.resolve()))  # as if it were run: files beside it can be imported
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
        net, side = getattr(module, function)()
        with torch.no_grad():
            got = tuple(net.eval()(torch.zeros(2, side, side, channels)).shape)
    except Exception as error:  # the user's code fails in every way
        raise UserError("The teacher cannot be used.", name, f"{type(error).__name__}: {str(error)[:300]}",
                        hint) from error
    if len(got) != 2 or got[0] != 2:
        raise UserError("The teacher cannot be used.", name, f"two images give a tensor of shape {got}", hint)
    return net, side, got[1], channels, name


def _own(model: Path, path: Path) -> tuple[nn.Module, int, int, int, str]:
    """(network, side, classes, channels, name) of a model file and any weights that belong to it."""
    from bhvit.model.config import load_config
    from bhvit.model.network import BHViT
    from bhvit.model.train.convnet import ConvNet
    from bhvit.model.train.full_precision import relax

    cfg = load_config(model)
    kind = weights.info(path)["kind"]
    state = weights.load(path, cfg, kind)
    if kind == "deployed":
        net = BHViT.from_deployed(cfg, state)
    else:
        net = (ConvNet if kind == "convnet" else BHViT)(cfg)
        net.load_state_dict(state)
        if kind == "full":
            relax(net)
    return net, cfg.image_size, cfg.classes, cfg.image_channels, str(path)
