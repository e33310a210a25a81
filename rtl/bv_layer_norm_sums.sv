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
  logic signed [SB-1:0] sum2[P2], sum3[P3], sum4, s5, s6, s7;
  logic [QB-1:0] sq2[P2], sq3[P3], sq4, q5;
  logic [V_BITS-1:0] cq6, cq7, ss6, ss7;

  for (genvar p = 0; p < P2; p++) begin : gen_four
    logic signed [SB-1:0] sum;
    logic [QB-1:0] sq;
    always_comb begin
      sum = '0;
      sq = '0;
      for (int i = 4 * p; i < SIMD && i < 4 * p + 4; i++) begin
        sum = sum + SB'(x1[i]);
        sq = sq + QB'(xx1[i]);
      end
    end
    always_ff @(posedge clk) begin
      sum2[p] <= sum;
      sq2[p] <= sq;
    end
  end
  for (genvar p = 0; p < P3; p++) begin : gen_sixteen
    logic signed [SB-1:0] sum;
    logic [QB-1:0] sq;
    always_comb begin
      sum = '0;
      sq = '0;
      for (int i = 4 * p; i < P2 && i < 4 * p + 4; i++) begin
        sum = sum + sum2[i];
        sq = sq + sq2[i];
      end
    end
    always_ff @(posedge clk) begin
      sum3[p] <= sum;
      sq3[p] <= sq;
    end
  end
  logic signed [SB-1:0] sum_all;
  logic [QB-1:0] sq_all;
  always_comb begin
    sum_all = '0;
    sq_all = '0;
    for (int i = 0; i < P3; i++) begin
      sum_all = sum_all + sum3[i];
      sq_all = sq_all + sq3[i];
    end
  end
  for (genvar i = 0; i < SIMD; i++) begin : gen_square
    logic signed [IN_BITS-1:0] x;
    logic [2*IN_BITS-2:0] xx;
    assign x = signed'(in_data[i*IN_BITS+:IN_BITS]);
    assign xx = (2*IN_BITS-1)'(x) * (2*IN_BITS-1)'(x);
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
    sum4 <= sum_all;
    sq4 <= sq_all;
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
