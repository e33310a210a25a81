// SPDX-License-Identifier: MIT
// Changes the beat layout of a stream from TP_IN tokens x SIMD_IN channels to TP_OUT x SIMD_OUT, order unchanged.
//   gear up to SIMD channels in every token lane -> split tokens -> join tokens -> gear down to SIMD_OUT
// SIMD is a common multiple of SIMD_IN and SIMD_OUT that divides CHANNELS; with TP_IN = TP_OUT tokens stay parallel.
// Elements of BITS bits, a beat is token-major, element 0 in the LSBs. The slower side, or one beat of SIMD channels
// per cycle where TP changes, sets the rate; each of the four steps is a wire where nothing changes.
// Checked: divisibility of CHANNELS and the SIMD values.
module bv_width_converter #(
    parameter int CHANNELS = 0,
    parameter int BITS     = 0,
    parameter int SIMD_IN  = 0,
    parameter int SIMD_OUT = 0,
    parameter int TP_IN    = 1,
    parameter int TP_OUT   = 1,
    parameter int SIMD     = 0
) (
    input  logic                            clk,
    input  logic                            rst,
    input  logic [TP_IN*SIMD_IN*BITS-1:0]   in0_data,
    input  logic                            in0_valid,
    output logic                            in0_ready,
    output logic [TP_OUT*SIMD_OUT*BITS-1:0] out0_data,
    output logic                            out0_valid,
    input  logic                            out0_ready
);
  localparam int FOLDS = CHANNELS / SIMD;
  localparam int SPLIT = TP_IN == TP_OUT ? 1 : TP_IN;
  localparam int JOIN = TP_IN == TP_OUT ? 1 : TP_OUT;
  localparam int KEEP = TP_IN == TP_OUT ? TP_IN : 1;  // tokens that stay side by side in the middle
  localparam int WORD = SIMD * BITS;
  initial if (CHANNELS < 1 || FOLDS * SIMD != CHANNELS || SIMD % SIMD_IN != 0 || SIMD % SIMD_OUT != 0)
    $error("bv_width_converter: CHANNELS=%0d SIMD_IN=%0d SIMD_OUT=%0d SIMD=%0d", CHANNELS, SIMD_IN, SIMD_OUT, SIMD);

  logic [TP_IN*WORD-1:0] up_data;
  logic [KEEP*WORD-1:0] mid_data;
  logic [TP_OUT*WORD-1:0] down_data;
  logic up_valid, up_ready, mid_valid, mid_ready, down_valid, down_ready;

  bv_gear_up #(.LANES(TP_IN), .BITS(SIMD_IN * BITS), .RATIO(SIMD / SIMD_IN)) u_up (
      .clk, .rst, .in0_data, .in0_valid, .in0_ready,
      .out0_data(up_data), .out0_valid(up_valid), .out0_ready(up_ready));
  bv_token_split #(.TOKENS(SPLIT), .BITS(KEEP * WORD), .FOLDS(FOLDS)) u_split (
      .clk, .rst, .in0_data(up_data), .in0_valid(up_valid), .in0_ready(up_ready),
      .out0_data(mid_data), .out0_valid(mid_valid), .out0_ready(mid_ready));
  bv_token_join #(.TOKENS(JOIN), .BITS(KEEP * WORD), .FOLDS(FOLDS)) u_join (
      .clk, .rst, .in0_data(mid_data), .in0_valid(mid_valid), .in0_ready(mid_ready),
      .out0_data(down_data), .out0_valid(down_valid), .out0_ready(down_ready));
  bv_gear_down #(.LANES(TP_OUT), .BITS(SIMD_OUT * BITS), .RATIO(SIMD / SIMD_OUT)) u_down (
      .clk, .rst, .in0_data(down_data), .in0_valid(down_valid), .in0_ready(down_ready),
      .out0_data, .out0_valid, .out0_ready);
endmodule
