// SPDX-License-Identifier: MIT
// Elementwise epilogue: out = epilogue(x, residuals) with per-channel constants (formula in bv_epilogue).
// Streams: in0 TP x SIMD signed IN_BITS elements; then res1 (if RES1) and res2 (if RES2), laid out alike; out0 alike.
// The first residual that is present is in1, the second in2. One beat per cycle, latency 5 (ACT = 0) or 8 (ACT = 1).
// Inputs are consumed together. Checked: shapes divide.
module bv_affine #(
    parameter int TOKENS     = 0,
    parameter int CHANNELS   = 0,
    parameter int IN_BITS    = 0,
    parameter int SIMD       = 1,
    parameter int TP         = 1,
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
    parameter int SETS       = 1,
    parameter int REPEAT     = 1,
    parameter EPILOGUE_FILE  = "",
    parameter EPILOGUE_STYLE = "auto",
    parameter int EPILOGUE_TARGET = -1,
    localparam int LANES = TP * SIMD,
    localparam int IN1_BITS = RES1 != 0 ? RES1_BITS : RES2_BITS
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [63:0]                schedule = 64'd0,
    input  logic [65:0]                load = 66'd0,
    input  logic [LANES*IN_BITS-1:0]   in0_data,
    input  logic                       in0_valid,
    output logic                       in0_ready,
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
  localparam int CF = CHANNELS / SIMD;
  localparam int TG = TOKENS / TP;
  localparam int WORD = SIMD * (M_BITS + O_BITS + (ACT != 0 ? 2 * SLOPE_BITS + O2_BITS : 0));
  localparam int RSB = $clog2(RS_MAX + 1);              // scales of the residuals, above the parameters in the word
  localparam int KSB = $clog2(KS_MAX + 1);
  localparam int AW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  localparam int TW = TG > 1 ? $clog2(TG) : 1;
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  localparam int RESIDUALS = (RES1 != 0 ? 1 : 0) + (RES2 != 0 ? 1 : 0);
  initial if (CF * SIMD != CHANNELS || TG * TP != TOKENS || TOKENS < 1)
    $error("bv_affine: TOKENS=%0d CHANNELS=%0d SIMD=%0d TP=%0d", TOKENS, CHANNELS, SIMD, TP);

  logic ce, go, fire, v1, last_fold, last_group;
  logic [FW-1:0] fold;
  logic [TW-1:0] group;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  logic [WORD+RSB+KSB-1:0] word;
  logic [LANES*IN_BITS-1:0] x1;
  logic [LANES*IN1_BITS-1:0] a1;
  logic [LANES*RES2_BITS-1:0] b1;

  assign ce = !out0_valid || out0_ready;
  assign go = in0_valid && (RESIDUALS < 1 || in1_valid) && (RESIDUALS < 2 || in2_valid);
  assign fire = ce && go;
  assign in0_ready = fire;
  assign in1_ready = fire;
  assign in2_ready = fire;
  assign last_fold = int'(fold) == CF - 1;
  assign last_group = int'(group) == TG - 1;

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(fire && last_fold && last_group), .set);
  bv_rom #(.WIDTH(WORD + RSB + KSB), .DEPTH(SETS * CF), .FILE(EPILOGUE_FILE), .STYLE(EPILOGUE_STYLE),
           .TARGET(EPILOGUE_TARGET)) u_rom (
      .clk, .en(ce), .addr(AW'(int'(set) * CF + int'(fold))), .data(word), .load);

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      group <= '0;
      v1 <= 1'b0;
    end else if (ce) begin
      v1 <= go;
      if (go) begin
        fold <= last_fold ? '0 : FW'(fold + 1'b1);
        if (last_fold) group <= last_group ? '0 : TW'(group + 1'b1);
      end
    end
    if (fire) begin
      x1 <= in0_data;
      a1 <= in1_data;
      b1 <= in2_data;
    end
  end

  logic [LANES*RES1_BITS-1:0] res1;
  logic [LANES*RES2_BITS-1:0] res2;
  logic [LANES*(RES1_BITS+RS_MAX)-1:0] scaled1;
  logic [LANES*(RES2_BITS+KS_MAX)-1:0] scaled2;
  assign res1 = (LANES * RES1_BITS)'(a1);
  assign res2 = RES1 != 0 ? b1 : (LANES * RES2_BITS)'(a1);
  bv_rescale #(.LANES(LANES), .BITS(RES1_BITS), .MAX(RS_MAX)) u_scale1 (
      .x(res1), .scale((RSB > 0 ? RSB : 1)'(word >> WORD)), .y(scaled1));
  bv_rescale #(.LANES(LANES), .BITS(RES2_BITS), .MAX(KS_MAX)) u_scale2 (
      .x(res2), .scale((KSB > 0 ? KSB : 1)'(word >> (WORD + RSB))), .y(scaled2));

  bv_epilogue #(
      .PE(SIMD), .TP(TP), .ACC_BITS(IN_BITS), .ACT(ACT), .M_BITS(M_BITS), .O_BITS(O_BITS), .SH1(SH1), .Z_BITS(Z_BITS),
      .SLOPE_BITS(SLOPE_BITS), .O2_BITS(O2_BITS), .SH2(SH2), .OUT_BITS(OUT_BITS), .RES1(RES1), .RES1_BITS(RES1_BITS + RS_MAX),
      .RM(RM), .RES2(RES2), .RES2_BITS(RES2_BITS + KS_MAX), .K2(K2)
  ) u_epilogue (
      .clk, .rst, .ce, .in_valid(v1), .acc(x1), .params(word[WORD-1:0]), .res1(scaled1), .res2(scaled2), .out_valid(out0_valid),
      .out_data(out0_data));

  if (RESIDUALS < 2) begin : gen_unused
    logic unused;
    assign unused = &{1'b0, b1, in2_valid, RESIDUALS == 0 ? in1_valid : 1'b0};
  end
endmodule
