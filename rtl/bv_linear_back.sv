// SPDX-License-Identifier: MIT
// Output part of a matrix-vector unit: joins finished sums with their parameters and residuals, and requantizes.
// The sums are acc + ACC_BIAS. acc_last: the accumulators take their last addend at this (enabled) edge, eaddr is the
// parameter word of that fold. ce stalls the unit in front while a finished sum waits for a residual or for the epilogue.
module bv_linear_back #(
    parameter int PE         = 0,
    parameter int TP         = 1,
    parameter int ACC_BITS   = 0,
    parameter int ACC_BIAS   = 0,
    parameter int WORDS      = 0,
    parameter int ACT        = 0,
    parameter int M_BITS     = 12,
    parameter int O_BITS     = 24,
    parameter int SH1        = 0,
    parameter int Z_BITS     = 10,
    parameter int SLOPE_BITS = 8,
    parameter int O2_BITS    = 24,
    parameter int SH2        = 0,
    parameter int OUT_BITS   = 8,
    parameter int RES1       = 0,
    parameter int RES1_BITS  = 8,
    parameter int RM         = 1,
    parameter int RES2       = 0,
    parameter int RES2_BITS  = 8,
    parameter int K2         = 0,
    parameter int RS_MAX     = 0,
    parameter int KS_MAX     = 0,
    parameter EPILOGUE_FILE  = "",
    parameter EPILOGUE_STYLE = "auto",
    parameter int EPILOGUE_TARGET = -1,
    localparam int LANES = TP * PE,
    localparam int IN1_BITS = RES1 != 0 ? RES1_BITS : RES2_BITS,
    localparam int EW = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [65:0]                load,
    output logic                       ce,
    input  logic                       acc_last,
    input  logic [EW-1:0]              eaddr,
    input  logic [LANES*ACC_BITS-1:0]  acc,
    input  logic [LANES*IN1_BITS-1:0]  in1_data,
    input  logic                       in1_valid,
    output logic                       in1_ready,
    input  logic [LANES*RES2_BITS-1:0] in2_data,
    input  logic                       in2_valid,
    output logic                       in2_ready,
    output logic [LANES*OUT_BITS-1:0]  out0_data,
    output logic                       out0_valid,
    input  logic                       out0_ready
);
  localparam int WORD = PE * (M_BITS + O_BITS + (ACT != 0 ? 2 * SLOPE_BITS + O2_BITS : 0));
  localparam int RSB = $clog2(RS_MAX + 1);              // scales of the residuals, above the parameters in the word
  localparam int KSB = $clog2(KS_MAX + 1);
  localparam int RESIDUALS = (RES1 != 0 ? 1 : 0) + (RES2 != 0 ? 1 : 0);

  logic done, ready, go, fire;
  logic [WORD+RSB+KSB-1:0] params;
  assign ready = !out0_valid || out0_ready;
  assign go = done && (RESIDUALS < 1 || in1_valid) && (RESIDUALS < 2 || in2_valid);
  assign fire = go && ready;
  assign in1_ready = fire;
  assign in2_ready = fire;
  assign ce = !done || fire;
  always_ff @(posedge clk) begin
    if (rst) done <= 1'b0;
    else if (ce) done <= acc_last;
  end
  bv_rom #(.WIDTH(WORD + RSB + KSB), .DEPTH(WORDS), .FILE(EPILOGUE_FILE), .STYLE(EPILOGUE_STYLE),
           .TARGET(EPILOGUE_TARGET)) u_params (
      .clk, .en(ce && acc_last), .addr(eaddr), .data(params), .load);

  logic [LANES*RES1_BITS-1:0] res1;
  logic [LANES*RES2_BITS-1:0] res2;
  logic [LANES*(RES1_BITS+RS_MAX)-1:0] scaled1;
  logic [LANES*(RES2_BITS+KS_MAX)-1:0] scaled2;
  assign res1 = (LANES * RES1_BITS)'(in1_data);
  assign res2 = RES1 != 0 ? in2_data : (LANES * RES2_BITS)'(in1_data);
  bv_rescale #(.LANES(LANES), .BITS(RES1_BITS), .MAX(RS_MAX)) u_scale1 (
      .x(res1), .scale((RSB > 0 ? RSB : 1)'(params >> WORD)), .y(scaled1));
  bv_rescale #(.LANES(LANES), .BITS(RES2_BITS), .MAX(KS_MAX)) u_scale2 (
      .x(res2), .scale((KSB > 0 ? KSB : 1)'(params >> (WORD + RSB))), .y(scaled2));
  bv_epilogue #(
      .PE(PE), .TP(TP), .ACC_BITS(ACC_BITS), .ACC_BIAS(ACC_BIAS), .ACT(ACT), .M_BITS(M_BITS), .O_BITS(O_BITS), .SH1(SH1),
      .Z_BITS(Z_BITS), .SLOPE_BITS(SLOPE_BITS), .O2_BITS(O2_BITS), .SH2(SH2), .OUT_BITS(OUT_BITS), .RES1(RES1),
      .RES1_BITS(RES1_BITS + RS_MAX),
      .RM(RM), .RES2(RES2), .RES2_BITS(RES2_BITS + KS_MAX), .K2(K2)
  ) u_epilogue (
      .clk, .rst, .ce(ready), .in_valid(go), .acc, .params(params[WORD-1:0]), .res1(scaled1), .res2(scaled2),
      .out_valid(out0_valid), .out_data(out0_data));

  if (RESIDUALS < 2) begin : gen_unused
    logic unused;
    assign unused = &{1'b0, in2_data, in2_valid, RESIDUALS == 0 ? in1_valid : 1'b0};
  end
endmodule
