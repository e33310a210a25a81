// SPDX-License-Identifier: MIT
// Simulation model of the DSP slice of UltraScale devices, as far as the kernels and Yosys use it: optional pipeline
// registers, the pre-adder (AMULTSEL "AD"), the multiplier or A:B + C, additions of C or the cascade, the pattern detector.
// The ports and options that are left out must keep the values checked here. Functions: UltraScale DSP slice user guide.
module DSP48E2 #(
    parameter int AREG = 1, BREG = 1, CREG = 1, DREG = 1, ADREG = 1, MREG = 1, PREG = 1, INMODEREG = 1, OPMODEREG = 1,
    parameter int ALUMODEREG = 1, CARRYINREG = 1, CARRYINSELREG = 1, ACASCREG = 1, BCASCREG = 1,
    parameter USE_MULT = "MULTIPLY",
    parameter USE_SIMD = "ONE48",
    parameter A_INPUT = "DIRECT",
    parameter B_INPUT = "DIRECT",
    parameter AMULTSEL = "A",
    parameter BMULTSEL = "B",
    parameter USE_PATTERN_DETECT = "NO_PATDET",
    parameter logic [47:0] MASK = 48'h3fffffffffff,
    parameter logic [47:0] PATTERN = 48'h0
) (
    input  logic        CLK,
    input  logic [29:0] A, ACIN,
    input  logic [17:0] B, BCIN,
    input  logic [47:0] C, PCIN,
    input  logic [26:0] D,
    input  logic [8:0]  OPMODE,
    input  logic [4:0]  INMODE,
    input  logic [3:0]  ALUMODE,
    input  logic [2:0]  CARRYINSEL,
    input  logic        CARRYIN, CARRYCASCIN, MULTSIGNIN,
    input  logic        CEA1, CEA2, CEB1, CEB2, CEC, CED, CEAD, CEM, CEP, CEINMODE, CECTRL, CEALUMODE, CECARRYIN,
    input  logic        RSTA, RSTB, RSTC, RSTD, RSTM, RSTP, RSTINMODE, RSTCTRL, RSTALUMODE, RSTALLCARRYIN,
    output logic [29:0] ACOUT,
    output logic [17:0] BCOUT,
    output logic [47:0] PCOUT, P,
    output logic [3:0]  CARRYOUT,
    output logic        CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW, PATTERNDETECT, PATTERNBDETECT
);
  // _q: in a register; without: what the next stage sees
  logic [29:0] a1_q, a2_q, a;
  logic signed [17:0] b1_q, b2_q, b;
  logic signed [26:0] d_q, d, ad, ad_q, factor;
  logic signed [44:0] product, m_q, m;
  logic [47:0] c_q, c, z, w, p_q, sum;
  logic [4:0] inmode_q, inmode;
  logic equal_q, opposite_q;

  initial begin
    {a1_q, a2_q, b1_q, b2_q, d_q, ad_q, m_q, c_q, p_q, inmode_q, equal_q, opposite_q} = '0;
    if (BREG != AREG || OPMODEREG != 0 || ALUMODEREG != 0 || CARRYINREG != 0 || CARRYINSELREG != 0 || USE_SIMD != "ONE48"
        || A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || BMULTSEL != "B")
      $fatal(1, "DSP48E2: an option that this model does not have");
  end
  always_comb begin
    a = AREG > 0 ? a2_q : A;
    b = BREG > 0 ? b2_q : B;
    c = CREG > 0 ? c_q : C;
    d = DREG > 0 ? d_q : D;
    inmode = INMODEREG > 0 ? inmode_q : INMODE;
    ad = (inmode[2] ? d : '0) + (inmode[1] ? '0 : a[26:0]);
    if (AMULTSEL == "AD") factor = ADREG > 0 ? ad_q : ad;
    else factor = inmode[1] ? '0 : a[26:0];
    product = 45'(factor) * 45'(b);
    m = MREG > 0 ? m_q : product;
    z = OPMODE[6:4] == 3'b011 ? c : OPMODE[6:4] == 3'b001 ? PCIN : '0;
    w = OPMODE[8:7] == 2'b11 ? c : '0;
    sum = (OPMODE[3:0] == 4'b1111 ? {a, b} + c : 48'(m)) + z + w;
  end
  always_ff @(posedge CLK) begin
    if (AREG == 2 ? CEA1 : CEA2) a1_q <= A;
    if (BREG == 2 ? CEB1 : CEB2) b1_q <= B;
    if (CEA2) a2_q <= AREG == 2 ? a1_q : A;
    if (CEB2) b2_q <= BREG == 2 ? b1_q : B;
    if (CED) d_q <= D;
    if (CEAD) ad_q <= ad;
    if (CEINMODE) inmode_q <= INMODE;
    if (CEM) m_q <= product;
    if (CEC) c_q <= C;
    if (CEP) begin
      p_q <= sum;
      equal_q <= ((sum ^ PATTERN) & ~MASK) == '0;
      opposite_q <= ((sum ^ ~PATTERN) & ~MASK) == '0;
    end
    if (OPMODE[3:0] != (USE_MULT == "MULTIPLY" ? 4'b0101 : 4'b1111) || !(OPMODE[6:4] inside {3'b000, 3'b001, 3'b011})
        || !(OPMODE[8:7] inside {2'b00, 2'b11}) || ALUMODE != 0 || CARRYIN || CARRYINSEL != 0 || inmode[0]
        || inmode[4:3] != 0 || RSTA || RSTB || RSTC || RSTD || RSTM || RSTP || RSTINMODE || RSTCTRL || RSTALUMODE
        || RSTALLCARRYIN)
      $fatal(1, "DSP48E2: an operation that this model does not have");
  end
  assign P = PREG > 0 ? p_q : sum;
  assign PCOUT = P;
  assign PATTERNDETECT = PREG > 0 ? equal_q : ((sum ^ PATTERN) & ~MASK) == '0;
  assign PATTERNBDETECT = PREG > 0 ? opposite_q : ((sum ^ ~PATTERN) & ~MASK) == '0;
  assign {ACOUT, BCOUT, CARRYOUT, CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW} = '0;
endmodule
