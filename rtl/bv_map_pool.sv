// SPDX-License-Identifier: MIT
// Exact sum over the taps of a patch: out[c] = sum_j in[j * C + c], j < TAPS, C = FOLDS beats of the token group.
// LANES (tokens x channels of a beat) signed BITS-bit elements; sums of BITS + ceil(log2 TAPS) bits.
// One input beat per cycle, latency 2. Checked: in bv_fold_sum.
module bv_map_pool #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int FOLDS = 0,
    parameter int TAPS  = 0,
    localparam int SUM  = BITS + $clog2(TAPS)
) (
    input  logic                  clk,
    input  logic                  rst,
    input  logic [LANES*BITS-1:0] in0_data,
    input  logic                  in0_valid,
    output logic                  in0_ready,
    output logic [LANES*SUM-1:0]  out0_data,
    output logic                  out0_valid,
    input  logic                  out0_ready
);
  bv_fold_sum #(.LANES(LANES), .BITS(BITS), .SUM(SUM), .FOLDS(FOLDS), .TAPS(TAPS)) u_sum (
      .clk, .rst, .in0_data, .in0_valid, .in0_ready, .out0_data, .out0_valid, .out0_ready);
endmodule
