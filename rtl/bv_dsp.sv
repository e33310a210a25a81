// SPDX-License-Identifier: MIT
// One DSP slice (synthesis only): a DSP48E2, or a DSP48E1 where BV_XC7 is defined. All registers are used.
//   MULT = 1: p = m + z, m = factor*b; factor = a, or with PRE = 1 use_d: 00 a, 11 d, 10 a + d
//   MULT = 0: p = {a, b} + c + z
// z = c (Z = 3), the cascade of the slice below (Z = 1), or 0 (Z = 0). INPUTS = 2: a and b pass two registers.
// Latency from a and b to p: INPUTS + 2 (MULT = 1) or INPUTS + 1; c one less than a slice with INPUTS = 1.
// zeros, ones: the bits of p from KEEP on are all 0, all 1.
module bv_dsp #(
    parameter int MULT   = 1,
    parameter int PRE    = 0,
    parameter int Z      = 3,
    parameter int INPUTS = 1,
    parameter int KEEP   = 0
) (
    input  logic        clk,
    input  logic        en_early,                        // first input registers (INPUTS = 2)
    input  logic        en_in,                           // input registers next to the multiplier, use and d
    input  logic        en_m,
    input  logic        en_c,
    input  logic        en_p,
    input  logic [29:0] a,
    input  logic [17:0] b,
    input  logic [47:0] c,
    input  logic [26:0] d,
    input  logic [1:0]  use_d,                           // 1: add d; 0: leave a out
    input  logic [47:0] cascade_in,
    output logic [47:0] cascade_out,
    output logic [47:0] p,
    output logic        zeros,
    output logic        ones
);
  localparam bit [47:0] MASK = ~(48'hffffffffffff << KEEP);
  localparam bit [6:0] OPMODE = {3'(Z), MULT != 0 ? 4'b0101 : 4'b1111};
`ifdef BV_XC7
  DSP48E1 #(
      .USE_DPORT(PRE != 0 ? "TRUE" : "FALSE"),
`else
  DSP48E2 #(
      .AMULTSEL(PRE != 0 ? "AD" : "A"),
`endif
      .AREG(INPUTS), .BREG(INPUTS), .ACASCREG(INPUTS), .BCASCREG(INPUTS), .CREG(1), .DREG(1), .ADREG(PRE != 0 ? 0 : 1),
      .MREG(MULT != 0 ? 1 : 0), .PREG(1), .INMODEREG(1), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0),
      .USE_MULT(MULT != 0 ? "MULTIPLY" : "NONE"), .USE_PATTERN_DETECT("PATDET"), .MASK(MASK), .PATTERN(48'h0)
  ) u_dsp (
`ifdef BV_XC7
      .OPMODE(OPMODE), .D(d[24:0]),
`else
      .OPMODE({2'b00, OPMODE}), .D(d),
`endif
      .CLK(clk), .A(a), .B(b), .C(c), .P(p), .PCIN(cascade_in), .PCOUT(cascade_out), .PATTERNDETECT(zeros),
      .PATTERNBDETECT(ones), .INMODE({2'b00, use_d, 1'b0}), .ALUMODE(4'b0000), .CARRYIN(1'b0), .CARRYINSEL(3'b000),
      .CARRYCASCIN(1'b0), .MULTSIGNIN(1'b0), .ACIN(30'b0), .BCIN(18'b0), .CEA1(en_early), .CEA2(en_in), .CEB1(en_early),
      .CEB2(en_in), .CEC(en_c), .CED(en_in), .CEAD(1'b0), .CEM(en_m), .CEP(en_p), .CEINMODE(en_in), .CECTRL(1'b0),
      .CEALUMODE(1'b0), .CECARRYIN(1'b0), .RSTA(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTD(1'b0), .RSTM(1'b0), .RSTP(1'b0),
      .RSTINMODE(1'b0), .RSTCTRL(1'b0), .RSTALUMODE(1'b0), .RSTALLCARRYIN(1'b0), .ACOUT(), .BCOUT(), .CARRYOUT(),
      .CARRYCASCOUT(), .MULTSIGNOUT(), .OVERFLOW(), .UNDERFLOW());
endmodule
