// SPDX-License-Identifier: MIT
// Turns the row sum S into thresholds for the exponentials, so that bv_qd_attention compares without multiplying:
//   neg = 0:  (e << ES) >= t*S  <=>  e >= thr     with thr = ceil(t*S / 2^ES)
//   neg = 1:  (e << ES) <= t*S  <=>  not e >= thr  with thr = floor(t*S / 2^ES) + 1       both clamped to 0 .. 2^E_BITS
// `sum` comes with `start`, rows in order (heads within tokens); thr and neg are valid from 4 enabled cycles later until
// the next row's. Constants word of a head: three signed t (T_BITS), then neg.
module bv_qd_thresholds #(
    parameter int ROWS   = 0,                          // tokens of a frame
    parameter int HEADS  = 0,
    parameter int S_BITS = 0,
    parameter int E_BITS = 0,
    parameter int T_BITS = 0,
    parameter int ES     = 0,
    parameter int SETS   = 1,
    parameter int REPEAT = 1,
    parameter FILE       = "",
    parameter STYLE      = "auto"
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic [63:0]             schedule = 64'd0,
    input  logic                    ce,
    input  logic                    start,
    input  logic [S_BITS-1:0]       sum,
    output logic                    start_last,        // start, three cycles later: thr is there in the next
    output logic [3*(E_BITS+1)-1:0] thr,
    output logic                    neg
);
  localparam int D = SETS * HEADS;
  localparam int DW = D > 1 ? $clog2(D) : 1;
  localparam int HW = HEADS > 1 ? $clog2(HEADS) : 1;
  localparam int RW = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam int M0 = S_BITS + 1 + T_BITS;             // bits of the product
  localparam int M = (M0 > ES + 2 ? M0 : ES + 2) + 1;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  logic [HW-1:0] head;
  logic [RW-1:0] row;
  logic last_head, last_row, neg2, neg3;
  logic [3:1] v;
  logic [3*T_BITS:0] word;
  logic signed [S_BITS:0] sum1;
  logic signed [M0-1:0] prod2[3];
  logic signed [M-1:0] pre3[3];

  assign last_head = int'(head) == HEADS - 1;
  assign last_row = int'(row) == ROWS - 1;
  assign start_last = v[3];
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(ce && start && last_head && last_row), .set);
  bv_rom #(.WIDTH(3 * T_BITS + 1), .DEPTH(D), .FILE(FILE), .STYLE(STYLE)) u_rom (
      .clk, .en(ce), .addr(DW'(int'(set) * HEADS + int'(head))), .data(word));

  always_ff @(posedge clk) begin
    if (rst) begin
      v <= '0;
      head <= '0;
      row <= '0;
    end else if (ce) begin
      v <= {v[2:1], start};
      if (start) begin
        head <= last_head ? '0 : HW'(head + 1'b1);
        if (last_head) row <= last_row ? '0 : RW'(row + 1'b1);
      end
    end
    if (ce) begin
      sum1 <= signed'({1'b0, sum});
      neg2 <= word[3*T_BITS];
      neg3 <= neg2;
      if (v[3]) neg <= neg3;
      for (int i = 0; i < 3; i++) begin
        prod2[i] <= sum1 * signed'(word[i*T_BITS+:T_BITS]);
        pre3[i] <= (M'(prod2[i]) + signed'((M'(1) << ES) - M'(!neg2))) >>> ES;
        if (v[3])
          thr[i*(E_BITS+1)+:E_BITS+1] <= pre3[i] < 0 ? '0 : pre3[i] > signed'(M'(1) << E_BITS)
                                         ? {1'b1, {E_BITS{1'b0}}} : pre3[i][E_BITS:0];
      end
    end
  end
endmodule
