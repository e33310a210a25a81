// SPDX-License-Identifier: MIT
// Sums of every token for bv_layer_norm: s = sum x, v = CHANNELS * sum x^2 - s^2 + eps.
// One beat of SIMD signed elements per cycle, CHANNELS/SIMD beats a token, never stalls; out_valid 7 cycles after a
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
  localparam int PARTS = (SIMD + 7) / 8;               // partial sums of up to 8 elements
  logic [6:1] valid, last;                             // of a token's beats; index = register stage
  logic [3:1] first;
  logic signed [IN_BITS-1:0] x1[SIMD];
  logic [2*IN_BITS-2:0] xx1[SIMD];                     // x^2 <= 2^(2*IN_BITS-2)
  logic signed [SB-1:0] sum2[PARTS], sum3, sum_parts, s4, s5, s6;
  logic [QB-1:0] sq2[PARTS], sq3, sq_parts, q4;
  logic [V_BITS-1:0] cq5, cq6, ss5, ss6;

  for (genvar p = 0; p < PARTS; p++) begin : gen_part
    localparam int N = SIMD - p * 8 < 8 ? SIMD - p * 8 : 8;
    logic signed [SB-1:0] sum;
    logic [QB-1:0] sq;
    always_comb begin
      sum = '0;
      sq = '0;
      for (int i = 0; i < N; i++) begin
        sum = sum + SB'(x1[p*8+i]);
        sq = sq + QB'(xx1[p*8+i]);
      end
    end
    always_ff @(posedge clk) begin
      sum2[p] <= sum;
      sq2[p] <= sq;
    end
  end
  always_comb begin
    sum_parts = '0;
    sq_parts = '0;
    for (int p = 0; p < PARTS; p++) begin
      sum_parts = sum_parts + sum2[p];
      sq_parts = sq_parts + sq2[p];
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
  logic [V_BITS-1:0] eps;
  always_ff @(posedge clk) begin
    if (rst) begin
      valid <= '0;
      out_valid <= 1'b0;
    end else begin
      valid <= {valid[5:1], in_valid};
      out_valid <= valid[6] && last[6];
    end
    first <= {first[2:1], in_first};
    last <= {last[5:1], in_last};
    sum3 <= sum_parts;
    sq3 <= sq_parts;
    if (valid[3]) begin
      s4 <= first[3] ? sum3 : s4 + sum3;
      q4 <= first[3] ? sq3 : q4 + sq3;
    end
    ss5 <= V_BITS'((2*SB)'(s4) * (2*SB)'(s4));
    cq5 <= V_BITS'(CHANNELS) * V_BITS'(q4);
    s5 <= s4;
    {ss6, cq6, s6} <= {ss5, cq5, s5};
    v <= cq6 - ss6 + eps;
    s <= s6;
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
    assign eps = V_BITS'(EPS_SETS[32*set+:32]);
  end
endmodule
