// SPDX-License-Identifier: MIT
// Multiplier with its adder, as one DSP slice holds them: p = (a + BIAS)*b + c, or p = (sel ? alt : a)*b + c with ALT = 1.
// en[0] takes a, alt, sel and b; en[1] moves the product and takes c; en[2] moves p. One result per cycle.
// zeros, ones: the bits of p from KEEP on are all 0, all 1; they belong to p.
// Synthesis: a DSP slice (bv_dsp) with its registers, pre-adder and pattern detector; operands that do not fit are left to
// the tool. tests/rtl/test_mac.py holds the descriptions against each other.
module bv_mac #(
    parameter int A_BITS = 0,
    parameter int B_BITS = 0,
    parameter int C_BITS = 0,
    parameter int P_BITS = 0,
    parameter int KEEP   = 0,
    parameter int ALT    = 0,
    parameter int BIAS   = 0
) (
    input  logic                     clk,
    input  logic [2:0]               en,
    input  logic signed [A_BITS-1:0] a,
    input  logic signed [A_BITS-1:0] alt,
    input  logic                     sel,
    input  logic signed [B_BITS-1:0] b,
    input  logic signed [C_BITS-1:0] c,
    output logic signed [P_BITS-1:0] p,
    output logic                     zeros,
    output logic                     ones
);
  initial if (A_BITS < 1 || B_BITS < 1 || C_BITS < 1 || P_BITS < 1 || KEEP < 0 || KEEP >= P_BITS || (ALT != 0 && BIAS != 0))
    $error("bv_mac: A_BITS=%0d B_BITS=%0d C_BITS=%0d P_BITS=%0d KEEP=%0d ALT=%0d BIAS=%0d", A_BITS, B_BITS, C_BITS, P_BITS,
           KEEP, ALT, BIAS);

`ifdef SYNTHESIS
  localparam bit SLICE = A_BITS <= (BIAS != 0 ? 24 : 25) && BIAS < 2 ** 23 && BIAS >= -(2 ** 23) && B_BITS <= 18
                         && C_BITS <= 48 && P_BITS <= 48;
`else
  localparam bit SLICE = 1'b0;
`endif

  if (SLICE) begin : gen_slice
`ifdef SYNTHESIS
    logic [47:0] full;
    assign p = full[P_BITS-1:0];
    bv_dsp #(.PRE(ALT != 0 || BIAS != 0 ? 1 : 0), .KEEP(KEEP)) u_dsp (
        .clk, .en_early(1'b0), .en_in(en[0]), .en_m(en[1]), .en_c(en[1]), .en_p(en[2]), .a(30'(a)), .b(18'(b)), .c(48'(c)),
        .d(ALT != 0 ? 27'(alt) : 27'(BIAS)), .use_d(ALT != 0 ? {sel, sel} : BIAS != 0 ? 2'b10 : 2'b00), .cascade_in('0),
        .cascade_out(), .p(full), .zeros, .ones);
`endif
  end else begin : gen_plain
    localparam int BIAS_BITS = $clog2((BIAS < 0 ? -BIAS : BIAS) + 1) + 1;
    localparam int F_BITS = BIAS == 0 ? A_BITS : (A_BITS > BIAS_BITS ? A_BITS : BIAS_BITS) + 1;
    localparam int M_BITS = F_BITS + B_BITS;
    logic signed [F_BITS-1:0] factor;
    logic signed [B_BITS-1:0] b_q;
    logic signed [M_BITS-1:0] product;
    logic signed [C_BITS-1:0] c_q;
    always_ff @(posedge clk) begin
      if (en[0]) begin
        factor <= ALT != 0 ? F_BITS'(sel ? alt : a) : F_BITS'(a) + F_BITS'(BIAS);
        b_q <= b;
      end
      if (en[1]) begin
        product <= M_BITS'(factor) * M_BITS'(b_q);
        c_q <= c;
      end
      if (en[2]) p <= P_BITS'(product) + P_BITS'(c_q);
    end
    assign zeros = p[P_BITS-1:KEEP] == '0;
    assign ones = &p[P_BITS-1:KEEP];
    if (ALT == 0) begin : gen_unused
      logic unused;
      assign unused = &{1'b0, alt, sel};
    end
  end
endmodule
