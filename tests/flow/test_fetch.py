"""Constant sets of an engine that stay in the memory of the system: fetched while it runs, two on the chip."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from bhvit.errors import UserError
from bhvit.finn_flow import fetch, graph, load, ops, stitch
from bhvit.finn_flow.config import BuildConfig, MemoryConfig
from bhvit.finn_flow.layers.base import FoldingError
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import DISTRIBUTED, ULTRA, Store
from bhvit.finn_flow.sim.design import DesignSim
from bhvit.finn_flow.sim.verilate import Stalls
from bhvit.finn_flow.synth import instance_files
from bhvit.finn_flow.synth_build import synthesize_build

from . import networks
from .test_stitch import streaming

FRAMES = 12


def engine(monkeypatch, ports: int = 1, **styles: str):
    """An engine of four blocks whose sets are fetched, its images and what they become."""
    monkeypatch.setattr(fetch, "WORTH", 1)
    monkeypatch.setattr(fetch, "PORTS", ports)
    model = networks.engine(rounds=4)
    x = networks.pixels(model, FRAMES)
    want = ops.execute(model, {"pixels": x})["logits"]
    fetch.keep(model, MemoryConfig(fetch=[1]))
    for n in model.graph.node:
        if graph.stem(n) in styles:
            ops.set_layer(n, ops.layer_from_node(n).model_copy(update={"styles": styles[graph.stem(n)]}))
    return streaming(model, depth=64), x, want


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The engine's design, its layers on one port, compiled; images and outputs."""
    folder = tmp_path_factory.mktemp("fetch")
    with pytest.MonkeyPatch.context() as monkeypatch:
        model, x, want = engine(monkeypatch, binary_linear="WEIGHT=ultra EPILOGUE=block")
        design = stitch.stitch(model, folder / "stitched_ip")
        return design, DesignSim(design, folder / "sim", optimize="-O0"), x, want, folder


@pytest.mark.parametrize("stalls, bandwidth", [
    (Stalls(), 0.0), (Stalls(), 4.0), (Stalls(seed=3, input_percent=40, output_percent=40), 2.0),
    (Stalls(seed=5, input_percent=30, output_percent=30, burst=400), 0.0)], ids=["fast", "memory", "stalls", "bursts"])
def test_bit_exact(built, stalls, bandwidth):
    design, sim, x, want, _ = built
    result, _ = sim.run(x, stalls=stalls, bandwidth=bandwidth)
    assert result.status == 0, result.log
    assert np.array_equal(result.outputs[0], want)
    (port,) = design.weights
    assert result.streamed == FRAMES * port["words"] * 8, "every set once for every frame"


def test_what_is_stitched(built):
    design = built[0]
    (port,) = design.weights
    assert port["asked"] and {n.split("_")[-1] for n in port["node"].split(", ")} == {"mix", "sign"}
    assert (design.memories / "weight0_V.bin").stat().st_size == 8 * port["words"]
    assert not list(design.memories.glob("*_epilogue.mem")) or all(
        "mix" not in f.name for f in design.memories.glob("*_epilogue.mem"))
    assert stitch.Design.load(design.folder) == design and not design.loads


@pytest.mark.parametrize("old, new", [("4'(asked - left) < 4'd2", "4'(asked - left) < 4'd3"),
                                      ("open = filled != entered", "open = 1'b1"),
                                      ("slot ? words : 32'd0", "32'd0")], ids=["early", "unchecked", "one slot"])
def test_a_mutation_is_noticed(built, old, new, tmp_path):
    design, _, x, want, _ = built
    copy = tmp_path / "stitched_ip"
    shutil.copytree(design.folder, copy)
    text = (copy / "rtl" / "bv_sets.sv").read_text()
    assert text.count(old) == 1
    (copy / "rtl" / "bv_sets.sv").write_text(text.replace(old, new))
    result, _ = DesignSim(stitch.Design.load(copy), tmp_path / "sim", optimize="-O0").run(x)
    assert not np.array_equal(result.outputs[0], want)


def test_a_wrong_set_is_noticed(built):
    design, sim, x, want, _ = built
    image = design.memories / "weight0_V.bin"
    right = image.read_bytes()
    image.write_bytes(right[len(right) // 2:] + right[:len(right) // 2])
    try:
        assert not np.array_equal(sim.run(x)[0].outputs[0], want)
    finally:
        image.write_bytes(right)


def test_synthesis(built, monkeypatch):
    """What fetches the sets is synthesized with the layers, and what they share is counted once for each port."""
    design, *_ = built
    model = ops.load(design.folder / "graph.onnx")
    held = [n for n in model.graph.node if ops.layer_from_node(n).held]
    for n in held:
        layer, constants = ops.layer_of(n, model)
        assert {"bv_sets.sv", "bv_binary_linear.sv", "bv_threshold.sv"} & set(instance_files(layer, "dut", constants)) \
            == {"bv_sets.sv", f"bv_{layer.stem}.sv"}
    (design.folder.parent / "report").mkdir(exist_ok=True)
    monkeypatch.setattr(fetch, "PORTS", 1)
    told = synthesize_build(design.folder.parent)
    (port,) = design.weights
    shared = told["layers"][port["port"].removesuffix("_V")]
    assert shared["LUT"] > 0 and shared["FF"] > 0 and told["complete"]
    assert told["total"]["FF"] == sum(v["FF"] for v in told["layers"].values())
    assert len(held) == 2 and told["instances"] == len(told["layers"]) - 1
    assert synthesize_build(design.folder.parent) == told, "from what is kept"


def test_ports_share_the_work(monkeypatch):
    model, _, _ = engine(monkeypatch, ports=2)
    plan = fetch.plan(model)
    assert [p.name for p in plan.ports] == ["weight0", "weight1"] and set(plan.offsets.values()) == {0}
    assert len(plan.ports[0].image) > len(plan.ports[1].image)
    monkeypatch.setattr(fetch, "PORTS", 1)
    plan = fetch.plan(model)
    (port,) = plan.ports
    assert sorted(plan.offsets.values())[1] % 64 == 0 and len(port.nodes) == 2


def test_memories_hold_two_sets():
    cls = layers()["binary_linear"]
    fields = dict(token_dims=[4], in_channels=64, out_channels=64, SIMD=64, sets=6, repeat=0, passes=6)
    every, held = cls(**fields), cls(**fields, held=2)
    depth = {s.name: s.depth for s in every.stores() if s.const}
    for s in held.stores():
        if s.const:
            assert s.fetched and s.loadable and s.depth * 3 == depth[s.name] and ULTRA in s.styles()
    assert load.fetched(held) == ["WEIGHT", "EPILOGUE"] and not load.loaded(held) and not load.fetched(every)
    constants = held.random_constants(np.random.default_rng(0))
    words, beats, size = load.beats_of_set(held, constants)
    assert words == [64, 64] and beats[0] == 64 and size == 8 * sum(beats)
    assert len(load.set_image(held, constants)) == 6 * load.stride(size)
    rom, ram = (Store("A", 100, 128, const=True, fetched=f).with_style(DISTRIBUTED).cost.lut for f in (False, True))
    assert ram > rom, "what is written is no look-up table of constants"


def test_errors(monkeypatch):
    with pytest.raises(FoldingError, match="held"):
        layers()["binary_linear"](token_dims=[4], in_channels=8, out_channels=8, held=2)
    with pytest.raises(FoldingError, match="held"):
        layers()["add"](dims=[4, 8], sets=3, repeat=0, held=2)
    with pytest.raises(UserError, match="no engine of three blocks"):
        fetch.keep(networks.engine(rounds=2), MemoryConfig(fetch=[1]))
    model = networks.engine(rounds=3)
    fetch.keep(model, MemoryConfig(fetch=[1]))
    assert not any(ops.layer_from_node(n).held for n in model.graph.node), "too small to pay"


def test_layers_of_vitis_cannot_fetch(monkeypatch, tmp_path):
    model, _, _ = engine(monkeypatch)
    (tmp_path / "kept").touch()
    held = next(n.name for n in model.graph.node if ops.layer_from_node(n).held)
    for name in (held, graph.gates(model)[held]):
        monkeypatch.setattr(stitch, "load_hls", lambda *_, name=name: {name: None})
        with pytest.raises(UserError, match=rf"(?s)only be fetched for layers and gates in RTL.*{name}.*`hls_rtl`"):
            stitch.stitch(model, tmp_path)
    assert (tmp_path / "kept").exists()


def test_stages_without_engines_are_refused():
    build = dict(model="m.yaml", weights={"random": 1}, part=networks.PART, target_cycles=8000)
    with pytest.raises(ValueError, match=r"`memory.fetch` names stage 4.*`share`"):
        BuildConfig(**build, share={3: [3]}, memory={"fetch": [3, 4]})
    config = BuildConfig(**build, share={3: [3]}, memory={"fetch": [3]})
    assert config.fold_memory == {"fetch": [3]} and "fetch" not in BuildConfig(**build).fold_memory
