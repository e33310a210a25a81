"""The C++ of a whole network: every node through FINN's execution, equal to the golden models."""

from __future__ import annotations

import io

import numpy as np
import pytest
import yaml

from bhvit.errors import CheckFailed, UserError
from bhvit.finn_flow import build as flow
from bhvit.finn_flow import ops
from bhvit.finn_flow.config import load_config
from bhvit.finn_flow.hls.network import as_hls, check, compare, graph_of, images_of, prepare
from bhvit.finn_flow.layers.loop import Loop
from tests.flow import chain, networks
from tests.flow.test_stitch import FOLDINGS, streaming

from .conftest import ROOT


def test_toy_network(tmp_path):
    """Compiled once; equal nodes share their code; a node that differs is named."""
    model = as_hls(streaming(networks.residual(), **FOLDINGS))
    assert {ops.implementation(n) for n in model.graph.node} == {"hls"}
    log: list[str] = []
    made = prepare(model, tmp_path, jobs=1, log=log.append)
    assert made.nodes == len(model.graph.node) > made.distinct and made.compiled == made.programs == len(log) == 1
    x = networks.pixels(model, 3)
    result = compare(model, x)
    check(result, tmp_path)
    assert result.failures == [] and result.frames == result.distinct_outputs == 3 and result.tensors >= made.nodes
    assert prepare(model, tmp_path, jobs=1).compiled == 0

    # the graph's constants change, the programs do not: FINN's execution shows what the programs compute
    t = model.get_initializer("sign_pol").copy()
    t[0, 3] ^= 1
    model.set_initializer("sign_pol", t)
    result = compare(model, x)
    assert result.failures[0].startswith("sign (BvThreshold_hls): ") and "1 instead of" in result.failures[0]
    with pytest.raises(CheckFailed, match="does not compute what its golden models compute") as e:
        check(result, tmp_path)
    assert e.value.why == result.failures[0]
    assert prepare(model, tmp_path, jobs=1).compiled == 1 and compare(model, x).failures == []


def test_shared_engines_are_refused(tmp_path):
    dims = [1, 3, 4]
    model = ops.new_model([("x", dims, None), ("back", dims, None)], ["y", "engine"])
    gate = ops.make_node(Loop(dims=[3, 4], rounds=2), ["x", "back"], ["engine", "y"], {}, model, "gate")
    model.graph.node.append(gate)
    model = as_hls(model)
    assert model.graph.node[0].op_type == "BvLoop_hls"
    for refused in (lambda: prepare(model, tmp_path), lambda: compare(model, np.zeros(dims, int))):
        with pytest.raises(UserError, match="cannot execute this graph node by node") as e:
            refused()
        assert "bhvit hls dataflow" in e.value.do and not list(tmp_path.iterdir()), "before anything is compiled"


def test_folder_without_a_graph(tmp_path):
    with pytest.raises(UserError, match="no hardware graph"):
        graph_of(tmp_path)
    with pytest.raises(UserError, match="golden tensors cannot be read"):
        images_of(tmp_path, 1)


@pytest.mark.full
def test_micro(micro, tmp_path):
    """The trained demonstration network with all its FIFOs and width converters."""
    model = as_hls(graph_of(micro))
    made = prepare(model, tmp_path, jobs=1)
    assert made.nodes > 400 and made.distinct > 250
    result = compare(model, images_of(micro, 2))
    assert result.failures == [] and result.nodes == made.nodes and result.distinct_outputs == 2


@pytest.mark.full
def test_cifar10_with_random_weights(tmp_path, monkeypatch):
    """The CIFAR-10 network, lowered and folded as its build file says."""
    chain.model_side_here(monkeypatch)
    entries = yaml.safe_load((ROOT / "configs/build/bhvit_cifar10_s.yaml").read_text())
    entries |= {"model": str(ROOT / "configs/model/bhvit_cifar10_s.yaml"), "weights": {"random": 1}, "jobs": 1}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(entries))
    steps = flow.STEPS[: [s.name for s in flow.STEPS].index("step_bhvit_fold") + 1]
    flow.build(load_config(tmp_path / "build.yaml"), tmp_path / "build", steps=steps, echo=io.StringIO())
    model = as_hls(graph_of(tmp_path / "build"))
    prepare(model, tmp_path / "programs", jobs=1)
    images = images_of(tmp_path / "build", 1)
    assert len(np.unique(images)) > 50
    result = compare(model, images)
    assert result.failures == [] and result.values > 1_000_000
