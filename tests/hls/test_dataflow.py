"""Kernels as threads with bounded streams between them: equal to the goldens, and a short FIFO is named."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.hls.dataflow import HlsDataflow, HlsNode
from bhvit.finn_flow.layers.binary_linear import BinaryLinear
from bhvit.finn_flow.layers.duplicate import Duplicate
from bhvit.finn_flow.layers.threshold import Threshold


def residual_block(depth: int) -> HlsDataflow:
    """x -> threshold -> binary_linear with x as its residual, through a FIFO of ``depth`` beats."""
    rng = np.random.default_rng(5)
    attrs = BinaryLinear.suitable(3.5, token_dims=[5], in_channels=12, out_channels=12, PE=2, SIMD=2, act=1, res1=1,
                                  sets=2)
    fork, sign, linear = Duplicate(dims=[5, 12], SIMD=2), Threshold(dims=[5, 12], SIMD=2, sets=2), BinaryLinear(**attrs)
    constants = [layer.random_constants(rng) for layer in (fork, sign, linear)]
    x = fork.random_inputs(rng, 4)[0]
    y = linear.golden([sign.golden([x], constants[1])[0], x], constants[2])[0]
    nodes = [HlsNode(fork, "fork", constants[0], ["x"], ["main", "skip"]),
             HlsNode(sign, "sign", constants[1], ["main"], ["bits"]),
             HlsNode(linear, "linear", constants[2], ["bits", "skip"], ["y"])]
    return HlsDataflow(nodes, {"main": 2, "skip": depth, "bits": 2}, {"x": x}, {"y": y})


def test_bounded_chain_equals_the_goldens(tmp_path):
    result = residual_block(depth=6).run(tmp_path)
    assert result.failures == [] and result.beats == 4 * 5 * 6


def test_short_fifo_is_named(tmp_path):
    (failure,) = residual_block(depth=2).run(tmp_path, sanitize=False).failures
    assert failure.startswith("design: deadlock: stream 'skip' is too short: it is full while its reader 'linear' "
                              "waits for stream 'bits'; ")
    assert "process 'fork' waits to write to full stream 'skip' of depth 2" in failure
    assert "process 'linear' waits to read from empty stream 'bits'" in failure


def test_streams_must_agree():
    design = residual_block(depth=2)
    other = Threshold(dims=[5, 12], SIMD=3, sets=2)
    design.nodes[1] = HlsNode(other, "sign", design.nodes[1].constants, ["main"], ["bits"])
    with pytest.raises(ValueError, match="put a width_converter between them"):
        design.testbench()
