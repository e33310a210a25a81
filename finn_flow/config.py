"""The build file: what to build, for which board, how fast. Unknown keys are errors; paths are relative to the file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bhvit.errors import UserError

from .devices import Device, device_of


class Weights(BaseModel):
    """Exactly one of a weight file and a seed of recipe weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = None
    random: int | None = None

    @model_validator(mode="after")
    def _one(self) -> Weights:
        if (self.file is None) == (self.random is None):
            raise ValueError("give either `file: FILE` or `random: SEED`")
        return self


class MemoryConfig(BaseModel):
    """`memory` of a build file: a name alone stands for `plan`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: Literal["auto", "block", "tool"] = Field(
        "auto", description="auto: all that the device has; block: no UltraRAM; tool: left to the synthesis tool")
    share: float = Field(0.85, gt=0, le=1, description="share of block RAM and UltraRAM that may be used")
    lut_share: float = Field(0.75, gt=0, le=1, description="share of the look-up tables for logic and memories")
    fifo_share: float = Field(0.12, ge=0, lt=1, description="share of these budgets that fitting leaves for FIFOs")
    ultra_constants: bool = Field(False, description="constants in UltraRAM, which a start-up loader must then fill")
    fetch: list[int] = Field([], description="stages whose engines keep two sets of large constants on the chip and "
                             "fetch the others from the memory of the system: [3]")
    styles: dict[str, Literal["distributed", "block", "ultra", "stream"]] = Field(
        {}, description="styles that are given: {node.MEMORY: style}; stream: weights stay in the memory of the system")

    def may_be_ultra(self, device: Device | None) -> bool:
        """Whether buffers may be UltraRAM: the device is known and has it, and the plan may use it."""
        return self.plan == "auto" and device is not None and device.uram > 0


class BuildConfig(BaseModel):
    """One build. Of target_fps, target_cycles and folding_file exactly one is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path = Field(description="model file (YAML)")
    weights: Weights = Field(description="`{file: FILE}`: deployed weights; `{random: SEED}`: recipe weights")
    board: str | None = Field(None, description="FINN board name, e.g. ZCU104")
    part: str | None = Field(None, description="device, which follows from the board")
    clock_mhz: float = Field(250.0, gt=0, le=2000, description="assumed clock, for frame rates and latencies in time")
    target_fps: float | None = Field(None, gt=0, description="frames per second at that clock")
    target_cycles: int | None = Field(None, gt=0, description="interval in clock cycles per frame")
    folding_file: Path | None = Field(None, description="FINN folding JSON")
    optimize: Literal["cost", "fit"] = Field("cost", description="foldings of least cost at fixed prices, or "
                                             "those that leave the most of what is scarce on the device")
    fifos: Literal["fast", "deep", "small"] = Field(
        "fast", description="depths of FIFOs: as bursts fill them, less where a cheaper memory does; deep: never less "
                            "(fewest simulations); small: cut to what residuals need (up to sixteen more)")
    rows: Literal["rotate", "frame"] = Field("rotate", description="row order of maps: rotate it, or buffer frames")
    share: dict[int, list[int]] = Field({}, description="blocks that share engines, by stage: {3: [4, 2]} lets the "
                                        "first four blocks of stage 3 share one and the other two another")
    in_flight: dict[int, Annotated[int, Field(ge=1, le=8)]] = Field(
        {}, description="frames at most under way in the engines of a stage (4 where nothing is said): {3: 6}")
    backend: Literal["open", "vivado"] = Field("open", description="stated in reports; with vivado the log names the "
                                               "implementation of each node")
    memory: MemoryConfig = Field(MemoryConfig(), description="plan of the memories: auto, block (no UltraRAM), tool "
                                 "(left to it), or a section: {plan: auto, share: 0.85, styles: {node.MEMORY: block}}")
    output: Literal["logits", "top1"] = Field("logits", description="what leaves the device: all logits, or the class")
    implementation: dict[str, Literal["rtl", "hls"]] = Field(
        {}, description="implementation by layer kind or node name: {shift: hls}; rtl where nothing is said")
    hls_rtl: dict[str, Path] = Field({}, description="nodes that take Verilog of Vitis HLS: {node: project folder}")
    jobs: int = Field(2, ge=1, le=256, description="compiler processes at a time")

    @field_validator("memory", mode="before")
    @classmethod
    def _memory(cls, v: Any) -> Any:
        return {"plan": v} if isinstance(v, str) else v

    @model_validator(mode="after")
    def _consistent(self) -> BuildConfig:
        given = [k for k in ("target_fps", "target_cycles", "folding_file") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of target_fps, target_cycles, folding_file"
                             + (f", not {' and '.join(given)}" if given else ""))
        if self.board is None and self.part is None:
            raise ValueError("give `board` or `part`")
        if lone := sorted(set(self.in_flight) - set(self.share)):
            raise ValueError(f"`in_flight` names stage {lone[0]}, whose blocks share no engine: add it to `share`")
        if self.memory.fetch and self.implementation.get("loop") == "hls":
            raise ValueError("`memory.fetch` needs gates in RTL: take `loop` out of `implementation`")
        if lone := sorted(set(self.memory.fetch) - set(self.share)):
            raise ValueError(f"`memory.fetch` names stage {lone[0]}, whose blocks share no engine: add it to `share`")
        return self

    @staticmethod
    def help(key: str) -> str | None:
        """What a key means, as far as it is not said by its name."""
        if key.split(".")[0] == "weights":
            return "write `weights: {file: FILE}` or `weights: {random: SEED}`"
        key = key.split(".")[0]
        field = BuildConfig.model_fields.get(key)
        return f"`{key}` is the {field.description}" if field and field.description else None

    @property
    def device(self) -> str:
        """The part number."""
        if self.part is not None:
            return self.part
        parts = board_parts()
        if self.board not in parts:
            near = difflib.get_close_matches(str(self.board), parts, n=2)
            raise UserError(f"The board `{self.board}` is not known.", "board",
                            do=f"did you mean {' or '.join(near)}?" if near
                            else f"choose one of {', '.join(parts)}, or give `part`")
        return parts[self.board]

    @property
    def fold_memory(self) -> dict[str, Any]:
        """What folding reads of device and memories: everything for fitting, else the weights that stay outside."""
        if self.optimize == "fit":
            return {"device": self.device, **self.memory.model_dump(mode="json")}
        return {**({"fetch": self.memory.fetch} if self.memory.fetch else {}),
                **{k: v for k, v in self.memory.styles.items() if v == "stream"}}

    @property
    def fifo_memory(self) -> bool:
        """What FIFO sizing reads of device and memories: whether there is UltraRAM to use."""
        return self.memory.may_be_ultra(device_of(self.device))

    @property
    def cycles(self) -> int | None:
        """Target interval in cycles, None with a folding file."""
        if self.target_cycles is not None:
            return self.target_cycles
        return None if self.target_fps is None else int(self.clock_mhz * 1e6 / self.target_fps)


def board_parts() -> dict[str, str]:
    """Board name -> part, as FINN knows them."""
    from . import finn_env

    finn_env.setup()
    from finn.util.basic import part_map

    return dict(part_map)


def load_config(path: Path, overrides: tuple[str, ...] | list[str] = ()) -> BuildConfig:
    """Read a build file.

    Args:
        overrides: ``key=value`` texts that replace entries; dots go into sections (``weights.random=3``), the value is
            YAML. Giving one of the three targets replaces the one in the file. A path that exists from the working
            folder is taken from there.
    Raises:
        UserError: with file, key, reason and what to write instead.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as e:
        raise UserError("The build file cannot be read.", path, e.strerror,
                        "give a build file such as configs/build/bhvit_micro.yaml") from e
    except UnicodeDecodeError as e:
        raise UserError("The build file is no text file.", path, str(e), "see configs/build for examples") from e
    except yaml.YAMLError as e:
        raise UserError("The build file is no YAML.", path, str(e).replace("\n", " ")) from e
    if not isinstance(data, dict):
        raise UserError("The build file is empty or no mapping.", path, do="see configs/build for examples")
    for text in overrides:
        key, sep, value = text.partition("=")
        if not sep:
            raise UserError(f"`--set {text}` has no value.", "command line",
                            do="write key=value, e.g. --set target_fps=1000")
        place, names = data, key.split(".")
        for n in names[:-1]:
            if not isinstance(place.get(n), dict):
                place[n] = {"plan": place[n]} if n == "memory" and isinstance(place.get(n), str) else {}
            place = place[n]
        if key in TARGETS:
            for t in TARGETS:
                data.pop(t, None)
        if names[0] == "weights" and len(names) == 2:
            place.clear()
        if key in ("board", "part"):
            data.pop("part", None), data.pop("board", None)
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as e:
            raise UserError(f"`--set {text}`: the value is no YAML.", "command line", str(e).replace("\n", " ")) from e
        if (key in PATHS or names[0] == "hls_rtl") and isinstance(parsed, str) and Path(parsed).exists():
            parsed = str(Path(parsed).resolve())  # typed on the command line: relative to the working folder
        place[names[-1]] = parsed
    try:
        cfg = BuildConfig.model_validate(data)
    except ValidationError as e:
        raise _user_error(path, e) from e
    base = path.resolve().parent

    def absolute(p: Path | None) -> Path | None:
        return None if p is None else p if p.is_absolute() else (base / p).resolve()

    cfg = cfg.model_copy(update={
        "model": absolute(cfg.model), "folding_file": absolute(cfg.folding_file),
        "hls_rtl": {node: absolute(p) for node, p in cfg.hls_rtl.items()},
        "weights": cfg.weights.model_copy(update={"file": absolute(cfg.weights.file)})})
    for what, p in (("model", cfg.model), ("weights.file", cfg.weights.file), ("folding_file", cfg.folding_file)):
        if p is not None and not p.is_file():
            hint = "train the network first, or use `weights: {random: SEED}`" if what == "weights.file" else None
            raise UserError(f"The file of `{what}` does not exist.", path, str(p), hint)
    _ = cfg.device
    return cfg


SECTIONS = {"weights": Weights, "memory": MemoryConfig}
PATHS = ("model", "weights.file", "folding_file")
TARGETS = ("target_fps", "target_cycles", "folding_file")


def _user_error(path: Path, error: ValidationError) -> UserError:
    # a misspelled key before the complaint that the right one is missing
    first: dict[str, Any] = dict(sorted(error.errors(), key=lambda e: (e["type"] != "extra_forbidden",
                                                                       e["type"] == "missing"))[0])
    key = ".".join(map(str, first["loc"]))
    where = f"{path}: {key}" if key else str(path)
    if first["type"] == "extra_forbidden":
        legal = list(SECTIONS.get(key.split(".")[0] if "." in key else "", BuildConfig).model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]), legal, n=1)
        return UserError(f"The build file has the unknown key `{key}`.", path,
                         do=f"did you mean `{near[0]}`?" if near else f"legal keys: {', '.join(legal)}")
    if first["type"] == "missing":
        return UserError(f"The build file lacks `{key}`.", path, do=BuildConfig.help(key) or "add it")
    message = str(first.get("ctx", {}).get("error") or first["msg"])
    if first["type"] != "value_error":
        message = f"{first['input']!r}: {message[0].lower()}{message[1:]}"
    if key == "weights" and not isinstance(first["input"], dict):
        message = f"{first['input']!r} is neither `file: FILE` nor `random: SEED`"
    return UserError("The build file cannot be used.", where, message, BuildConfig.help(key))
