// SPDX-License-Identifier: MIT
// Exact sum over all tokens of a frame: out[c] = sum_t in[t, c]. in0: TP tokens x SIMD channels of BITS signed bits;
// out0: SIMD channels of BITS + ceil(log2 TOKENS) bits. The TP tokens of a beat are summed in two steps, groups of
// four first, then beats are accumulated. One input beat per cycle, latency 4. Checked: divisibility.
module bv_global_pool #(
    parameter int TOKENS   = 0,
    parameter int CHANNELS = 0,
    parameter int BITS     = 0,
    parameter int SIMD     = 1,
    parameter int TP       = 1,
    localparam int SUM     = BITS + $clog2(TOKENS)
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic [TP*SIMD*BITS-1:0] in0_data,
    input  logic                    in0_valid,
    output logic                    in0_ready,
    output logic [SIMD*SUM-1:0]     out0_data,
    output logic                    out0_valid,
    input  logic                    out0_ready
);
  localparam int FOLDS = CHANNELS / SIMD;
  localparam int TAPS = TOKENS / TP;
  localparam int QUADS = (TP + 3) / 4;
  localparam int PART = BITS + 2;
  initial if (TOKENS < 1 || TAPS * TP != TOKENS || FOLDS * SIMD != CHANNELS)
    $error("bv_global_pool: TOKENS=%0d CHANNELS=%0d SIMD=%0d TP=%0d", TOKENS, CHANNELS, SIMD, TP);

  if (TP == 1) begin : gen_single
    bv_fold_sum #(.LANES(SIMD), .BITS(BITS), .SUM(SUM), .FOLDS(FOLDS), .TAPS(TAPS)) u_sum (
        .clk, .rst, .in0_data, .in0_valid, .in0_ready, .out0_data, .out0_valid, .out0_ready);
  end else begin : gen_parallel
    logic ce, valid1, valid2, ready2;
    logic [SIMD*QUADS*PART-1:0] quads, quads_next;
    logic [SIMD*SUM-1:0] total, total_next;
    assign ce = !valid2 || ready2;
    assign in0_ready = ce;
    always_comb begin
      quads_next = '0;
      total_next = '0;
      for (int c = 0; c < SIMD; c++) begin
        for (int t = 0; t < TP; t++)
          quads_next[(c*QUADS+t/4)*PART+:PART] += PART'(signed'(in0_data[(t*SIMD+c)*BITS+:BITS]));
        for (int q = 0; q < QUADS; q++)
          total_next[c*SUM+:SUM] += SUM'(signed'(quads[(c*QUADS+q)*PART+:PART]));
      end
    end
    always_ff @(posedge clk) begin
      if (rst) {valid1, valid2} <= '0;
      else if (ce) {valid1, valid2} <= {in0_valid, valid1};
      if (ce) begin
        quads <= quads_next;
        total <= total_next;
      end
    end
    bv_fold_sum #(.LANES(SIMD), .BITS(SUM), .SUM(SUM), .FOLDS(FOLDS), .TAPS(TAPS)) u_sum (
        .clk, .rst, .in0_data(total), .in0_valid(valid2), .in0_ready(ready2), .out0_data, .out0_valid, .out0_ready);
  end
endmodule
