// SPDX-License-Identifier: MIT
// Small cells shared by all kernels: constant memory, buffer memory, frame-set counter.

// Constant memory (ROM): word `addr` appears on `data` after the next enabled clock edge (output register).
module bv_rom #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0,
    parameter FILE = ""
) (
    input  logic                                       clk,
    input  logic                                       en,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] addr,
    output logic [WIDTH-1:0]                           data
);
  logic [WIDTH-1:0] mem[DEPTH];
  initial $readmemh(FILE, mem);
  always_ff @(posedge clk) if (en) data <= mem[addr];
endmodule

// Buffer memory: one write port, one read port with output register. Reading the word being written gives the old one.
module bv_ram #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0
) (
    input  logic                                       clk,
    input  logic                                       we,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] waddr,
    input  logic [WIDTH-1:0]                           wdata,
    input  logic                                       re,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] raddr,
    output logic [WIDTH-1:0]                           rdata
);
  logic [WIDTH-1:0] mem[DEPTH];
  always_ff @(posedge clk) begin
    if (we) mem[waddr] <= wdata;
    if (re) rdata <= mem[raddr];
  end
endmodule

// Index of the constant set of the current frame: advances after every REPEAT frames, modulo SETS.
module bv_set_counter #(
    parameter int SETS   = 1,
    parameter int REPEAT = 1
) (
    input  logic                                     clk,
    input  logic                                     rst,
    input  logic                                     frame_done,
    output logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set
);
  localparam int RW = REPEAT > 1 ? $clog2(REPEAT) : 1;
  localparam int SW = SETS > 1 ? $clog2(SETS) : 1;
  logic [RW-1:0] r;
  always_ff @(posedge clk) begin
    if (rst) begin
      r   <= '0;
      set <= '0;
    end else if (frame_done) begin
      if (int'(r) == REPEAT - 1) begin
        r   <= '0;
        set <= int'(set) == SETS - 1 ? '0 : SW'(set + 1'b1);
      end else r <= RW'(r + 1'b1);
    end
  end
endmodule
