"""The synthesis descriptions of the popcounts (carry-chain counters) count like $countones, and like numpy."""

from __future__ import annotations

import numpy as np
import pytest

from bhvit.finn_flow.sim.verilate import Stalls, build_simulator, run_simulator
from bhvit.finn_flow.streams import Stream, u
from bhvit.finn_flow.wrapper import RTL

SHORT = [1, 2, 3, 5, 8, 13, 36, 64, 130]
FULL = [*range(1, 24), 31, 63, 65, 128, 256, 512]
CHANNELS = [1, 2, 3, 4, 16, 32]                                         # of bv_conv_sum
FILES = ["bv_counter7", "bv_ternary_add", "bv_bit_heap", "bv_xnor_popcount", "bv_popcount", "bv_conv_sum"]
MODELS = ["CARRY4", "LUT6", "LUT6_2"]


def top(widths: list[int]) -> str:
    """Stream block: x and w (512 bits each) in, 16 bits per counter out; counters delayed to three enabled cycles."""
    rows = []
    for i, n in enumerate(widths):
        stages, c = (3, f"c{n}") if n > 64 else (2, f"d{n}")
        rows += [f"  logic [$clog2({n}+1)-1:0] c{n}, d{n}, p{n};",
                 f"  bv_xnor_popcount #(.WIDTH({n})) u{n} (.clk(ap_clk), .en(en[{stages - 1}:0]), .x(x[{n - 1}:0]), "
                 f".w(w[{n - 1}:0]), .count(c{n}));",
                 f"  always_ff @(posedge ap_clk) if (en[2]) d{n} <= c{n};",
                 f"  assign y[{16 * i}+:16] = 16'({c});",
                 f"  bv_popcount #(.WIDTH({n})) q{n} (.x(x3[{n - 1}:0]), .count(p{n}));",
                 f"  assign y[{16 * (i + len(widths))}+:16] = 16'(p{n});"]
    for i, n in enumerate(CHANNELS):
        rows += [f"  logic [$clog2(18*{n}+1)-1:0] s{n};",
                 f"  bv_conv_sum #(.CHANNELS({n})) v{n} (.clk(ap_clk), .en, .x(x[{9 * n - 1}:0]), "
                 f".w(w[{9 * n - 1}:0]), .mask(x[511:503]), .count(s{n}));",
                 f"  assign y[{16 * (i + 2 * len(widths))}+:16] = 16'(s{n});"]
    bits = 32 * len(widths) + 16 * len(CHANNELS)
    return "\n".join([
        "module top (input ap_clk, input ap_rst_n,",
        "  input [1023:0] in0_V_TDATA, input in0_V_TVALID, output in0_V_TREADY,",
        f"  output [{bits - 1}:0] out0_V_TDATA, output out0_V_TVALID, input out0_V_TREADY);",
        "  wire [511:0] x = in0_V_TDATA[511:0], w = in0_V_TDATA[1023:512];",
        "  logic [511:0] x1, x2, x3; logic [2:0] v;",
        "  wire ce = !v[2] || out0_V_TREADY; wire [2:0] en = {3{ce}} & {v[1:0], in0_V_TVALID};",
        "  always_ff @(posedge ap_clk) begin",
        "    if (!ap_rst_n) v <= 0; else if (ce) v <= {v[1:0], in0_V_TVALID};",
        "    if (ce) {x3, x2, x1} <= {x2, x1, x};",
        "  end",
        f"  logic [{bits - 1}:0] y; assign out0_V_TDATA = y;",
        "  assign out0_V_TVALID = v[2], in0_V_TREADY = ce;", *rows, "endmodule", ""])


@pytest.mark.parametrize("defines", [(), ("SYNTHESIS",)], ids=["simulation", "synthesis"])
@pytest.mark.parametrize("widths", [SHORT, pytest.param(FULL, marks=pytest.mark.full)], ids=["short", "full"])
def test_popcount_counts(widths, defines, tmp_path):
    rng = np.random.default_rng(5)
    n = 1200
    x = (rng.random((n, 512)) < rng.random((n, 1))).astype(np.int64)
    w = (rng.random((n, 512)) < rng.random((n, 1))).astype(np.int64)
    x[:4], w[:4] = np.array([0, 0, 1, 1])[:, None], np.array([0, 1, 0, 1])[:, None]
    x[4:260], w[4:260] = np.eye(512)[::2], 0                            # walking one
    x[260:516], w[260:516] = 1 - np.eye(512)[1::2], 0                   # walking zero
    x[516:1028], w[516:1028] = np.tri(512), 1                           # every count
    same = x == w
    expected = [a[:, :k].sum(axis=1) for a in (same, x) for k in widths]
    for k in CHANNELS:
        inside = np.repeat(x[:, 503:512], k, axis=1)
        expected.append((2 * same[:, : 9 * k] * inside + 1 - inside).sum(axis=1))
    expected = np.stack(expected, axis=1)
    (tmp_path / "top.sv").write_text(top(widths))
    files = [*[RTL / f"{f}.sv" for f in FILES], *[RTL / "sim" / f"{f}.sv" for f in MODELS], tmp_path / "top.sv"]
    exe = build_simulator("top", files, 1, 1, tmp_path, defines=defines)
    in_stream, out_stream = Stream((1, 1024), u(1), 1024), Stream((1, expected.shape[1]), u(16), expected.shape[1])
    data = np.concatenate([x, w], axis=1).reshape(-1, 1, 1024)
    stalls = Stalls(input_percent=30, output_percent=30)
    got = run_simulator(exe, [(in_stream, data)], [out_stream], n, cwd=tmp_path, stalls=stalls)
    assert got.status == 0, got.log
    bad = np.argwhere(got.outputs[0][:, 0, :] != expected)
    assert not len(bad), f"vector, counter: {bad[:5]}"
