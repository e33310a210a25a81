// SPDX-License-Identifier: MIT
// Integer matrix-vector unit with fused epilogue: acc[c] = sum_k w[c,k]*x[k], then bv_epilogue. Stem, full-precision
// down-sampling, classifier (raw logits: ACT = 0, SH1 = 0, m = 1).
// Streams: in0 TP x SIMD elements of IN_BITS (signed if IN_SIGNED); then res1 (if RES1) and res2 (if RES2) laid out like
// out0, consumed with the last input fold of their output fold (the first residual that is present is in1, the second
// in2); out0 TP x PE signed OUT_BITS.
//   for group of TP tokens: for mf < M/PE: for kf < K/SIMD:  one cycle, one weight word of PE x SIMD signed W_BITS
// Weight word address: set*(M/PE)*(K/SIMD) + mf*(K/SIMD) + kf, element p*SIMD + s. Interval TOKENS/TP * M/PE * K/SIMD.
// One multiplier per PE x SIMD x TP, products and every adder level registered. Checked: shapes divide.
module bv_int_linear #(
    parameter int TOKENS       = 0,
    parameter int IN_CHANNELS  = 0,
    parameter int OUT_CHANNELS = 0,
    parameter int IN_BITS      = 8,
    parameter int IN_SIGNED    = 1,
    parameter int W_BITS       = 8,
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
    localparam int LANES = TP * PE,
    localparam int IN1_BITS = RES1 != 0 ? RES1_BITS : RES2_BITS
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [63:0]                schedule = 64'd0,
    input  logic [65:0]                load = 66'd0,
    input  logic [PE*SIMD*W_BITS-1:0]  weight_data = '0,
    input  logic                       weight_valid = 1'b0,
    output logic                       weight_ready,
    input  logic [TP*SIMD*IN_BITS-1:0] in0_data,
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
  localparam int XB = IN_BITS + (IN_SIGNED != 0 ? 0 : 1);
  localparam int PB = XB + W_BITS;
  localparam int SB = PB + $clog2(SIMD);
  localparam int ACC_BITS = PB + $clog2(IN_CHANNELS);
  initial if (KF * SIMD != IN_CHANNELS || MF * PE != OUT_CHANNELS || TG * TP != TOKENS || TOKENS < 1)
    $error("bv_int_linear: TOKENS=%0d IN_CHANNELS=%0d OUT_CHANNELS=%0d PE=%0d SIMD=%0d TP=%0d", TOKENS, IN_CHANNELS,
           OUT_CHANNELS, PE, SIMD, TP);

  (* max_fanout = 512 *) logic ce, mem_en;  // enable every lane
  logic back_ce, starving, mem_want;
  logic [AW-1:0] mem_addr;
  logic [TP*SIMD*IN_BITS-1:0] x, x_q;
  logic [PE*SIMD*W_BITS-1:0] w, w_q;
  // Pipeline tags: 0 memory outputs, 1 operand registers, 2 products, 3.. adder levels; the last steers the accumulators.
  localparam int LEVELS = $clog2(SIMD);
  localparam int TREE = SIMD > 1 ? LEVELS : 1;
  localparam int END = 2 + LEVELS;
  logic [END:0] v, first, last;
  logic [EW-1:0] eaddr[END+1];

  bv_linear_front #(.GROUPS(TG), .KF(KF), .MF(MF), .WIDTH(TP * SIMD * IN_BITS), .SETS(SETS), .REPEAT(REPEAT)) u_front (
      .clk, .rst, .schedule, .in_data(in0_data), .in_valid(in0_valid), .in_ready(in0_ready), .ce, .mem_want, .mem_en,
      .mem_addr,
      .valid(v[0]), .first(first[0]), .last(last[0]), .eaddr(eaddr[0]), .x);
  bv_weights #(.WIDTH(PE * SIMD * W_BITS), .DEPTH(SETS * MF * KF), .FILE(WEIGHT_FILE), .STYLE(WEIGHT_STYLE),
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

  logic [TREE-1:0] tree_en;
  if (SIMD > 1) begin : gen_tree_en
    assign tree_en = {TREE{ce}} & v[END-1:2];
  end else begin : gen_no_tree_en
    assign tree_en = '0;
  end
  logic [LANES*ACC_BITS-1:0] acc;
  for (genvar t = 0; t < TP; t++) begin : gen_token
    for (genvar p = 0; p < PE; p++) begin : gen_pe
      localparam int L = t * PE + p;
      logic [SIMD*PB-1:0] products;
      for (genvar i = 0; i < SIMD; i++) begin : gen_product
        logic signed [XB-1:0] a;
        logic signed [W_BITS-1:0] b;
        logic signed [PB-1:0] y;
        if (IN_SIGNED != 0) begin : gen_signed
          assign a = x_q[(t*SIMD+i)*IN_BITS+:IN_BITS];
        end else begin : gen_unsigned
          assign a = {1'b0, x_q[(t*SIMD+i)*IN_BITS+:IN_BITS]};
        end
        assign b = w_q[(p*SIMD+i)*W_BITS+:W_BITS];
        always_ff @(posedge clk) if (ce && v[1]) y <= PB'(a) * PB'(b);
        assign products[i*PB+:PB] = y;
      end
      logic signed [SB-1:0] part;
      logic signed [ACC_BITS-1:0] sum;
      bv_adder_tree #(.N(SIMD), .BITS(PB)) u_tree (.clk, .en(tree_en), .x(products), .sum(part));
      always_ff @(posedge clk)
        if (ce && v[END]) sum <= (first[END] ? '0 : sum) + ACC_BITS'(part);
      assign acc[L*ACC_BITS+:ACC_BITS] = sum;
    end
  end

  bv_linear_back #(
      .PE(PE), .TP(TP), .ACC_BITS(ACC_BITS), .WORDS(SETS * MF), .EPILOGUE_FILE(EPILOGUE_FILE),
      .EPILOGUE_STYLE(EPILOGUE_STYLE), .ACT(ACT),
      .M_BITS(M_BITS), .O_BITS(O_BITS), .SH1(SH1), .Z_BITS(Z_BITS), .SLOPE_BITS(SLOPE_BITS), .O2_BITS(O2_BITS),
      .SH2(SH2), .OUT_BITS(OUT_BITS), .RES1(RES1), .RES1_BITS(RES1_BITS), .RM(RM), .RES2(RES2), .RES2_BITS(RES2_BITS),
      .K2(K2), .RS_MAX(RS_MAX), .KS_MAX(KS_MAX)
  ) u_back (
      .clk, .rst, .load, .ce(back_ce), .acc_last(v[END] && last[END] && !starving), .eaddr(eaddr[END]),
      .acc, .in1_data, .in1_valid, .in1_ready,
      .in2_data, .in2_valid, .in2_ready, .out0_data, .out0_valid, .out0_ready);
endmodule
