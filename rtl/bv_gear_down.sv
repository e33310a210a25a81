// SPDX-License-Identifier: MIT
// Cuts a beat into RATIO beats: in each of LANES lanes, a word of RATIO * BITS bits becomes BITS-bit slices, the
// lowest first. One output beat per cycle, latency 1. RATIO = 1 is a wire. Checked: all parameters.
module bv_gear_down #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int RATIO = 0
) (
    input  logic                        clk,
    input  logic                        rst,
    input  logic [LANES*BITS*RATIO-1:0] in0_data,
    input  logic                        in0_valid,
    output logic                        in0_ready,
    output logic [LANES*BITS-1:0]       out0_data,
    output logic                        out0_valid,
    input  logic                        out0_ready
);
  initial if (LANES < 1 || BITS < 1 || RATIO < 1)
    $error("bv_gear_down: LANES=%0d BITS=%0d RATIO=%0d", LANES, BITS, RATIO);

  if (RATIO == 1) begin : gen_wire
    logic unused;
    assign unused = &{clk, rst};
    assign out0_data = in0_data;
    assign out0_valid = in0_valid;
    assign in0_ready = out0_ready;
  end else begin : gen_cut
    localparam int W = BITS * RATIO;
    localparam int SW = $clog2(RATIO);
    logic [SW-1:0] slot;
    logic [LANES*W-1:0] word;
    logic last;
    assign last = slot == SW'(RATIO - 1);
    assign in0_ready = !out0_valid || (out0_ready && last);
    for (genvar l = 0; l < LANES; l++) begin : gen_lane
      if (RATIO == 2) begin : gen_half
        bv_mux2 #(.WIDTH(BITS)) u_half (
            .pick(slot[0]), .a(word[l*W+BITS+:BITS]), .b(word[l*W+:BITS]), .y(out0_data[l*BITS+:BITS]));
      end else begin : gen_slice
        assign out0_data[l*BITS+:BITS] = BITS'(word[l*W+:W] >> (int'(slot) * BITS));
      end
    end
    always_ff @(posedge clk) begin
      if (rst) begin
        slot <= '0;
        out0_valid <= 1'b0;
      end else begin
        if (in0_ready) out0_valid <= in0_valid;
        if (out0_valid && out0_ready) slot <= last ? '0 : SW'(slot + 1'b1);
      end
      if (in0_ready) word <= in0_data;
    end
  end
endmodule
