"""The model file: everything that defines a network, read from YAML and checked before anything is built."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bhvit.errors import UserError
from bhvit.model.numerics import Widths


class ConfigError(UserError, ValueError):
    """A model file that cannot work. The message says what, where, why and what to do."""


#: entries that model files did not have at first
LATER = ("mixer", "merge_tokens", "shift", "weight_sign", "pre_norm", "context_norm", "merge_output")
EXAMPLE = "see configs/model/bhvit_micro.yaml for an example"


class ModelConfig(BaseModel):
    """One network. Lists of four run over the stages; stages 1 and 2 convolve, stages 3 and 4 attend in windows.

    Defaults are what the released code computes; `docs/faithful.md` lists where the paper says something else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_\-]+$", description="of files that are made from it")
    image_size: int = Field(ge=8, le=1024, description="side of the square input in pixels")
    image_channels: int = Field(3, ge=1, le=16, description="colours")
    classes: int = Field(ge=2, le=100000, description="outputs of the classifier")
    stem_patch: int = Field(4, ge=1, le=16, description="side and stride of the stem convolution")
    widths: tuple[int, int, int, int] = Field(description="channels per stage")
    depths: tuple[int, int, int, int] = Field(description="blocks per stage")
    heads: tuple[int, ...] = Field(description="attention heads of stages 3 and 4, or of all four stages")
    mlp_ratios: tuple[int, int, int, int] = Field((8, 8, 4, 4), description="hidden channels of the MLP per channel")
    window: int = Field(7, ge=1, le=16, description="side of an attention window")
    pool_padding: int = Field(3, ge=0, le=8, description="padding of the merge-token pooling")
    groups: int = Field(4, ge=1, description="groups of the dilated convolutions")
    dilations: tuple[int, ...] = Field((1, 3, 5), description="a convolution each; [1] is a single 3x3 convolution")
    token_norm: Literal["layer", "batch"] = Field(
        "layer", description="norm of window tokens: exact LayerNorm, or batch norm, which costs no root")
    downsample: Literal["binary", "fp", "conv"] = Field(
        "binary", description="down-sampling: binary; full-precision (8 bit when deployed); a convolution alone, of "
        "full precision too, without norms and position embeddings (section 4.1)")
    attention: Literal["qd", "qd_fixed", "binary", "gsb"] = Field(
        "qd", description="levels 0..3 with a learned step and zero point per head; with the paper's fixed thresholds "
        "(equation 10); a single bit (equation 3); group superposition binarization")
    msgdc_residual: bool = Field(False, description="residual inside the branches of the convolutions (equation 7)")
    mixer: Literal["hybrid", "convolution", "attention"] = Field(
        "hybrid", description="token mixer: convolution in stages 1 and 2, attention in 3 and 4, or one of them "
        "everywhere (table 7)")
    merge_tokens: Literal["blend", "average", "off"] = Field(
        "blend", description="learned blend of average and maximum; the paper's average; no merge tokens (table 5)")
    shift: Literal["box", "pure", "off"] = Field(
        "box", description="shift branches: circular means; the paper's moves by 1 and 2 (figure 5); none (table 5)")
    weight_sign: Literal["centred", "plain"] = Field(
        "centred", description="binary weights: sign of the weight minus its row's mean, or of the weight (equation 4)")
    pre_norm: bool = Field(
        True, description="batch norm in front of token mixer and MLP; without: equation 6 as printed")
    context_norm: bool = Field(
        True, description="batch norm on the product of attention and values; without: equation 11 as printed")
    merge_output: Literal["blend", "sum"] = Field(
        "blend", description="local and merge tokens come together in a learned blend, or as a sum (equation 12)")
    mean: tuple[float, ...] = Field((0.5,), description="input normalisation on the 0..1 scale, one or per channel")
    std: tuple[float, ...] = Field((0.5,), description="the same")
    bits: Widths = Field(Widths(), description="bit widths, see below")

    @property
    def maps(self) -> tuple[int, int, int, int]:
        """Side of the square map of each stage."""
        side = self.image_size // self.stem_patch
        return (side, side // 2, side // 4, side // 8)

    @field_validator("merge_tokens", "shift", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare `off` as false

    @property
    def mixers(self) -> tuple[str, str, str, str]:
        """Token mixer of each stage, "convolution" or "attention"."""
        if self.mixer == "hybrid":
            return ("convolution", "convolution", "attention", "attention")
        return (self.mixer,) * 4

    def stage_heads(self, stage: int) -> int:
        """Attention heads of a stage (0..3). Where only those of stages 3 and 4 are given, stages 1 and 2 get heads
        of stage 3's size, but at least one."""
        if len(self.heads) == 4:
            return self.heads[stage]
        return self.heads[stage - 2] if stage >= 2 else max(1, self.widths[stage] * self.heads[0] // self.widths[2])

    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON. The name is left out, so renaming keeps weight files valid; so are
        entries that came later as long as they have their default, for the same reason."""
        later = {key for key in LATER if getattr(self, key) == type(self).model_fields[key].default}
        data = self.model_dump(mode="json", exclude={"name", *later})
        return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def deployable(self) -> None:
        """Raises ConfigError with the reason when the network cannot become hardware."""
        if self.attention == "gsb":
            raise ConfigError(
                "attention: gsb cannot be deployed.", f"model {self.name}: attention",
                "its levels compare with fractions of the row maximum and carry two independent scales, for which no "
                "hardware layer exists", "use attention: qd")
        for key, wrong, why, do in (
                ("msgdc_residual", self.msgdc_residual, "the branches' hardware has no input for a residual",
                 "use msgdc_residual: false"),
                ("merge_tokens", self.merge_tokens == "off", "the hardware that makes windows always appends merge "
                 "tokens", "use merge_tokens: blend or average"),
                ("dilations", len(set(self.dilations)) < len(self.dilations), "the branches' hardware shares one "
                 "window, each branch with a dilation of its own", "use different dilations")):
            if wrong:
                value = getattr(self, key)
                raise ConfigError(f"{key}: {str(value).lower() if isinstance(value, bool) else value} cannot be "
                                  "deployed.", f"model {self.name}: {key}", why, do)


def _contradictions(c: ModelConfig) -> list[str]:
    """Everything about `c` that cannot work, one sentence each with its remedy."""
    out = []

    def need(ok: bool, text: str) -> None:
        if not ok:
            out.append(text)

    step = c.stem_patch * 8
    need(c.image_size % step == 0,
         f"image_size: {c.image_size} is not a multiple of 8 * stem_patch = {step}, but three down-samplings halve the "
         f"map; use {max(step, c.image_size // step * step)} or {(c.image_size // step + 1) * step}")
    for i, d in enumerate(c.depths):
        need(d >= 1, f"depths[{i}]: {d}, but every stage needs at least one block; use 1 or more")
    for i, (w, r) in enumerate(zip(c.widths, c.mlp_ratios)):
        need(4 <= w <= 4096, f"widths[{i}]: {w} is outside 4..4096")
        need(w % 4 == 0, f"widths[{i}]: {w} is not a multiple of 4, but the channel-roll branches move four equal "
                         f"channel quarters; use {w // 4 * 4 or 4} or {(w // 4 + 1) * 4}")
        need(1 <= r <= 16, f"mlp_ratios[{i}]: {r} is outside 1..16")
    for s, mixer in enumerate(c.mixers):
        w, side = c.widths[s], c.maps[s]
        if mixer == "convolution":
            need(w % c.groups == 0, f"widths[{s}]: {w} is not divisible by groups = {c.groups} of the dilated "
                                    "convolutions; change either")
        else:
            need(side >= c.window and side % c.window == 0,
                 f"window: {c.window} does not divide the stage {s + 1} map of {side} x {side} "
                 f"(image_size {c.image_size} / stem_patch {c.stem_patch} / {1 << s}); windows must tile the map: "
                 "change window, image_size or stem_patch")
    need(1 <= len(c.dilations) <= 4, f"dilations: {len(c.dilations)} values; a block has one to four convolutions")
    need(all(d >= 1 for d in c.dilations), f"dilations: {c.dilations} must be positive")
    need(len(c.heads) in (2, 4), f"heads: {len(c.heads)} values; give those of stages 3 and 4, or of all four stages")
    if len(c.heads) in (2, 4):
        for i, h in enumerate(c.heads):
            need(h >= 1, f"heads[{i}]: {h}, but a stage that attends needs at least one; use 1 or more")
        for s, mixer in enumerate(c.mixers):
            h, wa = c.stage_heads(s), c.widths[s]
            key = f"heads[{s if len(c.heads) == 4 else s - 2}]" if len(c.heads) == 4 or s >= 2 else "heads"
            need(mixer == "convolution" or wa % max(h, 1) == 0,
                 f"{key}: {h} does not divide widths[{s}] = {wa}; every head needs the same number of channels")
    need(c.merge_tokens != "average" or c.pool_padding == 0,
         f"pool_padding: {c.pool_padding} with merge_tokens: average, whose cells are the windows (paper 4.2); use 0")
    need(2 * c.pool_padding < c.window,
         f"pool_padding: {c.pool_padding} with window {c.window}: 2 * pool_padding must be smaller than window, or "
         f"pooling yields more merge tokens than there are windows; use at most {(c.window - 1) // 2}")
    for key in ("mean", "std"):
        n = len(getattr(c, key))
        need(n in (1, c.image_channels),
             f"{key}: {n} values for {c.image_channels} image channels; give one or one each")
    need(all(s > 0 for s in c.std), f"std: {c.std} must be positive")
    return out


def _nearest(key: str, legal: list[str]) -> str:
    close = difflib.get_close_matches(key, legal, n=1, cutoff=0.5)
    return f"; the nearest legal key is {close[0]!r}" if close else f"; legal keys are {', '.join(sorted(legal))}"


def parse_config(data: object, where: str = "model configuration") -> ModelConfig:
    """Checks a mapping and returns the configuration.

    Args: data: what YAML gave; where: file name for messages. Raises: ConfigError listing everything that is wrong.
    """
    if not isinstance(data, dict):
        raise ConfigError("The model file is no mapping of keys to values.", where,
                          f"it holds {'nothing' if data is None else type(data).__name__}", EXAMPLE)
    try:
        config = ModelConfig.model_validate(data)
    except ValidationError as err:
        lines = []
        for e in err.errors():
            path = ".".join(str(p) for p in e["loc"])
            if e["type"] == "extra_forbidden":
                legal = Widths.model_fields if e["loc"][0] == "bits" and len(e["loc"]) > 1 else ModelConfig.model_fields
                lines.append(f"{path}: unknown key{_nearest(str(e['loc'][-1]), list(legal))}")
            elif e["type"] == "missing":
                lines.append(f"{path}: missing; it has no default, add it")
            else:
                lines.append(f"{path}: {e['msg']} (got {e['input']!r})")
        raise ConfigError("The model file cannot be used.", where, "; ".join(lines), EXAMPLE) from None
    problems = _contradictions(config)
    if problems:
        raise ConfigError("The model file contradicts itself.", where, "; ".join(dict.fromkeys(problems)))
    return config


def load_config(path: str | Path) -> ModelConfig:
    """Reads a model file. Raises ConfigError for anything wrong with it, a missing file included."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as err:
        raise ConfigError("The model file cannot be read.", path, err.strerror,
                          "give the path of a model file such as configs/model/bhvit_micro.yaml") from None
    except UnicodeDecodeError as err:
        raise ConfigError("The model file is no text file.", path, str(err), EXAMPLE) from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ConfigError("The model file is not valid YAML.", path, " ".join(str(err).split()),
                          "mend the file") from None
    return parse_config(data, str(path))
