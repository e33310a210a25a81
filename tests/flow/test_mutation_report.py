"""What the cosimulation says about a wrong design: exactly the place, the expected and the wrong integer.

One bit of one constant is flipped in a memory image; the golden models with that constant predict what the design now
computes, so the report is compared with its exact place: first frame, layer, token, channel, expected and got. A kernel
that is off by one is predicted likewise. A FIFO that is too shallow must end in a standstill that names it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from qonnx.custom_op.registry import getCustomOp

from bhvit.finn_flow import cosim, graph, ops
from bhvit.finn_flow.layers.registry import layers
from bhvit.finn_flow.stitch import Design, stitch
from bhvit.finn_flow.streams import DType
from bhvit.finn_flow.wrapper import memory_files

from . import chain

IMAGES = 4
#: one constant of every memory image that the kinds of layers have; `-m full` flips each of their constants
FLIPS = [("int_linear", "w"), ("int_linear", "o"), ("lookup", "table"), ("position_embedding", "pe"),
         ("threshold", "t"), ("threshold", "pol"), ("binary_conv", "w"), ("binary_conv", "n"), ("affine", "m"),
         ("shift", "coef"), ("binary_linear", "w"), ("binary_linear", "p"), ("window_concat", "ca"),
         ("layer_norm", "m"), ("qd_attention", "table"), ("window_merge", "pb")]
MORE = [("int_linear", "m"), ("binary_conv", "m"), ("binary_conv", "o"), ("binary_conv", "p"), ("binary_conv", "o2"),
        ("affine", "o"), ("shift", "o"), ("binary_linear", "m"), ("binary_linear", "o"), ("binary_linear", "n"),
        ("binary_linear", "o2"), ("window_concat", "cb"), ("window_concat", "o"), ("layer_norm", "o"),
        ("qd_attention", "neg"), ("window_merge", "pa"), ("window_merge", "o")]


@dataclass
class Network:
    """A finished build, the right values of every tensor, and a copy of its design to break."""

    folder: Path
    model: ops.ModelWrapper
    images: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def logits(self) -> np.ndarray:
        return self.values[self.model.graph.output[0].name].reshape(IMAGES, -1)

    def simulate(self, design: Path) -> dict:
        """Cosimulation against the right logits; compiled simulators are shared."""
        reference = cosim.Reference(self.images, self.logits, qd_levels=[1] * 4)
        return cosim.cosim(design, self.folder / "sim", reference, clock_mhz=200, quiet=True, jobs=1,
                           optimize=chain.OPTIMIZE)

    def execute(self, changed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Golden models with other constants (by tensor name); what they do not reach is not computed again."""
        values, reached = dict(self.values), set(changed)
        for node in self.model.graph.node:
            if not reached.intersection(node.input):
                continue
            layer, constants = ops.layer_of(node, self.model)
            names = dict(zip(constants, node.input[len(layer.inputs()):]))
            constants |= {k: changed[t] for k, t in names.items() if t in changed}
            outs = ops.run_golden(node, layer, constants, [values[t] for t in ops.stream_inputs(node)],
                                  *getCustomOp(node).exponents())
            values.update(zip(node.output, outs))
            reached.update(t for t, y in zip(node.output, outs) if not np.array_equal(y, self.values[t]))
        return values

    def place(self, wrong: dict[str, np.ndarray]) -> dict | None:
        """What the report must say when the design computes ``wrong``; None when no output shows it."""
        logits = wrong[self.model.graph.output[0].name].reshape(IMAGES, -1)
        bad = (logits != self.logits).any(axis=1)
        if not bad.any():
            return None
        frame = int(np.argmax(bad))
        producer = {t: n for n in self.model.graph.node for t in n.output}
        for n in graph.fifos(self.model):
            t, st = n.input[0], ops.layer_from_node(n).inputs()[0]
            a, b = (v[t][frame].reshape(st.tokens, st.channels) for v in (self.values, wrong))
            if not np.array_equal(a, b):
                # the first one in the order of the beats
                order = st.to_elements(np.arange(a.size).reshape(1, *st.dims)).reshape(-1)
                first = next(int(i) for i in order if a.flat[i] != b.flat[i])
                token, channel = divmod(first, st.channels)
                return {"kind": "rtl", "layer": producer[t].name, "frame": frame, "token": token, "channel": channel,
                        "expected": int(a.flat[first]), "got": int(b.flat[first]),
                        "exact": int((~bad).sum())}
        raise AssertionError("outputs differ, but no stream does")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutations") / "build"
    with pytest.MonkeyPatch.context() as patch:
        chain.model_side_here(patch)
        chain.build(folder, chain.CONFIGS / "smallest.yaml", 33, target_cycles=4000)
    model = ops.load(folder / "stitched_ip/graph.onnx")
    name = model.graph.input[0].name
    images = np.random.default_rng(5).integers(0, 256, (IMAGES, *model.get_tensor_shape(name)[1:])).astype(np.uint8)
    net = Network(folder, model, images, ops.execute(model, {name: images}, keep="*"))
    found = net.simulate(folder / "stitched_ip")
    assert found["ok"] and found["distinct_outputs"] == IMAGES
    return net


def flips(value: np.ndarray, dtype: DType):
    """The constant with one bit of one element changed, high bits first."""
    for bit in reversed(range(dtype.bits)):
        for k in range(0, value.size, max(1, value.size // 12)):
            new = value.astype(np.int64).reshape(-1).copy()
            raw = (int(new[k]) ^ (1 << bit)) & ((1 << dtype.bits) - 1)
            new[k] = -new[k] if dtype.bipolar else raw - (1 << dtype.bits) if raw > dtype.max else raw
            yield new.reshape(value.shape)


def changed_bits(old: dict[str, list[str]], new: dict[str, list[str]]) -> int:
    return sum((int(a, 16) ^ int(b, 16)).bit_count() for f in old for a, b in zip(old[f], new[f], strict=True))


def flip(net: Network, node, constant: str) -> tuple[dict[str, list[str]], dict] | None:
    """(memory images with one bit flipped, what the report must say), or None when no bit reaches the outputs."""
    layer, constants = ops.layer_of(node, net.model)
    tensor = node.input[len(layer.inputs()) + list(constants).index(constant)]
    dtype = layer.constants()[constant].dtype
    right = memory_files(layer, node.name, constants)
    for value in flips(constants[constant], dtype):
        wrong = memory_files(layer, node.name, {**constants, constant: value})
        if changed_bits(right, wrong) == 1 and (place := net.place(net.execute({tensor: value}))) is not None:
            return wrong, place
    return None


def located(result: dict, place: dict) -> None:
    """The report names exactly the predicted place, in its fields and in its sentence."""
    place = dict(place)
    assert not result["ok"] and result["bit_exact_images"] == place.pop("exact")
    d = result["difference"]
    assert {k: d[k] for k in place} == place
    assert (f"frame {d['frame']}, layer {d['layer']} ({d['stem']}), token {d['token']}, channel {d['channel']}: "
            f"expected {d['expected']}, got {d['got']}") in result["message"]


def check_flip(net: Network, nodes, constant: str, tmp_path: Path) -> None:
    for node in nodes:
        if (found := flip(net, node, constant)) is not None:
            break
    else:
        pytest.fail(f"no bit of {constant} in {', '.join(n.name for n in nodes)} reaches the outputs")
    images, place = found
    assert place["layer"] == node.name
    shutil.copytree(net.folder / "stitched_ip", tmp_path / "stitched_ip")
    for name, lines in images.items():
        (tmp_path / "stitched_ip/mem" / name).write_text("\n".join(lines) + "\n")
    located(net.simulate(tmp_path / "stitched_ip"), place)


@pytest.mark.parametrize("stem, constant", [*FLIPS, *(pytest.param(*m, marks=pytest.mark.full) for m in MORE)])
def test_a_flipped_bit_is_located(network, tmp_path, stem, constant):
    check_flip(network, [n for n in network.model.graph.node if graph.stem(n) == stem], constant, tmp_path)


def test_the_last_layer_is_located(network, tmp_path):
    classifier = [n for n in network.model.graph.node if graph.stem(n) != "fifo"][-1]
    assert graph.stem(classifier) == "int_linear"
    check_flip(network, [classifier], "w", tmp_path)


def test_every_constant_is_flipped():
    """A new layer with constants must be added above."""
    have = {(s, c) for s, kind in layers().items() for e in kind.examples() for c in kind(**e).constants()}
    assert {*FLIPS, *MORE} == {p for p in have if p not in OUTSIDE}


#: constants that this network has not: stem, classifier and full-precision down-sampling do without an activation
OUTSIDE = {(s, c) for s in ("int_linear", "affine") for c in ("p", "n", "o2")}
#: no single bit of these few thresholds reaches the outputs of this network; the kernel's own tests cover them
OUTSIDE |= {("qd_attention", "t")}
#: only engines that blocks share have these: tests/flow/test_share.py
OUTSIDE |= {(s, c) for s in ("affine", "binary_linear", "int_linear", "shift") for c in ("rs", "ks")}


def test_a_kernel_that_is_off_by_one_is_located(network, tmp_path):
    """x >= t becomes x > t in every threshold: the golden models with t + 1 say where it shows first."""
    changed = {}
    for n in network.model.graph.node:
        if graph.stem(n) == "threshold":
            t = network.model.get_initializer(n.input[1])
            changed[n.input[1]] = t + 1
    place = network.place(network.execute(changed))
    assert place is not None
    shutil.copytree(network.folder / "stitched_ip", tmp_path / "stitched_ip")
    chain.edited(tmp_path / "stitched_ip", "rtl/bv_threshold.sv",
                 lambda s: s.replace(">= signed'(word", "> signed'(word"))
    result = network.simulate(tmp_path / "stitched_ip")
    located(result, place)
    assert result["difference"]["stem"] == "threshold"


def test_a_fifo_that_is_too_shallow_is_named(network, tmp_path):
    """The deepest FIFO behind a fork balances a branch that holds back rows; with two beats the design must stop."""
    forked = {t for n in network.model.graph.node if graph.stem(n) == "duplicate" for t in n.output}
    depth = {n.name: ops.layer_from_node(n).depth for n in graph.fifos(network.model) if n.input[0] in forked}
    deepest = max(depth, key=lambda n: depth[n])
    assert depth[deepest] >= 16
    model = graph.set_depths(ops.load(network.folder / "stitched_ip/graph.onnx"), {deepest: 2})
    stitch(model, tmp_path / "stitched_ip")
    result = network.simulate(tmp_path / "stitched_ip")
    stop = result["standstill"]
    assert not result["ok"] and deepest in [f["fifo"] for f in stop["full"]] and stop["empty"]
    assert f"{deepest} (2)" in result["message"]
    design = Design.load(tmp_path / "stitched_ip")
    assert stop["cycle"] <= IMAGES * design.max_cycles + 5 * design.max_cycles + 2 * design.total_cycles + 5000
