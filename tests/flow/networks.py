"""Small hardware graphs for the tests of the back end."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from bhvit.finn_flow import ops
from bhvit.finn_flow.layers.registry import layers

PART = "xczu7ev-ffvc1156-2-e"


def residual(tokens: int = 12, channels: int = 8, seed: int = 0, window: bool = False):
    """uint8 pixels -> int_linear/threshold/binary_linear with a residual path -> classifier-like output.

    x u8 -> affine0 needs signed input, so the first node is an int_linear on unsigned pixels.
    """
    kinds = layers()
    rng = np.random.default_rng(seed)
    model = ops.new_model([("pixels", [1, 4, tokens // 4, 3], None)], ["logits"])
    from bhvit.finn_flow.streams import u

    model.set_tensor_datatype("pixels", DataType[u(8).name])

    def add(stem, name, ins, outs, **attrs):
        cls = kinds[stem]
        if hasattr(cls, "suitable"):
            spread = attrs.pop("spread")
            attrs = cls.suitable(spread, **attrs)
        layer = cls(**attrs)
        model.graph.node.append(ops.make_node(layer, ins, outs, layer.random_constants(rng), model, name))

    dims = [4, tokens // 4]
    add("int_linear", "stem", ["pixels"], ["x"], spread=128 * 74 * 1.7, token_dims=dims, in_channels=3,
        out_channels=channels, in_bits=8, in_signed=0)
    add("affine", "bn", ["x"], ["u"], spread=74.0, dims=[*dims, channels])
    add("threshold", "sign", ["u"], ["b"], dims=[*dims, channels])
    add("binary_linear", "mix", ["b", "u"], ["h"], spread=channels**0.5, token_dims=dims, in_channels=channels,
        out_channels=channels, act=1, res1=1)
    add("add", "join", ["h", "x"], ["logits"], dims=[*dims, channels])
    return model


def pixels(model, frames: int, seed: int = 1) -> np.ndarray:
    shape = model.get_tensor_shape("pixels")
    return np.random.default_rng(seed).integers(0, 256, (frames, *shape[1:]))


def engine(rounds: int = 3, in_flight: int = 4, seed: int = 0):
    """pixels -> int_linear -> engine of ``rounds`` blocks (threshold, binary_linear with a residual, layer_norm) ->
    affine.

    The layer norm is a kernel of several stages, the other two are not. All nodes are specialized: FINN's own passes do
    not take a graph with a circle.
    """
    kinds = layers()
    rng = np.random.default_rng(seed)
    model = ops.new_model([("pixels", [1, 4, 3, 3], None)], ["logits"])
    from bhvit.finn_flow.streams import u

    model.set_tensor_datatype("pixels", DataType[u(8).name])
    shared = {"sets": rounds, "repeat": 0, "passes": rounds}
    dims, block = [4, 3, 8], f"stage1_block1to{rounds}_"

    def add(stem, name, ins, outs, **attrs):
        cls = kinds[stem]
        if "spread" in attrs:
            attrs = cls.suitable(attrs.pop("spread"), **attrs)
        layer = cls(**attrs)
        constants = layer.random_constants(rng)
        model.graph.node.append(ops.make_node(layer, ins, outs, constants, model, name, rtl=True))

    add("int_linear", "stem", ["pixels"], ["x"], spread=128 * 74 * 1.7, token_dims=dims[:2], in_channels=3,
        out_channels=8, in_bits=8, in_signed=0)
    add("loop", block + "gate", ["x", "back"], ["u", "y"], dims=dims, rounds=rounds, in_flight=in_flight)
    add("threshold", block + "sign", ["u"], ["b"], dims=dims, **shared)
    add("binary_linear", block + "mix", ["b", "u"], ["h"], spread=3.0, token_dims=dims[:2], in_channels=8,
        out_channels=8, act=1, res1=1, **shared)
    add("layer_norm", block + "norm", ["h"], ["back"], token_dims=dims[:2], channels=8, k=12, s1=6, sh=9, out_bits=8,
        eps_int=1000, eps_sets=[3, 1000, 90, 7][:rounds], **shared)
    add("affine", "tail", ["y"], ["logits"], spread=74.0, dims=dims)
    return model
