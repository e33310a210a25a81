// SPDX-License-Identifier: MIT
// Requantizer of TP x PE lanes: everything between an accumulator and the next activation (docs/contract.md, section 1).
//   z = sat_Z_BITS((m[c]*acc + RM*res1 + o[c]) >> SH1)
//   y = sat_OUT_BITS(((z >= 0 ? p[c] : n[c])*z + o2[c] + (res2 << K2)) >> SH2)            ACT = 1
//   y = sat_OUT_BITS((m[c]*acc + RM*res1 + o[c]) >> SH1)                                  ACT = 0
// where acc is the port's value plus ACC_BIAS (|ACC_BIAS| < 2^ACC_BITS).
// Lanes token-major, channel-minor. `params` is one word for PE channels, lowest bits first: m, o, then p, n, o2 when
// ACT = 1 (PE elements each); all TP tokens use it. acc, params, res1 and res2 belong together and are taken when
// in_valid && ce; the result appears LATENCY = 4 (ACT = 0) or 7 (ACT = 1) enabled cycles later. One vector per cycle.
// Two multipliers per lane (bv_mac), with their adders, registers and the comparison of the upper bits; the second one
// selects its slope. Every stage moves only when its input is valid.
module bv_epilogue #(
    parameter int PE         = 0,
    parameter int TP         = 1,
    parameter int ACC_BITS   = 0,
    parameter int ACC_BIAS   = 0,
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
  function automatic int keep(input int bits, input int low);  // lowest of the bits that must agree, if there are such
    return low < bits ? low : bits - 1;
  endfunction
  localparam int LATENCY = ACT != 0 ? 7 : 4;
  localparam int RB = RES1_BITS + $clog2(RM + 1) + 1;
  localparam int AB = RES1 == 0 ? O_BITS : (O_BITS > RB ? O_BITS : RB) + 1;
  localparam int RK = $clog2(RM);
  localparam int PB = ACC_BITS + M_BITS + (ACC_BIAS != 0 ? 1 : 0);
  localparam int SB = (PB > AB ? PB : AB) + 1;
  localparam int RB2 = RES2_BITS + K2;
  localparam int AB2 = RES2 == 0 ? O2_BITS : (O2_BITS > RB2 ? O2_BITS : RB2) + 1;
  localparam int PB2 = Z_BITS + SLOPE_BITS;
  localparam int SB2 = (PB2 > AB2 ? PB2 : AB2) + 1;
  localparam int KEEP1 = keep(SB, SH1 + (ACT != 0 ? Z_BITS : OUT_BITS) - 1);
  localparam int KEEP2 = keep(SB2, SH2 + OUT_BITS - 1);
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
    logic signed [M_BITS-1:0] m0;
    logic signed [O_BITS-1:0] o1;
    assign m0 = params[c*M_BITS+:M_BITS];
    always_ff @(posedge clk) if (en[0]) o1 <= params[PE*M_BITS+c*O_BITS+:O_BITS];
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
      logic signed [ACC_BITS-1:0] acc0;
      logic signed [AB-1:0] add1;
      logic signed [SB-1:0] sum3;
      logic zeros3, ones3;
      assign acc0 = acc[L*ACC_BITS+:ACC_BITS];
      bv_mac #(
          .A_BITS(ACC_BITS), .B_BITS(M_BITS), .C_BITS(AB), .P_BITS(SB), .KEEP(KEEP1), .BIAS(ACC_BIAS)
      ) u_scale (
          .clk, .en(en[2:0]), .a(acc0), .alt('0), .sel(1'b0), .b(m0), .c(add1), .p(sum3), .zeros(zeros3), .ones(ones3));
      if (RES1 != 0) begin : gen_res1
        logic signed [RES1_BITS-1:0] r1;
        always_ff @(posedge clk) if (en[0]) r1 <= res1[L*RES1_BITS+:RES1_BITS];
        if (RM == 2 ** RK) begin : gen_shift
          assign add1 = AB'(o1) + (AB'(r1) <<< RK);
        end else begin : gen_scale
          assign add1 = AB'(o1) + AB'(RB'(r1) * RB'(RM));
        end
      end else begin : gen_no_res1
        assign add1 = o1;
      end

      if (ACT != 0) begin : gen_act
        logic signed [Z_BITS-1:0] z3;
        logic signed [AB2-1:0] add4;
        logic signed [SB2-1:0] sum6;
        logic zeros6, ones6;
        logic signed [OUT_BITS-1:0] y6, y7;
        bv_clip #(.IN_BITS(SB), .SHIFT(SH1), .OUT_BITS(Z_BITS)) u_z (.x(sum3), .zeros(zeros3), .ones(ones3), .y(z3));
        bv_mac #(.A_BITS(SLOPE_BITS), .B_BITS(Z_BITS), .C_BITS(AB2), .P_BITS(SB2), .KEEP(KEEP2), .ALT(1)) u_slope (
            .clk, .en(en[5:3]), .a(p3), .alt(n3), .sel(sum3[SB-1]), .b(z3), .c(add4), .p(sum6), .zeros(zeros6),
            .ones(ones6));
        bv_clip #(.IN_BITS(SB2), .SHIFT(SH2), .OUT_BITS(OUT_BITS)) u_y (
            .x(sum6), .zeros(zeros6), .ones(ones6), .y(y6));
        always_ff @(posedge clk) if (en[6]) y7 <= y6;
        assign out_data[L*OUT_BITS+:OUT_BITS] = y7;
        if (RES2 != 0) begin : gen_res2
          logic signed [RES2_BITS-1:0] r1, r2, r3, r4;
          always_ff @(posedge clk) begin
            if (en[0]) r1 <= res2[L*RES2_BITS+:RES2_BITS];
            if (en[1]) r2 <= r1;
            if (en[2]) r3 <= r2;
            if (en[3]) r4 <= r3;
          end
          assign add4 = AB2'(o4) + (AB2'(r4) <<< K2);
        end else begin : gen_no_res2
          assign add4 = o4;
        end
      end else begin : gen_linear
        logic signed [OUT_BITS-1:0] y3, y4;
        bv_clip #(.IN_BITS(SB), .SHIFT(SH1), .OUT_BITS(OUT_BITS)) u_y (
            .x(sum3), .zeros(zeros3), .ones(ones3), .y(y3));
        always_ff @(posedge clk) if (en[3]) y4 <= y3;
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
