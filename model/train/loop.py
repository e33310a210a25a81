"""One phase of training: epochs, steps, validation, averages, and where it stands in a checkpoint."""

from __future__ import annotations

import contextlib
import math
import time

import torch
from torch import nn
from torch.nn import functional

from bhvit.errors import UserError
from bhvit.model.evaluate import percent, predict, ranks
from bhvit.model.layers import fused
from bhvit.model.train import loss as losses
from bhvit.model.train.ema import Ema
from bhvit.model.train.full_precision import signs
from bhvit.model.train.graph import StepGraph
from bhvit.model.train.schedule import learning_rate
from bhvit.progress import Progress

TITLES = {"activations": "stage 1, binary activations", "float": "phase 1, float", "fixed": "phase 2, fixed point",
          "full": "full precision"}
LOOK_EVERY = 20  # steps between two looks at the loss on a GPU, which it must wait for


class Loop:
    """Trains one phase from where it stands.

    run: the surrounding `Run` (options, batches, processes, teacher, validation images, records, `save`).
    """

    def __init__(self, run, name: str, net: nn.Module, epochs: int) -> None:
        self.run, self.name, self.net, self.epochs = run, name, net, epochs
        self.options = run.options
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        self.regularized = losses.regularized_weights(net) if name != "fixed" else []
        self.optimizer = torch.optim.AdamW(parameter_groups(net, self.options.weight_decay),
                                           self.options.learning_rate, fused=True)
        self.ema = Ema(net, self.options.ema) if self.options.ema else None
        self.forward = net
        self._fused = self.options.fused and run.processes.device.type == "cpu"
        if self.options.compile and name != "fixed" and not self._fused:
            self.forward = torch.compile(net, dynamic=False)  # every batch has the same size
        self._graph, self._graphed = None, None  # StepGraph, and for which factors of the loss
        self._record = self.options.graph and run.processes.device.type == "cuda" and name != "fixed"
        self._steps = 0  # of this process
        self._images, self._seconds, self._waiting = 0, 0.0, 0.0

    # --- the phase ---

    def train(self, phases: dict) -> dict:
        """Run the phase to its end; returns the best state on the validation images. phases[name] follows."""
        entry, steps = phases[self.name], self.run.batches.steps
        if entry is None:
            entry = phases[self.name] = self._begin()
            self.run.save(phases)
        done = entry["model"] is None
        if not done:
            self._load(entry)
        size, count = self.options.batch_size, self.epochs * steps
        start = (entry["epoch"] * steps + entry["step"]) * size
        with Progress(TITLES[self.name], count * size, "images", quiet=self.run.quiet, start=start) as bar:
            first = self.epochs + 1 if done else entry["epoch"] + 1
            for epoch in range(first, self.epochs + 1):
                loss, hits, rate = self._epoch(entry, phases, epoch, bar)
                if not self._validates(epoch):
                    self._pass(entry, phases, epoch, loss, hits, rate)
                    continue
                top1 = self._close(entry, epoch, loss, hits, rate)
                self.run.save(phases)
                bar.update(epoch * steps * size, f"epoch {epoch}/{self.epochs}, loss {loss:.3f}, val {top1:.2f} %, "
                                                 f"{self._speed():,.0f} images/s")
        entry |= {"model": None, "optimizer": None, "ema": None, "signs": None, "sums": None, "step": 0,
                  "epoch": max(self.epochs, entry["epoch"])}
        return entry["best"]

    def _validates(self, epoch: int) -> bool:
        """Whether the validation images are looked at after an epoch."""
        return epoch % self.options.validate_every == 0 or epoch == self.epochs

    def _begin(self) -> dict:
        loss, top1 = self._validate()  # the start counts as epoch 0
        self.run.log(self.name, 0, 0.0, math.nan, math.nan, loss, top1, math.nan, self._distance(), math.nan, 0.0, 0.0)
        state = copy(self.net.state_dict())
        return {"epoch": 0, "step": 0, "best": state, "best_top1": top1, "best_loss": loss, "best_epoch": 0,
                "best_ema": False, "model": state, "optimizer": self.optimizer.state_dict(), "sums": None,
                "signs": None, "ema": self.ema.dump() if self.ema else None}

    def _load(self, entry: dict) -> None:
        self.run.load(self.net, entry["model"])
        self.optimizer.load_state_dict(entry["optimizer"])
        if self.ema and entry["ema"]:
            self.ema.restore(entry["ema"])

    def _pass(self, entry: dict, phases: dict, epoch: int, loss: float, hits: float, rate: float) -> None:
        """After an epoch without validation: a row in the records; a checkpoint if the last is old or the stable part
        of schedule wsd ends, from where a run can be extended."""
        self._end(entry, epoch, loss, hits, rate, math.nan, math.nan, math.nan)
        stable = self.options.schedule == "wsd" and epoch == self.options.stable_epochs(self.epochs)
        if self.run.processes.any(self.run.due()) or stable:
            self.run.processes.average_buffers(self.net)
            self._keep(entry)
            self.run.save(phases)

    def _close(self, entry: dict, epoch: int, loss: float, hits: float, rate: float) -> float:
        """Validate after an epoch, keep the best network, write the records; returns the better top-1."""
        nets = [self.net]
        self.run.processes.average_buffers(*nets)
        if self.ema:
            self.run.processes.average(list(self.ema.average.values()))
        results = [(*self._validate(), False)]
        if self.ema:
            self.ema.swap()
            results.append((*self._validate(), True))
            self.ema.swap()
        results = self.run.processes.first(results)  # every process goes on with the same best network
        for val_loss, top1, averaged in results:
            if (top1, -val_loss) > (entry["best_top1"], -entry["best_loss"]):
                best = self.ema.state() if averaged else self.net.state_dict()
                entry |= {"best": copy(best), "best_top1": top1, "best_loss": val_loss, "best_epoch": epoch,
                          "best_ema": averaged}
        self._end(entry, epoch, loss, hits, rate, *results[0][:2], results[1][1] if self.ema else math.nan)
        self._keep(entry)
        return max(result[1] for result in results)

    def _end(self, entry: dict, epoch: int, loss: float, hits: float, rate: float, val_loss: float, top1: float,
             averaged: float) -> None:
        """Count an epoch and write its row."""
        flipped = self.run.flips.add(self.name, entry["signs"], signs(self.net))
        entry |= {"epoch": epoch, "step": 0, "sums": None, "signs": None}
        self.run.log(self.name, epoch, rate, loss, hits, val_loss, top1, averaged, self._distance(), flipped,
                     self._speed(), self._waiting / max(self._seconds, 1e-9))

    def _keep(self, entry: dict) -> None:
        entry |= {"model": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
                  "ema": self.ema.dump() if self.ema else None}

    # --- steps ---

    def _epoch(self, entry: dict, phases: dict, epoch: int, bar: Progress) -> tuple[float, float, float]:
        """The rest of an epoch; returns (mean loss, top-1 in percent, last learning rate)."""
        options, run, steps = self.options, self.run, self.run.batches.steps
        late = options.late(self.name, epoch, self.epochs, options.regularization_from * self.epochs)
        factors = losses.coefficients(options, late and self.name != "fixed")
        if entry["step"] == 0:
            entry |= {"signs": signs(self.net), "sums": torch.zeros(2, dtype=torch.float64)}
        sums = entry["sums"].to(run.processes.device)
        rate = learning_rate(options, self.name, epoch * steps - 1, self.epochs * steps, steps)
        self.net.train()
        self._images, self._seconds, self._waiting, clock = 0, 0.0, 0.0, time.monotonic()
        batches = run.batches.epoch(self.name, epoch, self.epochs, entry["step"])
        for step in range(entry["step"], steps):
            waited = time.monotonic()
            batch = next(batches)
            self._waiting += time.monotonic() - waited
            rate = learning_rate(options, self.name, (epoch - 1) * steps + step, self.epochs * steps, steps)
            # a look at the validation images may take long
            close = step + 1 == steps and self._validates(epoch)
            saving = self._step(batch, rate, factors, sums, run.due(0.25 if close else 1.0), epoch, step)
            self._images += options.batch_size
            self._seconds = time.monotonic() - clock
            bar.advance(options.batch_size, f"epoch {epoch}/{self.epochs}, {self._speed():,.0f} images/s, "
                                            f"{100 * self._waiting / max(self._seconds, 1e-9):.0f} % on data")
            if saving:
                run.processes.average_buffers(self.net)
                if step + 1 == steps:  # what is averaged below and in front of the validation
                    run.processes.average([sums, *(self.ema.average.values() if self.ema else ())])
                entry |= {"step": step + 1, "sums": sums.cpu()}
                self._keep(entry)
                run.save(phases)
        run.processes.average([sums])
        loss, hits = (sums / steps).tolist()
        return loss, 100 * hits, rate

    def _step(self, batch, rate: float, factors: tuple, sums: torch.Tensor, saving: bool, epoch: int,
              step: int) -> bool:
        """One optimizer step; adds loss and share of hits to `sums`. Returns whether some process wants to save."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # any random number that a layer draws follows from the place of the step
        torch.manual_seed((self.options.seed * 1000 + epoch) * 100_000 + step)
        with self._numbers():
            taught = self.run.teacher(batch) if factors[1] else None
        result = self._gradients(batch.images, batch.target, batch.labels, taught, factors)
        self._steps += 1
        if epoch == 1 and step == 0:  # quantizers that take their start from the first images they see
            self.run.processes.average([p.data for p in self.parameters])
        saving = self.run.processes.average_gradients(self.parameters, saving)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.options.max_gradient)
        # the sum of losses also stops being finite where a gradient is not
        sums += result + 0 * norm
        look = sums.device.type == "cpu" or saving or step % LOOK_EVERY == 0 or step + 1 == self.run.batches.steps
        if look and not torch.isfinite(sums[0]):
            raise UserError("The training diverged: the loss or a gradient is not a finite number.",
                            f"phase {self.name}, epoch {epoch}, step {step + 1}", None,
                            "lower learning_rate or finetune_learning_rate, in another folder or with --fresh; the "
                            "last checkpoint, from before, is kept")
        self.optimizer.step()
        if self.ema:
            self.ema.update()
        return saving

    def _gradients(self, images: torch.Tensor, target: torch.Tensor, labels: torch.Tensor,
                   taught: torch.Tensor | None, factors: tuple) -> torch.Tensor:
        """Leave the gradients of the loss in the parameters; returns (loss, share of hits)."""
        def work(*tensors: torch.Tensor | None) -> torch.Tensor:
            return self._forward_backward(*tensors, factors)

        tensors = (images, target, labels, taught)
        if self._record and self._steps > 0:  # the first step may wait for the GPU: quantizers take their start
            if self._graphed != factors:
                self._graph, self._graphed = None, factors
                self._graph = self._recorded(work, tensors)
            if self._graph:
                return self._graph(*tensors)
        self.optimizer.zero_grad(set_to_none=True)
        return work(*tensors)

    def _forward_backward(self, images: torch.Tensor, target: torch.Tensor, labels: torch.Tensor,
                          taught: torch.Tensor | None, factors: tuple) -> torch.Tensor:
        with self._numbers():
            logits = self._logits(images)
        loss = losses.total_loss(logits, target, taught, self.regularized, factors)
        loss.backward()
        return torch.stack([loss.detach(), (logits.argmax(1) == labels).float().mean()]).double()

    def _recorded(self, work, tensors: tuple) -> StepGraph | None:
        try:
            return StepGraph(self.net, work, tensors)
        except RuntimeError as error:  # what a library or a layer does may be impossible in a graph
            if not self.run.quiet:
                print(f"No CUDA graph here, training without it: {str(error).splitlines()[0][:200]}")
            self._record = False
            return None

    def _numbers(self):
        """Autocast where bf16 is asked for; fixed point needs float32's 24 bits."""
        if self._fused:
            return fused.active(torch.float32 if self.name == "fixed" else None)
        if self.options.precision == "bf16" and self.name != "fixed":
            return torch.autocast(self.run.processes.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        if self.forward is self.net or self._steps == 0:  # the first step may take a path of its own
            return self.net(images)
        try:
            return self.forward(images)
        except Exception as error:  # a compiler fails in its own ways; training goes on without it
            if not self.run.quiet:
                print(f"torch.compile does not work here, training without it: {str(error).splitlines()[0][:200]}")
            self.forward = self.net
            return self.net(images)

    # --- looks at the network ---

    def _validate(self) -> tuple[float, float]:
        images, batch = self.run.sets["val"], 1000 if self.run.processes.device.type == "cuda" else 128
        with self._numbers() if self._fused else contextlib.nullcontext():
            logits = predict(self.net, images.images, batch, quiet=True)
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(images.labels)).item()
        return loss, percent(ranks(logits, images.labels) < 1)

    def _distance(self) -> float:
        """L_re of the whole network, nan where there are no binary weights."""
        if not self.regularized:
            return math.nan
        with torch.no_grad():
            return float(losses.weight_regularization(self.regularized))

    def _speed(self) -> float:
        return self._images / max(self._seconds, 1e-9)


def parameter_groups(net: nn.Module, decay: float) -> list[dict]:
    """Parameters with and without weight decay: none for anything that is in effect a vector (norms, biases, moves,
    slopes, scales) nor for position embeddings."""
    groups: dict[bool, list] = {True: [], False: []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            vector = sum(side > 1 for side in parameter.shape) < 2
            groups[not vector and not name.endswith("bias") and "position" not in name].append(parameter)
    return [{"params": groups[decayed], "weight_decay": decay if decayed else 0.0}
            for decayed in (True, False) if groups[decayed]]


def copy(state: dict) -> dict:
    """A state dict with tensors of its own."""
    return {key: value.detach().clone() if isinstance(value, torch.Tensor) else value
            for key, value in state.items()}
