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
  localparam int W = IN_BITS > SHIFT ? IN_BITS - SHIFT : 1;
  initial if (IN_BITS < 1 || SHIFT < 0 || OUT_BITS < 2)
    $error("bv_saturate: IN_BITS=%0d SHIFT=%0d OUT_BITS=%0d", IN_BITS, SHIFT, OUT_BITS);

  logic signed [W-1:0] s;
  assign s = W'(x >>> SHIFT);
  if (W > OUT_BITS) begin : gen_clip
    logic fits;
    assign fits = &s[W-1:OUT_BITS-1] || !(|s[W-1:OUT_BITS-1]);
    assign y = fits ? s[OUT_BITS-1:0] : {s[W-1], {(OUT_BITS - 1) {!s[W-1]}}};
  end else begin : gen_extend
    assign y = OUT_BITS'(s);
  end
endmodule
