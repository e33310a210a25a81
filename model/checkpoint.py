"""Checkpoints of the authors' training code: the same parameter names as the float phase of `BHViT`.

Files are safetensors or torch files. Torch files are read without running code from them: tensors, numbers, strings,
lists, dictionaries and `argparse.Namespace` (training options) are taken, everything else is refused.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
from pathlib import Path

import safetensors.torch
import torch

from bhvit.errors import UserError
from bhvit.model import weights
from bhvit.model.network import BHViT

#: keys under which training programs keep the parameters, and prefixes that wrappers put before their names
CONTAINERS = ("model", "state_dict", "model_state_dict", "module", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")
LISTED = 8  # names of each kind in the message; --json has all

#: what a difference means: (kind, part of a tensor's name, remedy, part of a name of this kind that rules it out)
MEANINGS = (
    ("missing", r"patch_embeddings\.norm\.running_mean", "its norms have no running statistics: it was trained without "
     "--replace-ln-bn, which this network needs", None),
    ("missing", r"token_FA\.norm\.running_mean", "its tokens have LayerNorm: use token_norm: layer",
     r"patch_embeddings\.norm\.running_mean"),
    ("surplus", r"token_FA\.norm\.running_mean", "its tokens have batch norm: use token_norm: batch", None),
    ("surplus", "att_prob_clip", "it was trained with --gsb: use attention: gsb", None),
    ("missing", "att_prob_clip", "it was trained without --gsb: use attention: qd", None),
    ("missing", r"patch_embed\d\.move", "its down-samplings are of full precision (--some-fp): use downsample: fp",
     r"patch_embed\d\.norm0"),
    ("surplus", r"patch_embed\d\.move", "its down-samplings are binary: use downsample: binary", None),
    ("missing", r"patch_embed\d\.norm0", "its down-samplings are convolutions alone: use downsample: conv", None),
    ("surplus", r"patch_embed\d\.norm0", "its down-samplings have norms: use downsample: fp", r"patch_embed\d\.move"),
    ("missing", "layernorm_before", "it has no norms in front of token mixers and MLPs: use pre_norm: false", None),
    ("surplus", "layernorm_before", "it has norms in front of token mixers and MLPs: use pre_norm: true", None),
    ("missing", "norm_context", "it has no norm behind attention times values: use context_norm: false", None),
    ("surplus", "norm_context", "it has a norm behind attention times values: use context_norm: true", None),
    ("missing", r"\.parm$", "it adds merge tokens: use merge_output: sum", r"token_FA\.a1$"),
    ("surplus", r"\.parm$", "it blends merge tokens: use merge_output: blend", r"token_FA\.a1$"),
    ("missing", "layerscale_[hwc]", "it has no shift branches: use shift: off", None),
    ("surplus", "layerscale_[hwc]", "it has shift branches: do not use shift: off", None),
    ("misshapen", "position_embeddings", "position embeddings belong to one size of the map and are not interpolated: "
     "use the image_size and stem_patch of the training", None),
    ("misshapen", r"^classifier\.", "it has another number of classes: use classes as in the file", None),
)


class Mismatch(UserError):
    """A checkpoint whose tensors are not those of the network: `missing`, `surplus` (names) and `misshapen` (name ->
    shapes in the file and in the network), all of them also in `as_dict`."""

    def __init__(self, path: str | Path, missing: list[str], surplus: list[str], misshapen: dict[str, dict]) -> None:
        self.tensors = {"missing": missing, "surplus": surplus, "misshapen": misshapen}
        lines = []
        for kind, found in self.tensors.items():
            if found:
                lines.append(f"{len(found)} {kind}:")
                lines += [f"  {k}" + (f": {found[k]['file']} in the file, {found[k]['network']} in the network"
                                      if kind == "misshapen" else "") for k in list(found)[:LISTED]]
                if len(found) > LISTED:
                    lines.append(f"  ... and {len(found) - LISTED} more (--json lists all)")
        meanings = [text for kind, part, text, unless in MEANINGS
                    if any(re.search(part, k) for k in self.tensors[kind])
                    and not (unless and any(re.search(unless, k) for k in self.tensors[kind]))]
        super().__init__("The checkpoint does not fit the model file.", path, "\n    ".join(lines),
                         "; ".join(meanings) or "use the model file of the network that was trained")

    def as_dict(self) -> dict:
        return super().as_dict() | self.tensors


def read(path: str | Path) -> dict[str, torch.Tensor]:
    """Name -> tensor of a checkpoint file, without containers and prefixes. Raises UserError."""
    path = Path(path)
    if not path.is_file():
        raise UserError("The checkpoint does not exist.", path, do="check the path")
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError("The checkpoint holds objects that are not read.", path, str(error).split("\n")[0],
                        "save its state dict alone: torch.save(model.state_dict(), FILE)") from error
    except Exception as error:  # the unpickler fails in every way on a file of another kind
        raise UserError("The checkpoint is cut short or is no torch or safetensors file.", path,
                        f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
                        "copy it again") from error
    while isinstance(content, dict) and not any(isinstance(v, torch.Tensor) for v in content.values()):
        inner = next((content[k] for k in CONTAINERS if isinstance(content.get(k), dict)), None)
        if inner is None:
            break
        content = inner
    state = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)} if isinstance(content, dict) else {}
    if not state:
        raise UserError("The checkpoint holds no parameters.", path, "no dictionary of tensors was found in it",
                        "save the state dict: torch.save(model.state_dict(), FILE)")
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in state)), None):  # wrappers wrap wrappers
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def import_checkpoint(path: str | Path, cfg, out: str | Path) -> dict:
    """A checkpoint of the authors as float weights of this configuration.

    Returns {"weights", "tensors", "parameters"}. Raises UserError; `Mismatch` names all tensors that do not fit.
    """
    state, want = read(path), BHViT(cfg).state_dict()
    shapes = {k: {"file": list(state[k].shape), "network": list(v.shape)} for k, v in want.items()
              if k in state and state[k].shape != v.shape}
    mismatch = {"missing": sorted(want.keys() - state.keys()), "surplus": sorted(state.keys() - want.keys()),
                "misshapen": dict(sorted(shapes.items()))}
    if any(mismatch.values()):
        raise Mismatch(path, **mismatch)
    state = {k: state[k].to(v.dtype) for k, v in want.items()}
    bad = next((k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()), None)
    if bad:
        raise UserError("The checkpoint holds values that are no finite numbers.", f"{path}: {bad}",
                        do="use a checkpoint from before the training diverged")
    weights.save(out, state, cfg, {"imported_from": Path(path).name}, kind="float")
    return {"weights": str(out), "tensors": len(state), "parameters": sum(v.numel() for v in state.values())}


def export_checkpoint(state: dict[str, torch.Tensor], out: str | Path) -> dict:
    """Float weights as a torch file with the authors' parameter names. Returns {"checkpoint", "tensors"}."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    weights.write_atomically(out, buffer.getvalue())
    return {"checkpoint": str(out), "tensors": len(state)}
