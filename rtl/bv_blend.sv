// SPDX-License-Identifier: MIT
// Blend of two integers per channel: y = sat(((a[c]*x << KA) + b[c]*s + o[c]) >> SH), SIMD lanes.
// params: a, b, o (SIMD elements each, a lowest). Taken when en into the registers in front of the multipliers, since they
// come from memories; y is combinational after three enabled registers (en, en2, en3), so the caller registers it.
// Two multipliers per lane.
module bv_blend #(
    parameter int SIMD      = 1,
    parameter int X_BITS    = 0,
    parameter int S_BITS    = 0,
    parameter int COEF_BITS = 0,
    parameter int O_BITS    = 0,
    parameter int KA        = 0,
    parameter int SH        = 0,
    parameter int OUT_BITS  = 0,
    localparam int WORD = SIMD * (2 * COEF_BITS + O_BITS)
) (
    input  logic                     clk,
    input  logic                     en,
    input  logic                     en2,
    input  logic                     en3,
    input  logic [SIMD*X_BITS-1:0]   x,
    input  logic [SIMD*S_BITS-1:0]   s,
    input  logic [WORD-1:0]          params,
    output logic [SIMD*OUT_BITS-1:0] y
);
  localparam int PA = X_BITS + COEF_BITS;
  localparam int PB = S_BITS + COEF_BITS;
  localparam int MP = PA + KA > PB ? PA + KA : PB;
  localparam int SB = (MP > O_BITS ? MP : O_BITS) + 2;
  initial if (X_BITS < 1 || S_BITS < 1 || COEF_BITS < 1 || O_BITS < 1 || KA < 0)
    $error("bv_blend: X_BITS=%0d S_BITS=%0d COEF_BITS=%0d O_BITS=%0d KA=%0d", X_BITS, S_BITS, COEF_BITS, O_BITS, KA);

  logic [SIMD*X_BITS-1:0] x_q;
  logic [SIMD*S_BITS-1:0] s_q;
  logic [WORD-1:0] params_q;
  always_ff @(posedge clk)
    if (en) begin
      x_q <= x;
      s_q <= s;
      params_q <= params;
    end
  for (genvar i = 0; i < SIMD; i++) begin : g_lane
    logic signed [PA-1:0] pa;
    logic signed [PB-1:0] pb;
    logic signed [O_BITS-1:0] o;
    logic signed [SB-1:0] total;
    logic signed [OUT_BITS-1:0] q;
    always_ff @(posedge clk) begin
      if (en2) begin
        pa <= PA'(signed'(x_q[i*X_BITS+:X_BITS])) * PA'(signed'(params_q[i*COEF_BITS+:COEF_BITS]));
        pb <= PB'(signed'(s_q[i*S_BITS+:S_BITS])) * PB'(signed'(params_q[(SIMD+i)*COEF_BITS+:COEF_BITS]));
        o <= params_q[2*SIMD*COEF_BITS+i*O_BITS+:O_BITS];
      end
      if (en3) total <= (SB'(pa) <<< KA) + SB'(pb) + SB'(o);
    end
    bv_saturate #(.IN_BITS(SB), .SHIFT(SH), .OUT_BITS(OUT_BITS)) u_sat (.x(total), .y(q));
    assign y[i*OUT_BITS+:OUT_BITS] = q;
  end
endmodule
