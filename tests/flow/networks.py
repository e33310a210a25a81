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
