"""Steps as CUDA graphs and the options of long runs on a GPU, on a CPU: CUDA itself is a stub here."""

import contextlib
import csv
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bhvit.model.train import loop as loops
from bhvit.model.train.graph import WARM_UP, StepGraph

sys.path.insert(0, str(Path(__file__).parent))
from stub import StubNet
from test_train_runs import history, one_thread, run, spec  # noqa: F401

pytestmark = pytest.mark.usefixtures("no_pictures")


class Stub:
    """CUDA's graphs without CUDA: what is called inside the recording is called again by a replay."""

    def __init__(self, monkeypatch):
        self.recorded, self.recording = [], False
        stub = self

        class Graph:
            def replay(self):
                stub.result.copy_(stub.work(*stub.inputs))

        @contextlib.contextmanager
        def recording(graph):
            stub.recording = True
            yield
            stub.recording = False

        class Stream:
            def wait_stream(self, other):
                pass

        for name, value in (("Stream", Stream), ("current_stream", Stream), ("CUDAGraph", Graph), ("graph", recording),
                            ("stream", lambda s: contextlib.nullcontext())):
            monkeypatch.setattr(torch.cuda, name, value)

    def watch(self, work):
        """The work, noted while it is recorded."""
        def watched(*tensors):
            result = work(*tensors)
            if self.recording:
                self.work, self.inputs, self.result = work, tensors, result
                self.recorded.append(len(tensors))
            return result
        return watched


def test_a_graph_computes_on_the_tensors_of_the_call(monkeypatch):
    stub, net, calls = Stub(monkeypatch), nn.BatchNorm1d(3), []

    def work(x, absent):
        assert absent is None
        calls.append(x)
        (net(x) * net.weight).sum().backward()
        return x.sum().detach().clone()

    first, second = torch.randn(4, 3), torch.randn(4, 3)
    net.weight.grad = torch.full((3,), 7.0)
    before = {name: value.clone() for name, value in net.named_buffers()}
    graph = StepGraph(net, stub.watch(work), [first, None])
    assert len(calls) == WARM_UP + 1 and stub.recorded == [2]
    for name, value in net.named_buffers():  # recording leaves no traces in statistics
        assert torch.equal(value, before[name])
    kept = first.clone()
    assert graph(second, None) == second.sum() and torch.equal(first, kept)
    assert graph(first, None) == first.sum()
    assert calls[-1] is calls[WARM_UP]  # always the same memory


@pytest.fixture
def graphs(monkeypatch):
    """Loops record steps into StepGraphs that are none: they compute. Counts recordings."""
    made = []

    class Plain:
        def __init__(self, net, work, examples):
            made.append([None if e is None else tuple(e.shape) for e in examples])
            self.net, self.work = net, work

        def __call__(self, *tensors):
            self.net.zero_grad()
            return self.work(*tensors)

    init = loops.Loop.__init__

    def recording(self, *args):
        init(self, *args)
        self._record = self.options.graph and self.name != "fixed"

    monkeypatch.setattr(loops.Loop, "__init__", recording)
    monkeypatch.setattr(loops, "StepGraph", Plain)
    return made


def test_a_run_with_graphs_is_the_run_without(spec, tmp_path, graphs):  # noqa: F811
    options = dict(epochs=3, batch_size=40, finetune_epochs=1, regularization=0.1, regularization_from=0.6,
                   calibration_images=32, cutmix=1.0)
    run(spec, tmp_path / "plain", StubNet, **options, graph=False)
    assert not graphs
    run(spec, tmp_path / "graphs", StubNet, **options)
    # again where L_re begins to count; nothing in the fixed-point phase
    assert graphs == [[(40, 16, 16, 1), (40, 10), (40,), None]] * 2
    assert history(tmp_path / "plain") == history(tmp_path / "graphs")


def test_a_graph_that_cannot_be_is_left_out(spec, tmp_path, graphs, monkeypatch, capsys):  # noqa: F811
    run(spec, tmp_path / "plain", StubNet, epochs=1, batch_size=40, deploy=False, graph=False)

    def broken(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(loops, "StepGraph", broken)
    run(spec, tmp_path / "broken", StubNet, epochs=1, batch_size=40, deploy=False)
    assert history(tmp_path / "plain") == history(tmp_path / "broken")


def test_validation_now_and_then(spec, tmp_path):  # noqa: F811
    options = dict(epochs=5, batch_size=40, deploy=False, ema=0.9)
    every = run(spec, tmp_path / "every", StubNet, **options)
    metrics = run(spec, tmp_path / "third", StubNet, **options, validate_every=3)
    looked = [not math.isnan(float(row["val_top1"])) for row in history(tmp_path / "third")]
    assert looked == [True, False, False, True, False, True] and metrics["epoch"] in (0, 3, 5)
    for seen, row, other in zip(looked, history(tmp_path / "third"), history(tmp_path / "every")):
        for key in row:
            assert row[key] == other[key] or (not seen and "val" in key), key
    assert every["val_top1"] >= metrics["val_top1"]


def test_a_run_stopped_between_validations_ends_with_the_same_numbers(spec, tmp_path, monkeypatch):  # noqa: F811
    options = dict(epochs=5, batch_size=40, deploy=False, ema=0.9, validate_every=4, checkpoint_seconds=1e-9)
    run(spec, tmp_path / "whole", StubNet, **options)
    step = loops.Loop._step

    def dies(self, batch, rate, factors, sums, saving, epoch, at):
        if epoch == 3 and at == 0:
            raise KeyboardInterrupt
        return step(self, batch, rate, factors, sums, saving, epoch, at)

    monkeypatch.setattr(loops.Loop, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "parts", StubNet, **options)
    monkeypatch.undo()
    run(spec, tmp_path / "parts", StubNet, **options)
    assert history(tmp_path / "whole") == history(tmp_path / "parts")


def test_a_run_is_extended_from_a_stable_part_that_ends_without_validation(spec, tmp_path):  # noqa: F811
    options = dict(batch_size=40, deploy=False, ema=0.9, schedule="wsd", decay=0.2, warmup_epochs=1, validate_every=3)
    run(spec, tmp_path / "whole", StubNet, **options, epochs=7)
    run(spec, tmp_path / "extended", StubNet, **options, epochs=5)
    assert (tmp_path / "extended" / "stable.pt").exists()  # epoch 4, between two validations
    run(spec, tmp_path / "extended", StubNet, **options, epochs=7)
    assert history(tmp_path / "extended") == history(tmp_path / "whole")


def test_the_test_images_can_wait(spec, tmp_path):  # noqa: F811
    options = dict(epochs=1, finetune_epochs=1, batch_size=40, calibration_images=32)
    metrics = run(spec, tmp_path, StubNet, **options, test=False)
    assert not [key for key in metrics if "test" in key] and (tmp_path / "mini.safetensors").exists()
    # looked at later: the same command with test=true goes on from the checkpoint, to the end at once
    metrics = run(spec, tmp_path, StubNet, **options)
    assert {"test_top1", "float_test_top1"} <= metrics.keys()
    with open(tmp_path / "metrics.csv") as file:
        assert len(list(csv.DictReader(file))) == 4
