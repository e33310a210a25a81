// SPDX-License-Identifier: MIT
// Cells of bv_qd_attention: row walk through a window buffer, group counter, short first-in first-out store,
// popcounts of one word against LANES words, maximum of lanes.

// Addresses of bv_window_buffer words in row order: for every token, for every head, all groups of keys. `addr` belongs
// to the coming step; `window_done` with the last step of a window, after which the other half is read.
module bv_qd_rows #(
    parameter int TOKENS = 0,
    parameter int HEADS  = 0,
    parameter int GROUPS = 0,
    localparam int AW    = $clog2(2 * HEADS * GROUPS)
) (
    input  logic          clk,
    input  logic          rst,
    input  logic          step,
    output logic [AW-1:0] addr,
    output logic          first,
    output logic          last,
    output logic          window_done
);
  localparam int GW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int HW = HEADS > 1 ? $clog2(HEADS) : 1;
  localparam int TW = TOKENS > 1 ? $clog2(TOKENS) : 1;
  logic [GW-1:0] group;
  logic [HW-1:0] head;
  logic [TW-1:0] token;
  logic half, last_head, last_token;
  logic [AW-1:0] start;                                // of this half
  assign start = half ? AW'(HEADS * GROUPS) : '0;
  assign first = group == '0;
  assign last = int'(group) == GROUPS - 1;
  assign last_head = int'(head) == HEADS - 1;
  assign last_token = int'(token) == TOKENS - 1;
  assign window_done = step && last && last_head && last_token;
  always_ff @(posedge clk) begin
    if (rst) begin
      {group, head, token, half} <= '0;
      addr <= '0;
    end else if (step) begin
      group <= last ? '0 : GW'(group + 1'b1);
      addr <= AW'(addr + AW'(HEADS));
      if (last) begin
        head <= last_head ? '0 : HW'(head + 1'b1);
        addr <= last_head ? start : AW'(start + AW'(head) + 1'b1);
        if (last_head) token <= last_token ? '0 : TW'(token + 1'b1);
      end
      if (window_done) begin
        half <= !half;
        addr <= half ? '0 : AW'(HEADS * GROUPS);
      end
    end
  end
endmodule

// GROUPS consecutive enabled cycles beginning with `start` (which comes no more often than that).
module bv_qd_count #(
    parameter int GROUPS = 0
) (
    input  logic clk,
    input  logic rst,
    input  logic ce,
    input  logic start,
    output logic run,
    output logic first,
    output logic last
);
  localparam int GW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  logic [GW-1:0] n;
  assign run = start || n != '0;
  assign first = start;
  assign last = int'(n) == GROUPS - 1;
  always_ff @(posedge clk) begin
    if (rst) n <= '0;
    else if (ce && run) n <= last ? '0 : GW'(n + 1'b1);
  end
endmodule

// First-in first-out store whose user knows when it holds something; read data follows `re` by one cycle.
module bv_qd_store #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             we,
    input  logic [WIDTH-1:0] wdata,
    input  logic             re,
    output logic [WIDTH-1:0] rdata
);
  localparam int AW = $clog2(DEPTH);
  logic [AW-1:0] w, r;
  bv_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH)) u_ram (.clk, .we, .waddr(w), .wdata, .re, .raddr(r), .rdata);
  always_ff @(posedge clk) begin
    if (rst) {w, r} <= '0;
    else begin
      if (we) w <= int'(w) == DEPTH - 1 ? '0 : AW'(w + 1'b1);
      if (re) r <= int'(r) == DEPTH - 1 ? '0 : AW'(r + 1'b1);
    end
  end
endmodule

// count[l] = popcount(q xnor k[l]), latency 2: slices of 16 bits, then their sum.
module bv_qd_count_ones #(
    parameter int DIM   = 0,
    parameter int LANES = 1,
    localparam int PW   = $clog2(DIM + 1)
) (
    input  logic                 clk,
    input  logic                 ce,
    input  logic [DIM-1:0]       q,
    input  logic [LANES*DIM-1:0] k,
    output logic [LANES*PW-1:0]  count
);
  localparam int SLICES = (DIM + 15) / 16;              // of 32 bits: 10 levels of logic
  for (genvar l = 0; l < LANES; l++) begin : gen_lane
    logic [DIM-1:0] same;
    logic [4:0] part[SLICES];
    logic [PW-1:0] sum;
    assign same = q ~^ k[l*DIM+:DIM];
    for (genvar i = 0; i < SLICES; i++) begin : gen_slice
      localparam int W = DIM - i * 16 < 16 ? DIM - i * 16 : 16;
      logic [$clog2(W+1)-1:0] n;
      bv_popcount #(.WIDTH(W)) u_popcount (.x(same[i*16+:W]), .count(n));
      always_ff @(posedge clk) if (ce) part[i] <= 5'(n);
    end
    always_comb begin
      sum = '0;
      for (int i = 0; i < SLICES; i++) sum = sum + PW'(part[i]);
    end
    always_ff @(posedge clk) if (ce) count[l*PW+:PW] <= sum;
  end
endmodule

// Pipelined maximum of N unsigned numbers: a register per level of comparisons, at least one.
module bv_qd_max #(
    parameter int N    = 0,
    parameter int BITS = 0
) (
    input  logic              clk,
    input  logic              ce,
    input  logic [N*BITS-1:0] x,
    output logic [BITS-1:0]   max
);
  if (N == 1) begin : gen_one
    always_ff @(posedge clk) if (ce) max <= x;
  end else if (N == 2) begin : gen_two
    always_ff @(posedge clk) if (ce) max <= x[BITS+:BITS] > x[0+:BITS] ? x[BITS+:BITS] : x[0+:BITS];
  end else begin : gen_level
    localparam int HALF = (N + 1) / 2;
    logic [HALF*BITS-1:0] greater;
    for (genvar i = 0; i < HALF; i++) begin : gen_pair
      localparam int B = 2 * i + 1 < N ? 2 * i + 1 : 2 * i;
      always_ff @(posedge clk)
        if (ce)
          greater[i*BITS+:BITS] <= x[B*BITS+:BITS] > x[2*i*BITS+:BITS] ? x[B*BITS+:BITS] : x[2*i*BITS+:BITS];
    end
    bv_qd_max #(.N(HALF), .BITS(BITS)) u_rest (.clk, .ce, .x(greater), .max);
  end
endmodule
