// SPDX-License-Identifier: MIT
// Exact sums over TAPS rounds of FOLDS beats: out beat f = sum over taps j of in beat (j * FOLDS + f), lane by lane.
// LANES signed elements, BITS wide in and SUM wide out; sums leave during the last round.
// One input beat per cycle, latency 2. Checked: all parameters.
module bv_fold_sum #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int SUM   = 0,
    parameter int FOLDS = 0,
    parameter int TAPS  = 0
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
  localparam int FW = FOLDS > 1 ? $clog2(FOLDS) : 1;
  localparam int JW = TAPS > 1 ? $clog2(TAPS) : 1;
  initial if (LANES < 1 || BITS < 1 || SUM < BITS || FOLDS < 1 || TAPS < 1)
    $error("bv_fold_sum: LANES=%0d BITS=%0d SUM=%0d FOLDS=%0d TAPS=%0d", LANES, BITS, SUM, FOLDS, TAPS);

  logic ce, valid1, first1, last1, last_fold;
  logic [FW-1:0] fold;
  logic [JW-1:0] tap;
  logic [LANES*BITS-1:0] x1;
  logic [LANES*SUM-1:0] so_far, sum;  // sum of the earlier taps; with this one

  assign ce = !out0_valid || out0_ready;
  assign in0_ready = ce;
  assign last_fold = fold == FW'(FOLDS - 1);
  always_comb
    for (int i = 0; i < LANES; i++)
      sum[i*SUM+:SUM] = (first1 ? '0 : so_far[i*SUM+:SUM]) + SUM'(signed'(x1[i*BITS+:BITS]));

  if (FOLDS == 1) begin : gen_register
    always_ff @(posedge clk) if (ce && valid1) so_far <= sum;
  end else begin : gen_ram  // a fold is read two accepted beats or more after it was written: no hazard
    logic [FW-1:0] fold1;
    always_ff @(posedge clk) if (ce) fold1 <= fold;
    bv_ram #(.WIDTH(LANES * SUM), .DEPTH(FOLDS)) u_ram (
        .clk, .we(ce && valid1), .waddr(fold1), .wdata(sum), .re(ce), .raddr(fold), .rdata(so_far));
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      tap <= '0;
      valid1 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      valid1 <= in0_valid;
      out0_valid <= valid1 && last1;
      if (in0_valid) begin
        fold <= last_fold ? '0 : FW'(fold + 1'b1);
        if (last_fold) tap <= tap == JW'(TAPS - 1) ? '0 : JW'(tap + 1'b1);
      end
    end
    if (ce) begin
      x1 <= in0_data;
      first1 <= tap == '0;
      last1 <= tap == JW'(TAPS - 1);
      out0_data <= sum;
    end
  end
endmodule
