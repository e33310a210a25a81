"""Constants that the start-up loader writes: kernels with a load bus equal their golden models."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.layers.base import FoldingError
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.layers.storage import STREAM, ULTRA
from bhvit.finn_flow.load import FILE, Segment, beats, loaded, read, segments, write
from bhvit.finn_flow.sim.kernel import KernelSim
from bhvit.finn_flow.sim.verilate import Stalls, run_simulator
from bhvit.finn_flow.wrapper import memory_files, wrapper

STALLS = (Stalls(), Stalls(seed=5, input_percent=40, output_percent=40))

#: words of less than a beat, of one beat, of several, and several sets
CASES = [
    ("binary_linear", dict(token_dims=[6], in_channels=16, out_channels=12, PE=3, SIMD=4, TP=2, sh1=2, act=0)),
    ("binary_linear", dict(token_dims=[4], in_channels=32, out_channels=8, PE=4, SIMD=16, sh1=2, act=0, sets=2)),
    ("binary_linear", dict(token_dims=[4], in_channels=60, out_channels=6, PE=3, SIMD=60, sh1=2, act=0)),
    ("int_linear", dict(token_dims=[5], in_channels=6, out_channels=9, PE=3, SIMD=3, sh1=7, act=0)),
    ("binary_conv", dict(height=5, width=4, in_channels=6, out_channels=4, groups=2, dilations=[1, 2], PE=2, SIMD=3,
                         sh1=[2, 3], sh2=[4, 5])),
    ("position_embedding", dict(dims=[5, 6], SIMD=3, ka=1, offset=1, sh=1, sets=2)),
]


def ultra(stem, attrs):
    cls = layers()[stem]
    names = [s.name for s in cls(**attrs).stores() if s.const and s.loadable]
    return cls(**attrs, styles=" ".join(f"{n}={ULTRA}" for n in names))


@pytest.mark.parametrize("stem, attrs", CASES, ids=[f"{s}-{i}" for i, (s, _) in enumerate(CASES)])
def test_loaded_constants_equal_the_golden_model(stem, attrs, tmp_path, monkeypatch):
    layer = ultra(stem, attrs)
    rng = np.random.default_rng(8)
    constants, inputs = layer.random_constants(rng), layer.random_inputs(rng, 5)
    expected = layer.golden(inputs, constants)
    assert len(loaded(layer)) == 1 and len(np.unique(expected[0])) > 1
    assert not any(loaded(layer)[0].lower() in f for f in memory_files(layer, "a", constants)), "loaded and initialised"
    sim = KernelSim(layer, constants, tmp_path)
    for i, stalls in enumerate(STALLS):
        if i:
            monkeypatch.setenv("BV_LOAD_IDLE", "3")
        got = sim.run(inputs, stalls)
        assert got.status == 0, got.log
        assert np.array_equal(got.outputs[0], expected[0])

    # what the loader leaves out or sends elsewhere is missing
    found = read(tmp_path / FILE)
    words = found[0].words
    for wrong in ([], [Segment(1, 0, words)], [Segment(0, 0, words ^ np.uint64(1))]):
        write(tmp_path / "wrong.bin", wrong)
        got = run_simulator(sim.exe, list(zip(layer.inputs(), inputs)), layer.outputs(), 5, cwd=tmp_path,
                            load=tmp_path / "wrong.bin")
        assert got.status == 0 and not np.array_equal(got.outputs[0], expected[0])

    # in pieces, the last one first
    parts = len(found[0].words) // layer.memories(constants)[loaded(layer)[0]].depth
    cut = len(found[0].words) // parts // 2
    pieces = [Segment(0, cut, found[0].words[cut * parts:]), Segment(0, 0, found[0].words[: cut * parts])]
    write(tmp_path / "pieces.bin", pieces)
    got = run_simulator(sim.exe, list(zip(layer.inputs(), inputs)), layer.outputs(), 5, cwd=tmp_path,
                        load=tmp_path / "pieces.bin")
    assert np.array_equal(got.outputs[0], expected[0])


def test_every_loadable_kernel_is_here():
    loadable = {stem for stem, cls in layers().items() for a in cls.examples()
                if any(s.loadable for s in cls(**a).stores())}
    assert {s for s, _ in CASES} == loadable
    widths = {s.width for stem, a in CASES for s in layers()[stem](**a).stores() if s.loadable}
    assert any(w < 64 for w in widths) and 64 in widths and any(w > 64 and w % 64 for w in widths)


def test_file_and_beats(tmp_path):
    layer = ultra(*CASES[2])
    constants = layer.random_constants(np.random.default_rng(1))
    memory = layer.memories(constants)["WEIGHT"]
    words = [int(h, 16) for h in memory.hex_lines()]
    b = beats(memory).reshape(len(words), -1)
    assert [sum(int(v) << 64 * i for i, v in enumerate(r)) for r in b] == words
    some = segments(layer, constants, {"WEIGHT": 7})
    write(tmp_path / FILE, some)
    (again,) = read(tmp_path / FILE)
    assert (again.target, again.first) == (7, 0) and np.array_equal(again.words, some[0].words)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-8])
    with pytest.raises(ValueError, match="ends within a segment"):
        read(tmp_path / FILE)


def test_a_wrapper_without_loaded_memories_has_no_bus():
    stem, attrs = CASES[0]
    layer = layers()[stem](**attrs)
    constants = layer.random_constants(np.random.default_rng(1))
    assert "load" not in wrapper(layer, "a", constants)
    assert ".WEIGHT_TARGET(9)" in wrapper(ultra(stem, attrs), "a", constants, 9)


STREAMED = [
    ("int_linear", dict(token_dims=[6], in_channels=6, out_channels=9, PE=3, SIMD=3, TP=2, sh1=7, act=0)),
    ("int_linear", dict(token_dims=[1], in_channels=16, out_channels=10, PE=2, SIMD=8, sh1=0, act=0)),
    ("binary_linear", dict(token_dims=[4], in_channels=24, out_channels=6, PE=3, SIMD=12, TP=2, act=1, res1=1, res2=1,
                           o_bits=16, o2_bits=14, sh1=3, sh2=4, k2=2)),
    ("position_embedding", dict(dims=[4, 3, 6], in_bits=7, pe_bits=5, SIMD=3, TP=2, kb=2, sh=1)),
]


@pytest.mark.parametrize("stem, attrs", STREAMED, ids=[f"{s}-{i}" for i, (s, _) in enumerate(STREAMED)])
def test_streamed_constants_equal_the_golden_model(stem, attrs, tmp_path):
    (name,) = (s.name for s in layers()[stem](**attrs).stores() if s.streamable)
    layer = layers()[stem](**attrs, styles=f"{name}={STREAM}")
    rng = np.random.default_rng(9)
    constants, inputs = layer.random_constants(rng), layer.random_inputs(rng, 6)
    expected = layer.golden(inputs, constants)
    assert len(np.unique(expected[0])) > 1
    assert {s.cost.lut for s in layer.styled_stores() if s.name == name} == {0}
    sim = KernelSim(layer, constants, tmp_path)
    free = sim.run(inputs)
    assert free.interval == layer.cycles(), "a stream that is always there costs no cycle"
    for stalls, bandwidth in ((Stalls(), 0.0), (STALLS[1], 0.0), (Stalls(), 0.7), (STALLS[1], 3.0)):
        got = sim.run(inputs, stalls, bandwidth=bandwidth)
        assert got.status == 0, got.log
        assert np.array_equal(got.outputs[0], expected[0]), (stalls, bandwidth)
    slow = sim.run(inputs, bandwidth=0.25)
    assert np.array_equal(slow.outputs[0], expected[0]) and slow.cycles > free.cycles, "the bandwidth has no effect"
    file, size = sim.weights[0]
    words = np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, size)
    file.write_bytes(np.roll(words, 1, axis=0).tobytes())  # out of step by a word
    assert not np.array_equal(sim.run(inputs).outputs[0], expected[0])


def test_an_engine_has_no_streamed_weights():
    stem, attrs = STREAMED[0]
    with pytest.raises(FoldingError, match="WEIGHT=stream is not possible"):
        layers()[stem](**attrs, sets=2, styles=f"WEIGHT={STREAM}")
