// SPDX-License-Identifier: MIT
// Exact rounded inverse square root of a positive integer: r = floor(2^K / sqrt(v) + 1/2), one bit in two cycles.
// r is the largest integer with (2r-1)^2 * v <= 4^(K+1). From the top bit i down, adding 2^i to r raises the left side by
//   delta = (2r-1)*v * 2^(i+2) + v * 2^(2i+2) = b + w,   and it is kept when delta <= rest = 4^(K+1) - (2r-1)^2 * v.
// `start` with v while not busy; `done` is high with r in the cycle 2*R_BITS + 1 later and stays until `start`.
// The caller guarantees r < 2^R_BITS and 1 <= v < 2^V_BITS.
module bv_rsqrt #(
    parameter int V_BITS = 0,
    parameter int R_BITS = 0,
    parameter int K      = 0
) (
    input  logic              clk,
    input  logic              rst,
    input  logic              start,
    input  logic [V_BITS-1:0] v,
    output logic              done,
    output logic [R_BITS-1:0] r
);
  localparam int W = (2 * K + 3 > V_BITS + 2 * R_BITS ? 2 * K + 3 : V_BITS + 2 * R_BITS) + 2;
  localparam int IW = $clog2(R_BITS + 1);
  initial if (V_BITS < 1 || R_BITS < 1 || K < 0) $error("bv_rsqrt: V_BITS=%0d R_BITS=%0d K=%0d", V_BITS, R_BITS, K);

  logic signed [W-1:0] b, w, delta, rest, less, half_b;
  logic [IW-1:0] left;                                 // bits still to be found
  logic second;                                        // of the two cycles
  assign less = rest - delta;
  assign half_b = b >>> 1;
  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
      second <= 1'b0;
      done <= 1'b0;
    end else if (start) begin
      left <= IW'(R_BITS);
      second <= 1'b0;
      done <= 1'b0;
    end else if (left != '0) begin
      second <= !second;
      if (second) begin
        left <= left - 1'b1;
        done <= left == IW'(1);
      end
    end
    if (start) begin
      w <= W'(v) << (2 * R_BITS);
      b <= -signed'(W'(v) << (R_BITS + 1));
      rest <= signed'((W'(1) << (2 * K + 2)) - W'(v));
    end else if (left != '0 && second) begin
      r <= R_BITS'({r, !less[W-1]});
      w <= w >>> 2;
      b <= less[W-1] ? half_b : half_b + w;
      if (!less[W-1]) rest <= less;
    end
    if (!second) delta <= b + w;
  end
endmodule
