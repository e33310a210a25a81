"""Engines that blocks share, in C++: whom the gate lets in, sets in its order, whole networks as threads."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import build as flow
from bhvit.finn_flow import graph, ops
from bhvit.finn_flow.config import load_config
from bhvit.finn_flow.hls.chain import block, dataflow
from bhvit.finn_flow.hls.cppsim import Instance, compile_nodes, run_node
from bhvit.finn_flow.hls.csim import HlsCase, compile_cases, compile_source, csim, run_cases, run_program
from bhvit.finn_flow.hls.generate import kernel
from bhvit.finn_flow.hls.network import graph_of
from bhvit.finn_flow.layers.loop import Loop
from bhvit.finn_flow.layers.registry import layers
from tests.flow import chain, networks
from tests.flow.test_stitch import streaming

HERE = Path(__file__).parent
#: what tests/hls/gate.cpp prints
SITUATIONS = {
    "limit": "stream 'in1' is waited for while it is empty\nsets 0 0\nout0 0 10\nout1\nleft 2 0\n",
    "complete": 2 * "stream 'in0' or 'in1' is waited for while it is empty\n"
                + "sets 0 0\nout0 0 10\nout1\nleft 0 0\n",
    "first": 2 * "stream 'in0' or 'in1' is waited for while it is empty\n"
             + "stream 'in1' is waited for while it is empty\nstream 'in0' or 'in1' is waited for while it is empty\n"
             + "sets 0 1 0 2 1 2 0\nout0 0 100 10 110 120 140 20\nout1 130\nleft 0 0\n",
    "order": "stream 'in0' or 'in1' is waited for while it is empty\nstream 'in0' is waited for while it is empty\n"
             "sets 0 0 1 1 2 2\nout0 0 10 100 110 120 130\nout1 140 150\nleft 0 0\n",
    "empty": "stream 'in0' is waited for while it is empty\nsets\nout0\nout1\nleft 0 4\n",
}
#: situation -> a mistake in the gate that it shows
MISTAKES = {
    "limit": ("under_way.frames < P::IN_FLIGHT", "under_way.frames <= P::IN_FLIGHT"),
    "complete": ("ring.complete() && under_way", "ring.held > 2 && under_way"),
    "first": ("enters = !returns && ring", "returns &= !(ring.complete() && under_way.frames < P::IN_FLIGHT);\n"
              "      enters = !returns && ring"),
    "order": ("returns = (returns + 1) % PLACES;", "returns = enters;"),
    "empty": ("returns = under_way.frames > 0 && !in1", "returns = !in1"),
}


def gate(folder: Path, old: str = "", new: str = "") -> dict[str, str]:
    """What the program prints in every situation, with a change in the kernel."""
    text = kernel(Loop).read_text()
    assert text.count(old) == 1 or not old
    changed = folder / "mutant" / "bhvit" / "loop.hpp"
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(old, new) if old else text)
    exe = compile_source((HERE / "gate.cpp").read_text(), {Loop}, folder, first=[folder / "mutant"])
    found = {}
    for what in SITUATIONS:
        p = subprocess.run([exe, what], capture_output=True, text=True, timeout=60)
        found[what] = p.stdout if p.returncode == 0 else f"exit code {p.returncode}: {p.stderr[-300:]}"
    return found


def test_whom_the_gate_lets_in(tmp_path):
    assert gate(tmp_path) == SITUATIONS


@pytest.mark.parametrize("what", MISTAKES)
def test_mistake_of_the_gate_shows(what, tmp_path):
    assert gate(tmp_path, *MISTAKES[what])[what] != SITUATIONS[what]


def test_gates_of_several_rounds(tmp_path):
    """Simulated alone, with an engine that has its frames ready: every frame goes round before the next one comes."""
    shapes = [a | dict(rounds=r, in_flight=f) for a in Loop.examples() for r, f in ((2, 1), (5, 4), (16, 8))]
    cases = [HlsCase.random(Loop(**a), f"gate{i}") for i, a in enumerate(shapes)]
    for c in cases:
        assert len(c.expected[0]) == c.layer.rounds * len(c.expected[1])
    result = csim(cases, tmp_path)
    assert result.failures == [] and result.beats > 3000


# ---- layers in an engine --------------------------------------------------------------------------------------------
#: sets of successive frames, as a gate may choose them for three rounds and four frames under way
ORDER = np.array([0, 0, 1, 0, 1, 2, 1, 2, 0, 2])
#: what an example lacks for three sets
MORE = {"layer_norm": dict(eps_int=700, eps_sets=[3, 700, 40])}


def cases_of_engines() -> list[HlsCase]:
    """Every layer with constants, one of three sets for a frame."""
    found = []
    for stem, cls in layers().items():
        attrs = next(a for a in cls.examples() if not (stem == "shift" and a.get("ext") == 0))
        if not cls(**attrs).constants():
            continue
        attrs = {k: v for k, v in attrs.items() if k not in ("eps_sets", "s1_sets")} | MORE.get(stem, {})
        layer = cls(**attrs | dict(sets=3, repeat=0, passes=3))
        rng = np.random.default_rng(len(found))
        constants, inputs = layer.random_constants(rng), layer.random_inputs(rng, len(ORDER))
        alone = [{k: v[s : s + 1] for k, v in constants.items()} for s in range(3)]
        frames = [layer.of_set(s).golden([x[f : f + 1] for x in inputs], alone[s]) for f, s in enumerate(ORDER)]
        expected = [np.concatenate(outs) for outs in zip(*frames)]
        found.append(HlsCase(layer, f"{stem}_shared", constants, inputs, expected, ORDER))
    return found


def test_layers_take_their_sets_from_the_gate(tmp_path):
    cases = cases_of_engines()
    assert len(cases) >= 11
    exe = compile_cases(cases, tmp_path)
    assert run_cases(exe, cases).failures == []
    for c in cases:  # another order, and nothing but that
        (tmp_path / f"{c.name}_in_set.hex").write_text("".join(f"{(s + 1) % 3:02x}\n" for s in ORDER))
    assert {f.split(":")[0] for f in run_cases(exe, cases).failures} == {c.name for c in cases}


# ---- whole engines as threads ---------------------------------------------------------------------------------------
def engine(back: int = 400, in_flight: int = 4, depth: int = 8):
    """The toy network with an engine. back: beats that fit behind its last layer; a frame has 96. depth: of others."""
    model = streaming(networks.engine(in_flight=in_flight), depth=depth, stem={"PE": 2, "SIMD": 3},
                      stage1_block1to3_mix={"PE": 4, "SIMD": 8})
    for n in graph.fifos(model):
        if n.name == "stage1_block1to3_norm_out0_fifo":
            ops.set_layer(n, ops.layer_from_node(n).model_copy(update={"depth": back}))
    return model


def schedules(exe: Path) -> dict[str, list[int]]:
    """The order that every gate chose."""
    p = subprocess.run([exe, exe.parent], capture_output=True, text=True, timeout=600)
    words = [line.split() for line in p.stdout.splitlines() if line.startswith("schedule ")]
    return {w[1]: [int(s) for s in w[2:]] for w in words}


def assert_possible(order: list[int], frames: int, rounds: int, in_flight: int) -> None:
    """Frames return in their order, and never more than ``in_flight`` are under way."""
    under_way: list[int] = []
    for s in order:
        if s:
            while under_way[0] == rounds - 1:
                under_way.pop(0)
            assert under_way.pop(0) == s - 1
        elif len(under_way) == in_flight:
            assert under_way.pop(0) == rounds - 1
        under_way.append(s)
    assert [order.count(r) for r in range(rounds)] == [frames] * rounds


@pytest.mark.parametrize("in_flight", [1, 4])
def test_engine_in_a_graph(in_flight, tmp_path):
    model = engine(in_flight=in_flight)
    x = networks.pixels(model, 7)
    want = ops.execute(model, {"pixels": x})[model.graph.output[0].name]
    design = dataflow(model, [n.name for n in model.graph.node], x)
    assert np.array_equal(next(iter(design.expected.values())), want) and len(np.unique(want)) > 20
    exe, _ = design.compile(tmp_path)
    for _ in range(5):
        result = run_program(exe, {"design": design.streams()})
        assert result.failures == [] and result.beats == want.size
        order = schedules(exe)["stage1_block1to3_gate"]
        assert_possible(order, 7, 3, in_flight)
        assert (order == [0, 1, 2] * 7) or in_flight > 1


def test_sets_of_another_order_give_other_numbers(tmp_path):
    """The comparison fails where a layer does not follow the gate."""
    model = engine()
    design = dataflow(model, block(model, "stage1_block1to3"), networks.pixels(model, 4))
    mix = next(n for n in design.nodes if n.name.endswith("_mix"))
    turned = {k: np.roll(v, 1, axis=0) for k, v in mix.constants.items()}
    object.__setattr__(mix, "constants", turned)
    (failure,) = design.run(tmp_path, sanitize=False).failures
    assert "stage1_block1to3_gate_out1" in failure and "frame 0" in failure


def test_output_of_an_engine_that_nobody_reads(tmp_path):
    """Its frames come in the order of the gate, so they are counted out and not compared."""
    model = engine()
    node = next(n for n in model.graph.node if n.name == "stage1_block1to3_gate_out0_fork")
    layer = ops.layer_from_node(node)
    ops.set_layer(node, layer.model_copy(update={"copies": layer.copies + 1}))
    node.output.append("spare")
    x = networks.pixels(model, 3)
    design = dataflow(model, [n.name for n in model.graph.node], x)
    assert design.unused == ["s_spare"] and list(design.expected) == ["tail_out0_fifo"]
    assert design.run(tmp_path, sanitize=False).failures == []


def test_engine_that_cannot_hold_a_frame(tmp_path):
    """Its FIFOs and kernels hold fewer than 60 beats, and nothing returns while a frame enters."""
    model = engine(back=2, depth=2)
    design = dataflow(model, [n.name for n in model.graph.node], networks.pixels(model, 2))
    (failure,) = design.run(tmp_path, sanitize=False).failures
    assert failure.startswith("design: deadlock: process '")
    assert "process 'stage1_block1to3_gate' waits to write to full stream 'stage1_block1to3_gate_out0_fifo'" in failure


def test_layer_of_an_engine_alone_is_refused():
    model = engine()
    with pytest.raises(UserError, match="works in an engine that blocks share") as e:
        dataflow(model, ["stage1_block1to3_mix"], networks.pixels(model, 1))
    assert "`stage1_block1to3`" in e.value.do
    with pytest.raises(UserError, match="called `stage1_block1_") as e:
        block(model, "stage1_block1")
    assert e.value.do == "did you mean `stage1_block1to3`?"


def test_node_of_an_engine_in_cppsim(tmp_path):
    """FINN's execution of a node alone gives it the sets as the golden model takes them."""
    layer = layers()["affine"](**layers()["affine"].examples()[0] | dict(sets=3, repeat=0, passes=3))
    rng = np.random.default_rng(2)
    constants, x = layer.random_constants(rng), layer.random_inputs(rng, 5)
    exe = compile_nodes([Instance("node", layer, constants)], tmp_path)
    assert np.array_equal(run_node(exe, "node", layer, x)[0], layer.golden(x, constants)[0])
    turned = {k: np.roll(v, 1, axis=0) for k, v in constants.items()}
    assert not np.array_equal(layer.golden(x, turned)[0], layer.golden(x, constants)[0])


@pytest.mark.full
def test_lowered_network_with_two_engines(tmp_path, monkeypatch):
    """Stages 3 and 4 of a small network on an engine each; every layer that an engine can have."""
    chain.model_side_here(monkeypatch)
    (tmp_path / "build.yaml").write_text(
        f"model: {chain.CONFIGS / 'engines.yaml'}\nweights: {{random: 3}}\nboard: ZCU104\ntarget_cycles: 8000\n"
        "jobs: 1\nshare: {3: [3], 4: [2]}\n")
    steps = flow.STEPS[: [s.name for s in flow.STEPS].index("step_bhvit_fold") + 1]
    flow.build(load_config(tmp_path / "build.yaml"), tmp_path / "build", steps=steps, echo=io.StringIO())
    model = graph_of(tmp_path / "build")
    graph.insert_fifos(graph.insert_width_converters(graph.insert_duplicates(model)), 4000)
    x = np.random.default_rng(1).integers(0, 256, (8, *model.get_tensor_shape(model.graph.input[0].name)[1:]))
    design = dataflow(model, [n.name for n in model.graph.node], x)
    shared = {n.layer.stem for n in design.nodes if n.gate and n.set_stream}
    assert {"threshold", "binary_linear", "affine", "layer_norm", "window_concat", "qd_attention", "window_merge",
            "shift"} <= shared
    logits = next(iter(design.expected.values()))
    assert len(np.unique(logits.reshape(8, -1), axis=0)) >= 7
    exe, _ = design.compile(tmp_path / "threads", sanitize=False, jobs=2)
    for _ in range(3):
        result = run_program(exe, {"design": design.streams()})
        assert result.failures == [] and result.beats == sum(8 * design.streams()[s].beats for s in design.expected)
    orders = schedules(exe)
    assert_possible(orders["stage3_block1to3_gate"], 8, 3, 4)
    assert_possible(orders["stage4_block1to2_gate"], 8, 2, 4)
