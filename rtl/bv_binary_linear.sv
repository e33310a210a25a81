// SPDX-License-Identifier: MIT
// Binary matrix-vector unit with fused epilogue: acc[c] = sum_k w[c,k]*x[k] over +-1 (XNOR and popcount), then bv_epilogue.
// Streams: in0 TP x SIMD bits; then res1 (if RES1) and res2 (if RES2) laid out like out0, consumed with the last input
// fold of their output fold (the first residual that is present is in1, the second in2); out0 TP x PE signed OUT_BITS.
//   for group of TP tokens: for mf < M/PE: for kf < K/SIMD:  one cycle, one weight word of PE x SIMD bits
// Weight word address: set*(M/PE)*(K/SIMD) + mf*(K/SIMD) + kf, bit p*SIMD + s. Interval TOKENS/TP * M/PE * K/SIMD cycles.
// A missing residual stalls the sums, not the epilogue. Checked: shapes divide.
module bv_binary_linear #(
    parameter int TOKENS       = 0,
    parameter int IN_CHANNELS  = 0,
    parameter int OUT_CHANNELS = 0,
    parameter int PE           = 1,
    parameter int SIMD         = 1,
    parameter int TP           = 1,
    parameter int ACT          = 0,
    parameter int M_BITS       = 12,
    parameter int O_BITS       = 24,
    parameter int SH1          = 0,
    parameter int Z_BITS       = 10,
    parameter int SLOPE_BITS   = 8,
    parameter int O2_BITS      = 24,
    parameter int SH2          = 0,
    parameter int OUT_BITS     = 8,
    parameter int RES1         = 0,
    parameter int RES1_BITS    = 8,
    parameter int RM           = 1,
    parameter int RES2         = 0,
    parameter int RES2_BITS    = 8,
    parameter int K2           = 0,
    parameter int RS_MAX       = 0,
    parameter int KS_MAX       = 0,
    parameter int SETS         = 1,
    parameter int REPEAT       = 1,
    parameter WEIGHT_FILE      = "",
    parameter WEIGHT_STYLE     = "auto",
    parameter int WEIGHT_TARGET = -1,
    parameter EPILOGUE_FILE    = "",
    parameter EPILOGUE_STYLE   = "auto",
    parameter int EPILOGUE_TARGET = -1,
    localparam int LANES = TP * PE,
    localparam int IN1_BITS = RES1 != 0 ? RES1_BITS : RES2_BITS
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [63:0]                schedule = 64'd0,
    input  logic [65:0]                load = 66'd0,
    input  logic [PE*SIMD-1:0]         weight_data = '0,
    input  logic                       weight_valid = 1'b0,
    output logic                       weight_ready,
    input  logic [TP*SIMD-1:0]         in0_data,
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
  localparam int KF = IN_CHANNELS / SIMD;
  localparam int MF = OUT_CHANNELS / PE;
  localparam int TG = TOKENS / TP;
  localparam int EW = SETS * MF > 1 ? $clog2(SETS * MF) : 1;
  localparam int AW = SETS * MF * KF > 1 ? $clog2(SETS * MF * KF) : 1;
  localparam int STAGES = SIMD > 64 ? 3 : 2;            // of bv_xnor_popcount
  localparam int CW = $clog2(SIMD + 1);
  localparam int SUM_BITS = $clog2(IN_CHANNELS + 1);    // of the agreements; acc = 2*sum - IN_CHANNELS
  localparam int ACC_BITS = SUM_BITS + 2;
  initial if (KF * SIMD != IN_CHANNELS || MF * PE != OUT_CHANNELS || TG * TP != TOKENS || TOKENS < 1)
    $error("bv_binary_linear: TOKENS=%0d IN_CHANNELS=%0d OUT_CHANNELS=%0d PE=%0d SIMD=%0d TP=%0d", TOKENS, IN_CHANNELS,
           OUT_CHANNELS, PE, SIMD, TP);

  (* max_fanout = 512 *) logic ce, mem_en;  // enable every lane
  logic back_ce, starving, mem_want;
  logic [AW-1:0] mem_addr;
  logic [TP*SIMD-1:0] x, x_q;
  logic [PE*SIMD-1:0] w, w_q;
  // Pipeline tags: 0 memory outputs, 1 operand registers, 2.. popcount stages; the last one steers the accumulators.
  localparam int END = 1 + STAGES;
  logic [END:0] v, first, last;
  logic [EW-1:0] eaddr[END+1];

  bv_linear_front #(.GROUPS(TG), .KF(KF), .MF(MF), .WIDTH(TP * SIMD), .SETS(SETS), .REPEAT(REPEAT)) u_front (
      .clk, .rst, .schedule, .in_data(in0_data), .in_valid(in0_valid), .in_ready(in0_ready), .ce, .mem_want, .mem_en,
      .mem_addr,
      .valid(v[0]), .first(first[0]), .last(last[0]), .eaddr(eaddr[0]), .x);
  bv_weights #(.WIDTH(PE * SIMD), .DEPTH(SETS * MF * KF), .FILE(WEIGHT_FILE), .STYLE(WEIGHT_STYLE),
               .TARGET(WEIGHT_TARGET)) u_weights (
      .clk, .want(mem_want), .en(mem_en), .addr(mem_addr), .w, .starving, .load, .weight_data, .weight_valid,
      .weight_ready);
  assign ce = back_ce && !starving;

  always_ff @(posedge clk) begin
    if (rst) v[END:1] <= '0;
    else if (ce) v[END:1] <= v[END-1:0];
    if (ce) begin
      first[END:1] <= first[END-1:0];
      last[END:1] <= last[END-1:0];
      for (int i = 0; i < END; i++) eaddr[i+1] <= eaddr[i];
    end
    if (ce && v[0]) begin
      x_q <= x;
      w_q <= w;
    end
  end

  logic [STAGES-1:0] count_en;
  assign count_en = {STAGES{ce}} & v[END-1:1];
  logic [LANES*ACC_BITS-1:0] acc;
  for (genvar t = 0; t < TP; t++) begin : gen_token
    for (genvar p = 0; p < PE; p++) begin : gen_pe
      localparam int L = t * PE + p;
      logic [CW-1:0] count;
      logic [SUM_BITS-1:0] sum;
      bv_xnor_popcount #(.WIDTH(SIMD)) u_count (
          .clk, .en(count_en), .x(x_q[t*SIMD+:SIMD]), .w(w_q[p*SIMD+:SIMD]), .count);
      always_ff @(posedge clk)
        if (ce && v[END])
          sum <= (KF == 1 || first[END] ? '0 : sum) + SUM_BITS'(count);
      assign acc[L*ACC_BITS+:ACC_BITS] = {1'b0, sum, 1'b0};
    end
  end

  bv_linear_back #(
      .PE(PE), .TP(TP), .ACC_BITS(ACC_BITS), .ACC_BIAS(-IN_CHANNELS), .WORDS(SETS * MF), .EPILOGUE_FILE(EPILOGUE_FILE),
      .EPILOGUE_STYLE(EPILOGUE_STYLE), .EPILOGUE_TARGET(EPILOGUE_TARGET), .ACT(ACT),
      .M_BITS(M_BITS), .O_BITS(O_BITS), .SH1(SH1), .Z_BITS(Z_BITS), .SLOPE_BITS(SLOPE_BITS), .O2_BITS(O2_BITS),
      .SH2(SH2), .OUT_BITS(OUT_BITS), .RES1(RES1), .RES1_BITS(RES1_BITS), .RM(RM), .RES2(RES2), .RES2_BITS(RES2_BITS),
      .K2(K2), .RS_MAX(RS_MAX), .KS_MAX(KS_MAX)
  ) u_back (
      .clk, .rst, .load, .ce(back_ce), .acc_last(v[END] && last[END] && !starving), .eaddr(eaddr[END]),
      .acc, .in1_data, .in1_valid, .in1_ready,
      .in2_data, .in2_valid, .in2_ready, .out0_data, .out0_valid, .out0_ready);
endmodule
