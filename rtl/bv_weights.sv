// SPDX-License-Identifier: MIT
// Words of constants that are needed in order, e.g. weights: `w` holds word `addr` after an edge with `en`. STYLE "stream":
// the words come over and over, in the order of their addresses, on weight_* instead; while a read is wanted and none is
// there, `starving` is up, and the unit must not raise `en`. Other styles, TARGET and load: see bv_rom. Checked by its parts.
module bv_weights #(
    parameter int WIDTH  = 0,
    parameter int DEPTH  = 0,
    parameter FILE       = "",
    parameter STYLE      = "auto",
    parameter int TARGET = -1,
    localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  logic             clk,
    input  logic             want,
    input  logic             en,
    input  logic [AW-1:0]    addr,
    output logic [WIDTH-1:0] w,
    output logic             starving,
    input  logic [65:0]      load,
    input  logic [WIDTH-1:0] weight_data,
    input  logic             weight_valid,
    output logic             weight_ready
);
  if (STYLE == "stream") begin : gen_stream
    always_ff @(posedge clk) if (en) w <= weight_data;
    assign starving = want && !weight_valid;
    assign weight_ready = en;
    logic unused;
    assign unused = &{1'b0, addr, load};
  end else begin : gen_memory
    bv_rom #(.WIDTH(WIDTH), .DEPTH(DEPTH), .FILE(FILE), .STYLE(STYLE), .TARGET(TARGET)) u_rom (
        .clk, .en, .addr, .data(w), .load);
    assign starving = 1'b0;
    assign weight_ready = 1'b0;
    logic unused;
    assign unused = &{1'b0, want, weight_data, weight_valid};
  end
endmodule
