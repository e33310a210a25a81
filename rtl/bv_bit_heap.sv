// SPDX-License-Identifier: MIT
// Sum of a heap of bits (synthesis only): sum = sum over columns c of 2^c * popcount(bits of column c).
// Column c has HEIGHTS[8*c+:8] bits, columns one after the other in `bits` (column 0 lowest), COLS result bits, which must
// suffice. Each level compresses columns of five and more bits with 7:3 carry-chain counters (bv_counter7), later ones of
// four with full adders, and hands the rest to itself; up to three rows are added at the end.
// PIPE registers (0..2, moved by en[i]): after the first and the third level (the fourth of large heaps). Latency PIPE.
module bv_bit_heap #(
    parameter int COLS = 0,
    parameter int BITS = 0,
    parameter bit [COLS*8-1:0] HEIGHTS = '0,
    parameter int PIPE = 0,
    parameter int LEVEL = 0,
    parameter int SECOND = BITS > 160 ? 3 : 2            // level with the second register: set at the top
) (
    input  logic                            clk,
    input  logic [(PIPE > 0 ? PIPE : 1)-1:0] en,
    input  logic [BITS-1:0]                 bits,
    output logic [COLS-1:0]                 sum
);
  function automatic int height(input int c);
    return c < 0 || c >= COLS ? 0 : int'(HEIGHTS[8*c+:8]);
  endfunction
  function automatic int highest();
    automatic int m = 0;
    for (int c = 0; c < COLS; c++) if (height(c) > m) m = height(c);
    return m;
  endfunction
  function automatic int start(input int c);
    automatic int n = 0;
    for (int i = 0; i < c; i++) n += height(i);
    return n;
  endfunction
  localparam int TOP = highest();
  localparam int SIZE = TOP > 4 ? 7 : 3;                 // inputs of the counters of this level
  function automatic int counters(input int c);
    if (SIZE == 7) return (height(c) + 2) / 7;
    return height(c) >= 3 ? 1 : 0;
  endfunction
  function automatic int left(input int c);
    return height(c) > SIZE * counters(c) ? height(c) - SIZE * counters(c) : 0;
  endfunction
  function automatic int next_height(input int c);
    return left(c) + counters(c) + counters(c - 1) + (SIZE == 7 ? counters(c - 2) : 0);
  endfunction
  function automatic int next_start(input int c);
    automatic int n = 0;
    for (int i = 0; i < c; i++) n += next_height(i);
    return n;
  endfunction
  function automatic bit [COLS*8-1:0] next_heights();
    automatic bit [COLS*8-1:0] h = '0;
    for (int c = 0; c < COLS; c++) h[8*c+:8] = 8'(next_height(c));
    return h;
  endfunction
  function automatic int low_single();                   // columns at the bottom that need no adder
    automatic int n = 0;
    while (n < COLS && height(n) <= 1) n++;
    return n;
  endfunction

  if (TOP <= 3) begin : gen_rows
    localparam int LOW = low_single();
    logic [COLS-1:0] row[3];
    logic [COLS-1:0] total[PIPE+1];
    for (genvar c = 0; c < COLS; c++) begin : gen_column
      for (genvar r = 0; r < 3; r++) begin : gen_row
        if (r < height(c)) begin : gen_bit
          assign row[r][c] = bits[start(c)+r];
        end else begin : gen_zero
          assign row[r][c] = 1'b0;
        end
      end
    end
    if (LOW > 0) begin : gen_low
      assign total[0][LOW-1:0] = row[0][LOW-1:0];
    end
    if (LOW < COLS) begin : gen_add
      bv_ternary_add #(.WIDTH(COLS - LOW)) u_add (
          .a(row[0][COLS-1:LOW]), .b(row[1][COLS-1:LOW]), .c(row[2][COLS-1:LOW]), .sum(total[0][COLS-1:LOW]));
    end
    for (genvar i = 0; i < PIPE; i++) begin : gen_delay
      always_ff @(posedge clk) if (en[i]) total[i+1] <= total[i];
    end
    assign sum = total[PIPE];
  end else begin : gen_level
    localparam bit HERE = PIPE > 0 && (LEVEL == 0 || LEVEL == SECOND);
    localparam int REST = HERE ? PIPE - 1 : PIPE;
    localparam int NEXT = next_start(COLS);
    logic [NEXT-1:0] next, next_q;
    for (genvar c = 0; c < COLS; c++) begin : gen_column
      for (genvar i = 0; i < counters(c); i++) begin : gen_counter
        localparam int FIRST = i * SIZE;
        localparam int N = height(c) - FIRST < SIZE ? height(c) - FIRST : SIZE;
        logic [2:0] n;
        if (SIZE == 7) begin : gen_seven
          bv_counter7 u_counter (.b(7'(bits[start(c)+FIRST+:N])), .n);
        end else begin : gen_full_adder
          logic [2:0] b;
          assign b = bits[start(c)+FIRST+:3];
          assign n[2] = 1'b0;
          LUT6_2 #(.INIT(64'h96969696E8E8E8E8)) u_add (
              .O6(n[0]), .O5(n[1]), .I0(b[0]), .I1(b[1]), .I2(b[2]), .I3(1'b0), .I4(1'b0), .I5(1'b1));
        end
        assign next[next_start(c)+left(c)+i] = n[0];
        if (c + 1 < COLS) begin : gen_carry
          assign next[next_start(c+1)+left(c+1)+counters(c+1)+i] = n[1];
        end
        if (c + 2 < COLS && SIZE == 7) begin : gen_carry2
          assign next[next_start(c+2)+left(c+2)+counters(c+2)+counters(c+1)+i] = n[2];
        end
      end
      if (left(c) > 0) begin : gen_left
        assign next[next_start(c)+:left(c)] = bits[start(c)+height(c)-left(c)+:left(c)];
      end
    end
    if (HERE) begin : gen_register
      always_ff @(posedge clk) if (en[0]) next_q <= next;
    end else begin : gen_wire
      assign next_q = next;
    end
    bv_bit_heap #(.COLS(COLS), .BITS(NEXT), .HEIGHTS(next_heights()), .PIPE(REST), .LEVEL(LEVEL + 1),
                  .SECOND(SECOND)) u_next (
        .clk, .en(en[(PIPE > 0 ? PIPE : 1)-1-:(REST > 0 ? REST : 1)]), .bits(next_q), .sum);
  end
endmodule
