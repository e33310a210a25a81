// SPDX-License-Identifier: MIT
// Per-channel sign: out = +1 (bit 1) when (x >= t[c]) xor pol[c].
// Streams: in0 TP x SIMD signed BITS-bit elements, out0 TP x SIMD bits; channel-minor, element 0 in the LSBs.
// One beat per cycle, latency 2. Constants word: SIMD thresholds (BITS+1, signed), then SIMD polarity bits.
module bv_threshold #(
    parameter int TOKENS   = 0,
    parameter int CHANNELS = 0,
    parameter int BITS     = 0,
    parameter int SIMD     = 1,
    parameter int TP       = 1,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    parameter THRESHOLD_FILE = "",
    parameter THRESHOLD_STYLE = "auto",
    parameter int THRESHOLD_TARGET = -1
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic [63:0]             schedule = 64'd0,
    input  logic [65:0]             load = 66'd0,
    input  logic [TP*SIMD*BITS-1:0] in0_data,
    input  logic                    in0_valid,
    output logic                    in0_ready,
    output logic [TP*SIMD-1:0]      out0_data,
    output logic                    out0_valid,
    input  logic                    out0_ready
);
  localparam int CF = CHANNELS / SIMD;
  localparam int TG = TOKENS / TP;
  localparam int WORD = SIMD * (BITS + 2);
  localparam int AW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  localparam int TW = TG > 1 ? $clog2(TG) : 1;
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  initial if (CF * SIMD != CHANNELS || TG * TP != TOKENS || TOKENS < 1)
    $error("bv_threshold: TOKENS=%0d CHANNELS=%0d SIMD=%0d TP=%0d", TOKENS, CHANNELS, SIMD, TP);

  logic ce, v1;
  logic [FW-1:0] fold;
  logic [TW-1:0] group;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  logic [TP*SIMD*BITS-1:0] x1;
  logic [WORD-1:0] word;
  logic last_fold, last_group;

  assign ce = !out0_valid || out0_ready;
  assign in0_ready = ce;
  assign last_fold = int'(fold) == CF - 1;
  assign last_group = int'(group) == TG - 1;

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(ce && in0_valid && last_fold && last_group), .set);
  bv_rom #(.WIDTH(WORD), .DEPTH(SETS * CF), .FILE(THRESHOLD_FILE), .STYLE(THRESHOLD_STYLE),
           .TARGET(THRESHOLD_TARGET)) u_rom (
      .clk, .en(ce), .addr(AW'(int'(set) * CF + int'(fold))), .data(word), .load);

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      group <= '0;
      v1 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      v1 <= in0_valid;
      out0_valid <= v1;
      if (in0_valid) begin
        fold <= last_fold ? '0 : FW'(fold + 1'b1);
        if (last_fold) group <= last_group ? '0 : TW'(group + 1'b1);
      end
    end
    if (ce) begin
      x1 <= in0_data;
      for (int t = 0; t < TP; t++)
        for (int c = 0; c < SIMD; c++)
          out0_data[t*SIMD+c] <= ((BITS+1)'(signed'(x1[(t*SIMD+c)*BITS+:BITS])) >= signed'(word[c*(BITS+1)+:BITS+1]))
                                 ^ word[SIMD*(BITS+1)+c];
    end
  end
endmodule
