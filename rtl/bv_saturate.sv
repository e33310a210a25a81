// SPDX-License-Identifier: MIT
// Quantizer: y = saturate(floor(x / 2^SHIFT)) to OUT_BITS bits, both signed. Combinational.
module bv_saturate #(
    parameter int IN_BITS  = 0,
    parameter int SHIFT    = 0,
    parameter int OUT_BITS = 0
) (
    input  logic signed [IN_BITS-1:0]  x,
    output logic signed [OUT_BITS-1:0] y
);
  localparam int KEEP = SHIFT + OUT_BITS - 1 < IN_BITS ? SHIFT + OUT_BITS - 1 : IN_BITS - 1;
  logic fits;
  assign fits = &x[IN_BITS-1:KEEP] || !(|x[IN_BITS-1:KEEP]);
  bv_clip #(.IN_BITS(IN_BITS), .SHIFT(SHIFT), .OUT_BITS(OUT_BITS)) u_clip (.x, .zeros(fits), .ones(1'b0), .y);
endmodule
