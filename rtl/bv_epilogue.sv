// SPDX-License-Identifier: MIT
// Requantizer of TP x PE lanes: everything between an accumulator and the next activation (docs/contract.md, section 1).
//   z = sat_Z_BITS((m[c]*acc + RM*res1 + o[c]) >> SH1)
//   y = sat_OUT_BITS(((z >= 0 ? p[c] : n[c])*z + o2[c] + (res2 << K2)) >> SH2)            ACT = 1
//   y = sat_OUT_BITS((m[c]*acc + RM*res1 + o[c]) >> SH1)                                  ACT = 0
// Lanes token-major, channel-minor. `params` is one word for PE channels, lowest bits first: m, o, then p, n, o2 when
// ACT = 1 (PE elements each); all TP tokens use it. acc, params, res1 and res2 belong together and are taken when
// in_valid && ce; the result appears LATENCY = 4 (ACT = 0) or 7 (ACT = 1) enabled cycles later. One vector per cycle.
// One multiplier per lane and product: the slope is selected before the second one. Every stage moves only when its
// input is valid.
module bv_epilogue #(
    parameter int PE         = 0,
    parameter int TP         = 1,
    parameter int ACC_BITS   = 0,
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
    localparam int WORD = PE * (M_BITS + O_BITS + (ACT != 0 ? 2 * SLOPE_BITS + O2_BITS : 0))
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic                       ce,
    input  logic                       in_valid,
    input  logic [TP*PE*ACC_BITS-1:0]  acc,
    input  logic [WORD-1:0]            params,
    input  logic [TP*PE*RES1_BITS-1:0] res1,
    input  logic [TP*PE*RES2_BITS-1:0] res2,
    output logic                       out_valid,
    output logic [TP*PE*OUT_BITS-1:0]  out_data
);
  localparam int LATENCY = ACT != 0 ? 7 : 4;
  localparam int RB = RES1_BITS + $clog2(RM + 1) + 1;
  localparam int AB = RES1 == 0 ? O_BITS : (O_BITS > RB ? O_BITS : RB) + 1;
  localparam int PB = ACC_BITS + M_BITS;
  localparam int SB = (PB > AB ? PB : AB) + 1;
  localparam int RB2 = RES2_BITS + K2;
  localparam int AB2 = RES2 == 0 ? O2_BITS : (O2_BITS > RB2 ? O2_BITS : RB2) + 1;
  localparam int PB2 = Z_BITS + SLOPE_BITS;
  localparam int SB2 = (PB2 > AB2 ? PB2 : AB2) + 1;
  localparam int P_AT = PE * (M_BITS + O_BITS);
  localparam int N_AT = P_AT + PE * SLOPE_BITS;
  localparam int O2_AT = N_AT + PE * SLOPE_BITS;
  initial begin
    if (PE < 1 || TP < 1 || ACC_BITS < 1) $error("bv_epilogue: PE=%0d TP=%0d ACC_BITS=%0d", PE, TP, ACC_BITS);
    if (RM < 1 || K2 < 0 || (RES2 != 0 && ACT == 0)) $error("bv_epilogue: RM=%0d K2=%0d RES2=%0d", RM, K2, RES2);
  end

  logic [LATENCY:0] v;
  logic [LATENCY-1:0] en;
  logic [LATENCY-1:0] v_next;
  assign v_next = v[LATENCY-1:0];
  assign en = {LATENCY{ce}} & v_next;
  assign v[0] = in_valid;
  assign out_valid = v[LATENCY];
  always_ff @(posedge clk) begin
    if (rst) v[LATENCY:1] <= '0;
    else if (ce) v[LATENCY:1] <= v_next;
  end

  for (genvar c = 0; c < PE; c++) begin : gen_channel
    logic signed [M_BITS-1:0] m1;
    logic signed [O_BITS-1:0] o1;
    always_ff @(posedge clk) if (en[0]) begin
      m1 <= params[c*M_BITS+:M_BITS];
      o1 <= params[PE*M_BITS+c*O_BITS+:O_BITS];
    end
    logic signed [SLOPE_BITS-1:0] p3, n3;
    logic signed [O2_BITS-1:0] o4;
    if (ACT != 0) begin : gen_slopes
      logic signed [SLOPE_BITS-1:0] p1, p2, n1, n2;
      logic signed [O2_BITS-1:0] o21, o22, o23;
      always_ff @(posedge clk) begin
        if (en[0]) begin
          p1 <= params[P_AT+c*SLOPE_BITS+:SLOPE_BITS];
          n1 <= params[N_AT+c*SLOPE_BITS+:SLOPE_BITS];
          o21 <= params[O2_AT+c*O2_BITS+:O2_BITS];
        end
        if (en[1]) begin
          p2 <= p1;
          n2 <= n1;
          o22 <= o21;
        end
        if (en[2]) begin
          p3 <= p2;
          n3 <= n2;
          o23 <= o22;
        end
        if (en[3]) o4 <= o23;
      end
    end else begin : gen_no_slopes
      assign p3 = '0;
      assign n3 = '0;
      assign o4 = '0;
    end

    for (genvar t = 0; t < TP; t++) begin : gen_token
      localparam int L = t * PE + c;
      logic signed [ACC_BITS-1:0] acc1;
      logic signed [PB-1:0] prod2;
      logic signed [AB-1:0] add2;
      logic signed [SB-1:0] sum3;
      always_ff @(posedge clk) begin
        if (en[0]) acc1 <= acc[L*ACC_BITS+:ACC_BITS];
        if (en[1]) prod2 <= PB'(acc1) * PB'(m1);
        if (en[2]) sum3 <= SB'(prod2) + SB'(add2);
      end
      if (RES1 != 0) begin : gen_res1
        logic signed [RES1_BITS-1:0] r1;
        always_ff @(posedge clk) begin
          if (en[0]) r1 <= res1[L*RES1_BITS+:RES1_BITS];
          if (en[1]) add2 <= AB'(o1) + AB'(RB'(r1) * RB'(RM));
        end
      end else begin : gen_no_res1
        always_ff @(posedge clk) if (en[1]) add2 <= o1;
      end

      if (ACT != 0) begin : gen_act
        logic signed [Z_BITS-1:0] z, z4;
        logic signed [SLOPE_BITS-1:0] slope4;
        logic signed [PB2-1:0] prod5;
        logic signed [AB2-1:0] add5;
        logic signed [SB2-1:0] sum6;
        logic signed [OUT_BITS-1:0] y, y7;
        bv_saturate #(.IN_BITS(SB), .SHIFT(SH1), .OUT_BITS(Z_BITS)) u_z (.x(sum3), .y(z));
        bv_saturate #(.IN_BITS(SB2), .SHIFT(SH2), .OUT_BITS(OUT_BITS)) u_y (.x(sum6), .y);
        always_ff @(posedge clk) begin
          if (en[3]) begin
            z4 <= z;
            slope4 <= sum3[SB-1] ? n3 : p3;
          end
          if (en[4]) prod5 <= PB2'(z4) * PB2'(slope4);
          if (en[5]) sum6 <= SB2'(prod5) + SB2'(add5);
          if (en[6]) y7 <= y;
        end
        assign out_data[L*OUT_BITS+:OUT_BITS] = y7;
        if (RES2 != 0) begin : gen_res2
          logic signed [RES2_BITS-1:0] r1, r2, r3, r4;
          always_ff @(posedge clk) begin
            if (en[0]) r1 <= res2[L*RES2_BITS+:RES2_BITS];
            if (en[1]) r2 <= r1;
            if (en[2]) r3 <= r2;
            if (en[3]) r4 <= r3;
            if (en[4]) add5 <= AB2'(o4) + (AB2'(r4) <<< K2);
          end
        end else begin : gen_no_res2
          always_ff @(posedge clk) if (en[4]) add5 <= o4;
        end
      end else begin : gen_linear
        logic signed [OUT_BITS-1:0] y, y4;
        bv_saturate #(.IN_BITS(SB), .SHIFT(SH1), .OUT_BITS(OUT_BITS)) u_y (.x(sum3), .y);
        always_ff @(posedge clk) if (en[3]) y4 <= y;
        assign out_data[L*OUT_BITS+:OUT_BITS] = y4;
        logic unused_slopes;
        assign unused_slopes = &{1'b0, p3, n3, o4};
      end
    end
  end

  if (RES1 == 0) begin : gen_unused1
    logic unused;
    assign unused = &{1'b0, res1};
  end
  if (RES2 == 0) begin : gen_unused2
    logic unused;
    assign unused = &{1'b0, res2};
  end
endmodule
