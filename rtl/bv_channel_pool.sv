// SPDX-License-Identifier: MIT
// Exact sums of RATIO adjacent channels: out[c] = sum_i in[c * RATIO + i]. in0: TP tokens x SIMD channels of BITS
// signed bits; out0: TP x PE channels of BITS + ceil(log2 RATIO) bits. SIMD is a multiple of RATIO (N = SIMD/RATIO
// sums per beat) or divides it (N = 1 sum per RATIO/SIMD beats); gears turn N sums per token into PE.
// The channels of a beat are summed in two steps, groups of four first. One input beat per cycle. Checked: divisibility.
module bv_channel_pool #(
    parameter int BITS  = 0,
    parameter int RATIO = 0,
    parameter int SIMD  = 1,
    parameter int PE    = 1,
    parameter int TP    = 1,
    localparam int SUM  = BITS + $clog2(RATIO)
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic [TP*SIMD*BITS-1:0] in0_data,
    input  logic                    in0_valid,
    output logic                    in0_ready,
    output logic [TP*PE*SUM-1:0]    out0_data,
    output logic                    out0_valid,
    input  logic                    out0_ready
);
  localparam int TERMS = SIMD < RATIO ? SIMD : RATIO;  // channels of one sum in a beat
  localparam int BEATS = RATIO / TERMS;                // beats of one sum
  localparam int N = SIMD / TERMS;                     // sums per token and beat
  localparam int UP = PE > N ? PE / N : 1;
  localparam int DOWN = PE > N ? 1 : N / PE;
  localparam int QUADS = (TERMS + 3) / 4;
  localparam int PART = BITS + 2;
  localparam int BW = BEATS > 1 ? $clog2(BEATS) : 1;
  initial if (RATIO < 1 || BEATS * TERMS != RATIO || N * TERMS != SIMD || N * UP != PE * DOWN)
    $error("bv_channel_pool: RATIO=%0d SIMD=%0d PE=%0d", RATIO, SIMD, PE);

  logic ce, valid1, first1, last1, valid2, ready2, up_valid, up_ready;
  logic [BW-1:0] beat;
  logic [TP*N*QUADS*PART-1:0] quads, quads_next;
  logic [TP*N*SUM-1:0] total, total_next;
  logic [TP*N*UP*SUM-1:0] up_data;

  assign ce = !valid2 || ready2;
  assign in0_ready = ce;
  always_comb begin
    quads_next = '0;
    for (int g = 0; g < TP * N; g++)
      for (int i = 0; i < TERMS; i++)
        quads_next[(g*QUADS+i/4)*PART+:PART] += PART'(signed'(in0_data[(g*TERMS+i)*BITS+:BITS]));
  end
  always_comb
    for (int g = 0; g < TP * N; g++) begin
      total_next[g*SUM+:SUM] = first1 ? '0 : total[g*SUM+:SUM];
      for (int q = 0; q < QUADS; q++)
        total_next[g*SUM+:SUM] += SUM'(signed'(quads[(g*QUADS+q)*PART+:PART]));
    end

  always_ff @(posedge clk) begin
    if (rst) begin
      beat <= '0;
      valid1 <= 1'b0;
      valid2 <= 1'b0;
    end else if (ce) begin
      valid1 <= in0_valid;
      valid2 <= valid1 && last1;
      if (in0_valid) beat <= beat == BW'(BEATS - 1) ? '0 : BW'(beat + 1'b1);
    end
    if (ce) begin
      quads <= quads_next;
      first1 <= beat == '0;
      last1 <= beat == BW'(BEATS - 1);
      if (valid1) total <= total_next;
    end
  end

  bv_gear_up #(.LANES(TP), .BITS(N * SUM), .RATIO(UP)) u_up (
      .clk, .rst, .in0_data(total), .in0_valid(valid2), .in0_ready(ready2),
      .out0_data(up_data), .out0_valid(up_valid), .out0_ready(up_ready));
  bv_gear_down #(.LANES(TP), .BITS(PE * SUM), .RATIO(DOWN)) u_down (
      .clk, .rst, .in0_data(up_data), .in0_valid(up_valid), .in0_ready(up_ready), .out0_data, .out0_valid, .out0_ready);
endmodule
