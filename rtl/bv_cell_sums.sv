// SPDX-License-Identifier: MIT
// Two banks of running sums (and maxima, if MAX) per cell and channel: one bank is filled while the other is read.
//   add: cell[add_bank][add_addr] = add_first ? x : cell + x (maximum likewise), SIMD lanes
// One addition per cycle, also to the same word; its result can be read three cycles after `add`. Reading: word `raddr` of
// bank `rbank` appears one cycle after `re` and stays until the next `re`, provided that nothing is added to that bank.
module bv_cell_sums #(
    parameter int DEPTH    = 0,
    parameter int SIMD     = 1,
    parameter int X_BITS   = 0,
    parameter int SUM_BITS = 0,
    parameter int MAX      = 1,
    parameter STYLE        = "auto",
    localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic                     add,
    input  logic                     add_bank,
    input  logic                     add_first,
    input  logic [AW-1:0]            add_addr,
    input  logic [SIMD*X_BITS-1:0]   add_x,
    input  logic                     re,
    input  logic                     rbank,
    input  logic [AW-1:0]            raddr,
    output logic [SIMD*SUM_BITS-1:0] sum,
    output logic [SIMD*X_BITS-1:0]   peak
);
  localparam int WORD = SIMD * (SUM_BITS + (MAX != 0 ? X_BITS : 0));
  initial if (DEPTH < 1 || X_BITS < 1 || SUM_BITS < X_BITS)
    $error("bv_cell_sums: DEPTH=%0d X_BITS=%0d SUM_BITS=%0d", DEPTH, X_BITS, SUM_BITS);

  logic v1, v2, bank1, bank2, first1, first2, repeat2, rbank1;
  logic [AW-1:0] addr1, addr2;
  logic [SIMD*X_BITS-1:0] x1, x2;
  logic [WORD-1:0] rdata[2], word, old, now, written;

  always_ff @(posedge clk) begin
    if (rst) begin
      v1 <= 1'b0;
      v2 <= 1'b0;
    end else begin
      v1 <= add;
      v2 <= v1;
    end
    if (add) begin
      bank1 <= add_bank;
      first1 <= add_first;
      addr1 <= add_addr;
      x1 <= add_x;
    end
    if (v1) begin
      bank2 <= bank1;
      first2 <= first1;
      addr2 <= addr1;
      x2 <= x1;
      repeat2 <= v2 && bank1 == bank2 && addr1 == addr2;  // the word read now is being written
    end
    if (v2) written <= now;
    if (re) rbank1 <= rbank;
  end

  for (genvar b = 0; b < 2; b++) begin : g_bank
    logic modify;
    assign modify = v1 && bank1 == 1'(b);
    bv_ram #(.WIDTH(WORD), .DEPTH(DEPTH), .STYLE(STYLE)) u_ram (
        .clk, .we(v2 && bank2 == 1'(b)), .waddr(addr2), .wdata(now), .re(modify || (re && rbank == 1'(b))),
        .raddr(modify ? addr1 : raddr), .rdata(rdata[b]));
  end
  assign old = repeat2 ? written : rdata[bank2];
  for (genvar i = 0; i < SIMD; i++) begin : g_lane
    logic signed [X_BITS-1:0] x;
    logic signed [SUM_BITS-1:0] sofar;
    assign x = x2[i*X_BITS+:X_BITS];
    assign sofar = old[i*SUM_BITS+:SUM_BITS];
    assign now[i*SUM_BITS+:SUM_BITS] = (first2 ? SUM_BITS'(0) : sofar) + SUM_BITS'(x);
    if (MAX != 0) begin : g_max
      logic signed [X_BITS-1:0] top;
      assign top = old[SIMD*SUM_BITS+i*X_BITS+:X_BITS];
      assign now[SIMD*SUM_BITS+i*X_BITS+:X_BITS] = first2 || x > top ? x : top;
    end
  end
  bv_mux2 #(.WIDTH(WORD)) u_bank (.pick(rbank1), .a(rdata[1]), .b(rdata[0]), .y(word));
  assign sum = word[SIMD*SUM_BITS-1:0];
  if (MAX != 0) begin : g_peak
    assign peak = word[SIMD*SUM_BITS+:SIMD*X_BITS];
  end else begin : g_no_peak
    assign peak = '0;
  end
endmodule
