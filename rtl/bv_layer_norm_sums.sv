// SPDX-License-Identifier: MIT
// Sums of every token for bv_layer_norm: s = sum x, v = CHANNELS * sum x^2 - s^2 + eps.
// One beat of SIMD signed elements per cycle, CHANNELS/SIMD beats a token, never stalls; out_valid 8 cycles after a
// token's last beat. V_BITS holds the largest v: the two terms of the difference may wrap, v does not.
module bv_layer_norm_sums #(
    parameter int CHANNELS = 0,
    parameter int SIMD     = 1,
    parameter int IN_BITS  = 0,
    parameter int EPS_INT  = 0,
    parameter logic [511:0] EPS_SETS = '0,               // 32 bits a set; 0: EPS_INT for all
    parameter int V_BITS   = 0,
    parameter int TOKENS   = 1,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    localparam int SB      = IN_BITS + $clog2(CHANNELS)
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic [63:0]             schedule = 64'd0,
    input  logic [SIMD*IN_BITS-1:0] in_data,
    input  logic                    in_valid,
    input  logic                    in_first,
    input  logic                    in_last,
    output logic signed [SB-1:0]    s,
    output logic [V_BITS-1:0]       v,
    output logic                    out_valid
);
  localparam int QB = 2 * IN_BITS - 1 + $clog2(CHANNELS);
  localparam int P2 = (SIMD + 3) / 4, P3 = (P2 + 3) / 4;  // partial sums of up to 4; four of P3 at most
  initial if (P3 > 4) $error("bv_layer_norm_sums: SIMD=%0d", SIMD);
  logic [7:1] valid, last;                             // of a token's beats; index = register stage
  logic [4:1] first;
  logic signed [IN_BITS-1:0] x1[SIMD];
  logic [2*IN_BITS-2:0] xx1[SIMD];                     // x^2 <= 2^(2*IN_BITS-2)
  logic [SIMD*SB-1:0] sx1;                             // x1, extended: sums of equal width, modulo 2^SB
  logic [SIMD*QB-1:0] sxx1;
  logic [P2*SB-1:0] sum2;
  logic [P3*SB-1:0] sum3;
  logic signed [SB-1:0] sum4, s5, s6, s7;
  logic [P2*QB-1:0] sq2;
  logic [P3*QB-1:0] sq3;
  logic [QB-1:0] sq4, q5;
  logic [V_BITS-1:0] cq6, cq7, ss6, ss7;

  bv_sum_fours #(.N(SIMD), .BITS(SB)) u_sum2 (.clk, .x(sx1), .sum(sum2));
  bv_sum_fours #(.N(P2), .BITS(SB)) u_sum3 (.clk, .x(sum2), .sum(sum3));
  bv_sum_fours #(.N(P3), .BITS(SB)) u_sum4 (.clk, .x(sum3), .sum(sum4));
  bv_sum_fours #(.N(SIMD), .BITS(QB)) u_sq2 (.clk, .x(sxx1), .sum(sq2));
  bv_sum_fours #(.N(P2), .BITS(QB)) u_sq3 (.clk, .x(sq2), .sum(sq3));
  bv_sum_fours #(.N(P3), .BITS(QB)) u_sq4 (.clk, .x(sq3), .sum(sq4));
  for (genvar i = 0; i < SIMD; i++) begin : gen_square
    logic signed [IN_BITS-1:0] x;
    logic [2*IN_BITS-2:0] xx;
    assign x = signed'(in_data[i*IN_BITS+:IN_BITS]);
    assign xx = (2*IN_BITS-1)'(x) * (2*IN_BITS-1)'(x);
    assign sx1[i*SB+:SB] = SB'(x1[i]);
    assign sxx1[i*QB+:QB] = QB'(xx1[i]);
    always_ff @(posedge clk) begin
      x1[i] <= x;
      xx1[i] <= xx;
    end
  end
  logic [V_BITS-1:0] eps;                              // of the token in stage 7
  always_ff @(posedge clk) begin
    if (rst) begin
      valid <= '0;
      out_valid <= 1'b0;
    end else begin
      valid <= {valid[6:1], in_valid};
      out_valid <= valid[7] && last[7];
    end
    first <= {first[3:1], in_first};
    last <= {last[6:1], in_last};
    if (valid[4]) begin
      s5 <= first[4] ? sum4 : s5 + sum4;
      q5 <= first[4] ? sq4 : q5 + sq4;
    end
    ss6 <= V_BITS'((2*SB)'(s5) * (2*SB)'(s5));
    cq6 <= V_BITS'(CHANNELS) * V_BITS'(q5);
    s6 <= s5;
    {ss7, cq7, s7} <= {ss6, cq6, s6};
    v <= cq7 - ss7 + eps;
    s <= s7;
  end

  if (EPS_SETS == '0) begin : gen_same_eps
    assign eps = V_BITS'(EPS_INT);
    logic unused;
    assign unused = &{1'b0, schedule};
  end else begin : gen_eps
    localparam int TW = TOKENS > 1 ? $clog2(TOKENS) : 1;
    logic [TW-1:0] token;
    logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
    logic token_done, last_token;
    assign token_done = valid[6] && last[6];
    assign last_token = int'(token) == TOKENS - 1;
    bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
        .clk, .rst, .schedule, .frame_done(token_done && last_token), .set);
    always_ff @(posedge clk) begin
      if (rst) token <= '0;
      else if (token_done) token <= last_token ? '0 : TW'(token + 1'b1);
    end
    always_ff @(posedge clk) eps <= V_BITS'(EPS_SETS[32*set+:32]);
  end
endmodule
