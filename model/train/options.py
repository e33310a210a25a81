"""Training options: everything that `bhvit train --set KEY=VALUE` accepts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PHASES = ("activations", "float", "fixed", "full")
# what a run may change when it is continued: none of it alters the numbers (but for rounding on other hardware)
FREE = {"device", "threads", "compile", "graph", "checkpoint_seconds", "workers", "test"}


class TrainConfig(BaseModel):
    """Training hyper-parameters; the defaults suit small networks on small images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # phases
    epochs: int = Field(60, ge=0, description="epochs of phase one (float batch norm)")
    finetune_epochs: int = Field(15, ge=0, description="epochs of phase two (fixed point)")
    activation_epochs: int = Field(0, ge=0, description="two-stage training: epochs before phase one in which only the "
                                   "activations are binary")
    full_precision: bool = Field(False, description="train the full-precision twin: a teacher, never deployed")
    network: Literal["bhvit", "convnet"] = Field("bhvit", description="convnet: a small convolutional network "
                                                 "instead, a teacher too, never deployed")
    deploy: bool = Field(True, description="false: stop after phase one, no fixed point (ablations)")

    start: str | None = Field(None, description="weight file of a float phase (or twin) to begin with, instead of "
                              "random weights")

    # optimizer and schedule
    batch_size: int = Field(32, ge=2, description="images per step, over all processes")
    learning_rate: float = Field(3e-3, gt=0, description="peak of phase one")
    finetune_learning_rate: float = Field(2e-4, gt=0, description="start of phase two")
    schedule: Literal["cosine", "wsd"] = Field("cosine", description="of phase one; wsd: warm-up, stable, linear "
                                               "decay; a run with wsd can be extended later")
    decay: float = Field(0.2, gt=0, le=1, description="wsd: part of the epochs in which the rate falls to zero")
    warmup_epochs: float = Field(2.0, ge=0, description="linear warm-up of phase one")
    weight_decay: float = Field(0.0, ge=0, description="AdamW; never on norms, biases and other vectors")
    max_gradient: float = Field(5.0, gt=0, description="gradients are scaled to at most this norm")
    ema: float = Field(0.0, ge=0, lt=1, description="decay per step of the averaged network, e.g. 0.999; 0: none")

    # loss
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    loss: Literal["paper", "code"] = Field("paper", description="equation 14, or the mixes of the released code")
    teacher: str | None = Field(None, description="logits:FILE.npz, net:MODEL.yaml:WEIGHTS, timm:NAME:WEIGHTS or "
                                                 "python:FILE.py:FUNCTION")
    distillation: float = Field(0.8, ge=0, le=1, description="lambda of equation 14; counts only with a teacher")
    regularization: float = Field(0.0, ge=0, lt=1, description="beta of equation 14 (paper: 0.1), phase one only")
    regularization_from: float = Field(0.9, ge=0, le=1, description="part of the epochs after which beta counts")

    # images
    shift: float = Field(0.06, ge=0, lt=0.5, description="largest random shift, as a part of the image side")
    padding: Literal["edge", "reflect", "zero"] = Field("edge", description="what a shift brings in")
    flip: bool | None = Field(None, description="random horizontal flips; default: for photographs")
    crop: Literal["shift", "resized"] = Field("shift", description="resized: random crop, scaled to the image side")
    crop_area: float = Field(0.08, gt=0, le=1, description="smallest part of the area that a resized crop takes")
    erase: float = Field(0.0, ge=0, le=1, description="probability of erasing a random rectangle")
    operations: int = Field(0, ge=0, le=4, description="random colour or geometry changes per image")
    mixup: float = Field(0.0, ge=0, description="alpha of mixup; 0: none")
    cutmix: float = Field(0.0, ge=0, description="alpha of CutMix; 0: none")
    mix_probability: float = Field(1.0, ge=0, le=1, description="share of the images that are mixed, if any are")
    mix_off_epochs: int = Field(0, ge=0, description="last epochs of a phase without mixing")

    # machine
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: autocast in the float phases; "
                                                  "fixed point is always float32")
    fused: bool = Field(False, description="on a CPU, the elementwise layers as fused kernels; in the float phases "
                        "maps and products are bf16 where the processor has it, else float32")
    compile: bool = Field(False, description="torch.compile in the float phases, where it works")
    graph: bool = Field(True, description="on a GPU, forward and backward pass of the float phases as one CUDA graph, "
                        "where it works")
    threads: int | None = Field(None, ge=1, description="threads of PyTorch on the CPU")
    workers: int = Field(4, ge=1, description="threads that decode photographs")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    checkpoint_seconds: float = Field(240, gt=0, description="a checkpoint at least this often, inside an epoch too")
    validate_every: int = Field(1, ge=1, description="epochs between two looks at the validation images, which choose "
                                "the network; the last epoch has one always")
    test: bool = Field(True, description="false: the test images are not looked at when training ends "
                       "(`bhvit evaluate` does it)")
    calibration_images: int | None = Field(None, ge=1, description="training images from which freeze takes scales; "
                                           "default: 256 of small size, 16 of 224 x 224 (75 MB each for BHViT-tiny)")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.loss == "code" and self.teacher is None:
            raise ValueError("loss code distils from a teacher; set teacher, or take loss paper")
        if self.teacher is not None and self.distillation + self.regularization > 1:
            raise ValueError("distillation + regularization must not exceed 1")
        return self

    def phases(self) -> dict[str, int]:
        """Phase -> epochs, in order."""
        if self.full_precision or self.network == "convnet":
            return {"full": self.epochs}
        first = {"activations": self.activation_epochs} if self.activation_epochs else {}
        return first | {"float": self.epochs} | ({"fixed": self.finetune_epochs} if self.deploy else {})

    def late(self, phase: str, epoch: int, epochs: int, first: float) -> bool:
        """Whether epoch 1..epochs lies behind the first `first` epochs of its phase; with wsd never inside the stable
        part, which must not depend on how long the run is."""
        if self.schedule == "wsd" and phase != "fixed":
            first = max(first, self.stable_epochs(epochs))
        return epoch - 1 >= first - 1e-9

    def stable_epochs(self, epochs: int) -> int:
        """wsd: epochs of a phase before the learning rate begins to fall."""
        return max(0, epochs - max(1, round(self.decay * epochs)))
