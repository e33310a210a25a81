// SPDX-License-Identifier: MIT
// Multiplier with its adder, as one DSP slice holds them: p = (a + BIAS)*b + c, or p = (sel ? alt : a)*b + c with ALT = 1.
// en[0] takes a, alt, sel and b; en[1] moves the product and takes c; en[2] moves p. One result per cycle.
// zeros, ones: the bits of p from KEEP on are all 0, all 1; they belong to p.
// Synthesis: a DSP48E2, or a DSP48E1 where BV_XC7 is defined, with its registers, pre-adder and pattern detector; operands
// that do not fit are left to the tool. tests/rtl/test_mac.py holds the descriptions against each other.
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
    localparam bit [47:0] MASK = ~(48'hffffffffffff << KEEP);
    localparam bit PRE = ALT != 0 || BIAS != 0;
    logic [47:0] full;
    logic [29:0] a_in;
    logic [26:0] d_in;
    logic [4:0] inmode;
    assign a_in = 30'(a);
    assign d_in = ALT != 0 ? 27'(alt) : 27'(BIAS);
    assign inmode = ALT != 0 ? {2'b00, sel, sel, 1'b0} : BIAS != 0 ? 5'b00100 : 5'b00000;  // D instead of A; D and A; A
    assign p = full[P_BITS-1:0];
`ifdef BV_XC7
    DSP48E1 #(
        .AREG(1), .BREG(1), .CREG(1), .DREG(1), .ADREG(PRE ? 0 : 1), .MREG(1), .PREG(1), .INMODEREG(1), .OPMODEREG(0),
        .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .ACASCREG(1), .BCASCREG(1), .USE_MULT("MULTIPLY"),
        .USE_DPORT(PRE ? "TRUE" : "FALSE"), .USE_PATTERN_DETECT("PATDET"), .MASK(MASK), .PATTERN(48'h0)
    ) u_dsp (
        .OPMODE(7'b0110101), .D(d_in[24:0]), .MULTSIGNIN(1'b0),
`else
    DSP48E2 #(
        .AREG(1), .BREG(1), .CREG(1), .DREG(1), .ADREG(PRE ? 0 : 1), .MREG(1), .PREG(1), .INMODEREG(1), .OPMODEREG(0),
        .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0), .ACASCREG(1), .BCASCREG(1), .USE_MULT("MULTIPLY"),
        .AMULTSEL(PRE ? "AD" : "A"), .USE_PATTERN_DETECT("PATDET"), .MASK(MASK), .PATTERN(48'h0)
    ) u_dsp (
        .OPMODE(9'b000110101), .D(d_in), .MULTSIGNIN(1'b0),
`endif
        .CLK(clk), .A(a_in), .B(18'(b)), .C(48'(c)), .P(full), .PATTERNDETECT(zeros), .PATTERNBDETECT(ones),
        .INMODE(inmode), .ALUMODE(4'b0000), .CARRYIN(1'b0), .CARRYINSEL(3'b000), .CARRYCASCIN(1'b0), .ACIN(30'b0),
        .BCIN(18'b0), .PCIN(48'b0), .CEA1(1'b0), .CEA2(en[0]), .CEB1(1'b0), .CEB2(en[0]), .CEC(en[1]), .CED(en[0]),
        .CEAD(1'b0), .CEM(en[1]), .CEP(en[2]), .CEINMODE(en[0]), .CECTRL(1'b0), .CEALUMODE(1'b0), .CECARRYIN(1'b0),
        .RSTA(1'b0), .RSTB(1'b0), .RSTC(1'b0), .RSTD(1'b0), .RSTM(1'b0), .RSTP(1'b0), .RSTINMODE(1'b0), .RSTCTRL(1'b0),
        .RSTALUMODE(1'b0), .RSTALLCARRYIN(1'b0), .ACOUT(), .BCOUT(), .PCOUT(), .CARRYOUT(), .CARRYCASCOUT(),
        .MULTSIGNOUT(), .OVERFLOW(), .UNDERFLOW());
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
