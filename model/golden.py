"""Rung 0: the float network against golden files of the authors' network, in float64.

Parameters and images are rebuilt from the recipe and the seed that the file names; signs, attention levels and binary
weights must be equal, everything else equal to a relative 1e-9.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bhvit.model.config import ModelConfig
from bhvit.model.golden_files import HEADS, IMAGES, Case
from bhvit.model.network import BHViT
from bhvit.model.observe import Observer, Record, describe_weights
from bhvit.model.random_weights import recipe_images, recipe_state, state_crc

TOLERANCE = 1e-9  # relative
FLOOR = 1e-12  # absolute: values are of order one, and a rounded zero has no relative error
SCALES = 1e-6  # relative; the files hold scales that were computed in float32
DISTANCE = 1e-10  # absolute, of a smallest magnitude or margin: a difference of two values of order one
LOGITS = 1e-9  # absolute


def check(case: Case, advance: Callable[[], None] = lambda: None, config: ModelConfig | None = None) -> dict[str, Any]:
    """Compare one golden case with this package's network.

    Args: case: from `golden_files`; advance: called after each tensor; config: another network than the meta data's.
    Returns: {"case", "model", "seed", "ok", "differences": [{"file", "key", "expected", "got"}], "compared": {what:
    how many}, "logit_error" (largest, absolute), "signs" (elements), "seconds"}.
    """
    return _Check(case, advance, config or case.config).run()


class _Check:
    def __init__(self, case: Case, advance: Callable[[], None], config: ModelConfig) -> None:
        self.case, self.advance, self.config = case, advance, config
        self.differences: list[dict] = []
        self.compared: dict[str, int] = {}
        self.seen: dict[str, dict[str, Record]] = {}
        self.there: dict[str, int] = {}  # tensors of the network, by section
        self.sign_elements = 0
        trace = case.trace
        self.expected = {s: {r["name"]: r for r in trace.get(s, [])}
                         for s in ("modules", "sign_inputs", "attention", "binary_weights")}
        self.expected["stages"] = {r["name"]: r for r in case.stages}

    def run(self) -> dict[str, Any]:
        begun, case = time.monotonic(), self.case
        seed = case.meta["SEED"]
        for key, want in (("case", case.name), ("SEED", seed)):
            if case.trace and key in case.trace:
                self.equal(case.trace_path.name, key, want, case.trace[key])
        self.meta("case", case.name)
        self.meta("mode", "eval")
        net = BHViT(self.config)
        state = recipe_state({k: tuple(v.shape) for k, v in net.state_dict().items()}, seed)
        images = recipe_images(self.config.image_size, self.config.image_channels, seed, IMAGES)
        self.meta("state_dict_crc32", state_crc(state))
        self.meta("input_crc32", state_crc({"": torch.from_numpy(images)}))
        self.meta("n_keys", len(state))
        net.load_state_dict(state)
        del state
        net = net.double().eval()
        self.hidden = {getattr(net.vit.encoder, f"patch_embed{s}"): s for s in (1, 2, 3)}
        hooks = [m.register_forward_hook(self.hidden_head) for m in self.hidden]
        with torch.no_grad():
            describe_weights(net, self.sink)
            with Observer(net, self.sink):
                logits = net.forward_normalised(torch.from_numpy(images).permute(0, 2, 3, 1).double()).numpy()
        for h in hooks:
            h.remove()
        error = self.logits(logits)
        self.totals()
        self.unmatched()
        return {"case": case.name, "model": self.config.name, "seed": seed, "ok": not self.differences,
                "differences": self.differences, "compared": self.compared, "logit_error": error,
                "signs": self.sign_elements, "seconds": round(time.monotonic() - begun, 2)}

    # --- differences -----------------------------------------------------------------------------

    def differ(self, file: str, key: str, expected: Any, got: Any) -> None:
        self.differences.append({"case": self.case.name, "file": file, "key": key, "expected": expected, "got": got})

    def equal(self, file: str, key: str, expected: Any, got: Any) -> None:
        if expected != got:
            self.differ(file, key, expected, got)

    def close(self, file: str, key: str, expected: float, got: float, relative: float = TOLERANCE,
              absolute: float = FLOOR) -> None:
        if not abs(expected - got) <= relative * abs(expected) + absolute:  # a nan differs
            self.differ(file, key, expected, got)

    def count(self, what: str, n: int = 1) -> None:
        self.compared[what] = self.compared.get(what, 0) + n

    # --- what is compared ------------------------------------------------------------------------

    def meta(self, key: str, got: int | str) -> None:
        if key in self.case.meta:
            self.equal(self.case.json.name, f"meta.{key}", self.case.meta[key], got)
            self.count("checksums" if "crc" in key else "meta")

    def sink(self, section: str, name: str, record: Callable[[], Record]) -> None:
        """A tensor of the network: compared where the files describe it."""
        self.there[section] = self.there.get(section, 0) + 1
        if section == "modules" and name in self.expected["stages"]:
            section = "stages"
            if name in self.expected["modules"]:  # described in both files
                made = record()
                self.record("modules", name, made)
                self.record("stages", name, made)
                return
        if name in self.expected[section]:
            self.record(section, name, record())

    def record(self, section: str, name: str, got: Record) -> None:
        want = self.expected[section][name]
        self.seen.setdefault(section, {})[name] = got
        self.count(section)
        self.advance()
        file = self.case.json.name if section == "stages" else self.case.trace_path.name
        if section == "sign_inputs":
            self.sign_elements += math.prod(got["shape"])
        for entry, expected in want.items():
            key, value = f"{section}[{name}].{entry}", got.get(entry)
            if entry == "name":
                continue
            if value is None:
                self.differ(file, key, expected, None)
            elif entry in ("mean", "std", "dot"):
                self.close(file, key, expected, value)
            elif entry in ("min_abs", "margin"):
                self.close(file, key, expected, value, absolute=DISTANCE)
            elif entry in ("first", "scale_first"):
                relative = TOLERANCE if entry == "first" else SCALES
                if len(expected) != len(value):
                    self.differ(file, key, f"{len(expected)} values", f"{len(value)} values")
                for i, (a, b) in enumerate(zip(expected, value)):
                    self.close(file, f"{key}[{i}]", a, b, relative)
            else:
                self.equal(file, key, expected, value)

    def hidden_head(self, module: torch.nn.Module, _i, out: torch.Tensor) -> None:
        """The first values of the map behind a down-sampler, channels first, of each image."""
        key = HEADS[self.hidden[module] - 1]
        want = self.case.arrays[key]
        self.array(key, want, out.permute(0, 3, 1, 2).reshape(len(out), -1)[:, :want.shape[1]].numpy())
        self.count("hidden heads")

    def array(self, key: str, want: np.ndarray, got: np.ndarray, relative: float = TOLERANCE,
              absolute: float = FLOOR) -> float:
        wrong = ~(np.abs(want - got) <= relative * np.abs(want) + absolute)
        for i in np.argwhere(wrong):
            self.differ(self.case.npz.name, f"{key}[{', '.join(map(str, i))}]", float(want[tuple(i)]),
                        float(got[tuple(i)]))
        return float(np.abs(want - got).max())

    def logits(self, logits: np.ndarray) -> float:
        case = self.case
        error = self.array("logits_f64", case.arrays["logits_f64"], logits, 0.0, LOGITS)
        self.count("logits", logits.size)
        order = np.argsort(-logits, axis=1, kind="stable")
        for key, got in (("logits_argmax", order[:, 0].tolist()), ("top5", order[:, :5].tolist())):
            if key in case.meta:
                self.equal(case.json.name, f"meta.{key}", case.meta[key], got)
                self.count("meta")
        told = {"logit_std": float(logits.std()), "corr_between_images": float(np.corrcoef(logits)[0, 1])}
        if "logits_f32_reference" in case.arrays:
            rounding = case.arrays["logits_f32_reference"] - case.arrays["logits_f64"]
            told["f32_vs_f64_max_abs_logit_diff"] = float(np.abs(rounding).max())
            told["f32_vs_f64_rms"] = float(np.sqrt((rounding**2).mean()))
        for key, got in told.items():
            self.sensitivity(key, got)
        return error

    def sensitivity(self, key: str, got: float, absolute: float = FLOOR) -> None:
        if key in self.case.sensitivity:
            self.count("sensitivity")
            self.close(self.case.json.name, f"sensitivity.{key}", self.case.sensitivity[key], got, absolute=absolute)

    def totals(self) -> None:
        """What a file says about all decisions together. Its other entries (flips in float32, under noise, by batch
        size) are findings about the authors' code on one machine; nothing here could confirm them."""
        whole = [list(found.values()) if len(found := self.seen.get(section, {})) == self.there.get(section) else []
                 for section in ("sign_inputs", "attention", "binary_weights")]  # a trace may describe fewer tensors
        signs, levels, rows = whole
        if signs:
            self.sensitivity("n_sign_decisions", self.sign_elements)
            self.sensitivity("n_exact_zero_presign", sum(r["zero"] for r in signs))
            self.sensitivity("min_abs_presign", min(r["min_abs"] for r in signs), DISTANCE)
        if levels:
            self.sensitivity("n_attention_levels", sum(math.prod(r["shape"]) for r in levels))
            self.sensitivity("min_attention_margin", min(r["margin"] for r in levels), DISTANCE)
        if rows:
            self.sensitivity("min_abs_centered_weight", min(r["min_abs"] for r in rows), DISTANCE)

    def unmatched(self) -> None:
        """Records of tensors that the network does not have."""
        for section, records in self.expected.items():
            file = self.case.json.name if section == "stages" else self.case.trace_path and self.case.trace_path.name
            for name in sorted(records.keys() - self.seen.get(section, {}).keys()):
                self.differ(file, f"{section}[{name}]", "a tensor of this name", None)
