// SPDX-License-Identifier: MIT
// Joins RATIO consecutive beats into one: in each of LANES lanes, BITS-bit slices become a word of RATIO * BITS bits,
// the first slice lowest. One input beat per cycle; the result is valid the cycle after its last slice.
// RATIO = 1 is a wire. Checked: all parameters.
module bv_gear_up #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int RATIO = 0
) (
    input  logic                        clk,
    input  logic                        rst,
    input  logic [LANES*BITS-1:0]       in0_data,
    input  logic                        in0_valid,
    output logic                        in0_ready,
    output logic [LANES*BITS*RATIO-1:0] out0_data,
    output logic                        out0_valid,
    input  logic                        out0_ready
);
  initial if (LANES < 1 || BITS < 1 || RATIO < 1)
    $error("bv_gear_up: LANES=%0d BITS=%0d RATIO=%0d", LANES, BITS, RATIO);

  if (RATIO == 1) begin : gen_wire
    logic unused;
    assign unused = &{clk, rst};
    assign out0_data = in0_data;
    assign out0_valid = in0_valid;
    assign in0_ready = out0_ready;
  end else begin : gen_join
    localparam int W = BITS * RATIO;
    localparam int SW = $clog2(RATIO);
    logic [SW-1:0] slot;
    logic last, push;
    assign in0_ready = !out0_valid || out0_ready;
    assign push = in0_valid && in0_ready;
    assign last = slot == SW'(RATIO - 1);
    always_ff @(posedge clk) begin
      if (rst) begin
        slot <= '0;
        out0_valid <= 1'b0;
      end else begin
        if (push) slot <= last ? '0 : SW'(slot + 1'b1);
        if (in0_ready) out0_valid <= push && last;
      end
      if (push)
        for (int l = 0; l < LANES; l++)
          out0_data[l*W+:W] <= {in0_data[l*BITS+:BITS], out0_data[l*W+BITS+:W-BITS]};
    end
  end
endmodule
