// SPDX-License-Identifier: MIT
// Quantizer behind known flags: y = saturate(floor(x / 2^SHIFT)) to OUT_BITS bits, both signed. zeros, ones: the bits of x
// from SHIFT + OUT_BITS - 1 on are all 0, all 1 (of no meaning where x has no more bits than that). Combinational.
// Synthesis: two bits of the result in one LUT site.
module bv_clip #(
    parameter int IN_BITS  = 0,
    parameter int SHIFT    = 0,
    parameter int OUT_BITS = 0
) (
    input  logic signed [IN_BITS-1:0]  x,
    input  logic                       zeros,
    input  logic                       ones,
    output logic signed [OUT_BITS-1:0] y
);
  localparam int W = IN_BITS > SHIFT ? IN_BITS - SHIFT : 1;
  initial if (IN_BITS < 1 || SHIFT < 0 || OUT_BITS < 2)
    $error("bv_clip: IN_BITS=%0d SHIFT=%0d OUT_BITS=%0d", IN_BITS, SHIFT, OUT_BITS);

`ifdef SYNTHESIS
  function automatic bit [63:0] pair();  // inputs: two bits of s, zeros, ones, sign; upper half of INIT: the upper bit
    automatic bit [63:0] init = '0;
    for (int i = 0; i < 32; i++) begin
      automatic bit [4:0] v = 5'(i);
      init[i] = v[2] || v[3] ? v[0] : !v[4];
      init[32+i] = v[2] || v[3] ? v[1] : !v[4];
    end
    return init;
  endfunction
`endif
  logic signed [W-1:0] s;
  assign s = W'(x >>> SHIFT);
  if (W <= OUT_BITS) begin : gen_extend
    assign y = OUT_BITS'(s);
    logic unused;
    assign unused = &{1'b0, zeros, ones};
  end else begin : gen_clip
`ifdef SYNTHESIS
    localparam int PAIRS = (OUT_BITS - 1) / 2;
    assign y[OUT_BITS-1] = s[W-1];
    for (genvar i = 0; i < PAIRS; i++) begin : gen_pair
      LUT6_2 #(.INIT(pair())) u_lut (
          .O6(y[2*i+1]), .O5(y[2*i]), .I0(s[2*i]), .I1(s[2*i+1]), .I2(zeros), .I3(ones), .I4(s[W-1]), .I5(1'b1));
    end
    if (2 * PAIRS < OUT_BITS - 1) begin : gen_single
      assign y[OUT_BITS-2] = zeros || ones ? s[OUT_BITS-2] : !s[W-1];
    end
`else
    assign y = zeros || ones ? s[OUT_BITS-1:0] : {s[W-1], {(OUT_BITS - 1) {!s[W-1]}}};
`endif
  end
endmodule
