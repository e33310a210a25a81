// SPDX-License-Identifier: MIT
// Simulation model of the DSP slice of UltraScale devices, as far as the kernels use it: all pipeline registers (A and B
// one or two deep), the pre-adder (AMULTSEL "AD"), the multiplier or A:B + C, additions of C or the cascade, the
// pattern detector.
// The ports and options that are left out must keep the values checked here. Functions: UltraScale DSP slice user guide.
/* verilator lint_off DECLFILENAME */
module DSP48E2 #(
    parameter int AREG = 1, BREG = 1, CREG = 1, DREG = 1, ADREG = 1, MREG = 1, PREG = 1, INMODEREG = 1, OPMODEREG = 1,
    parameter int ALUMODEREG = 1, CARRYINREG = 1, CARRYINSELREG = 1, ACASCREG = 1, BCASCREG = 1,
    parameter USE_MULT = "MULTIPLY",
    parameter AMULTSEL = "A",
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
  logic [29:0] a1, a2;
  logic signed [26:0] d, factor;
  logic signed [17:0] b1, b2;
  logic signed [44:0] m;
  logic [47:0] c, z, w, next;
  logic [4:0] inmode;

  initial begin
    {a1, a2, d, b1, b2, m, c, P, inmode} = '0;
    if (AREG < 1 || AREG > 2 || BREG != AREG || CREG != 1 || DREG != 1 || MREG != (USE_MULT == "MULTIPLY" ? 1 : 0) || PREG != 1 || INMODEREG != 1
        || OPMODEREG != 0 || ALUMODEREG != 0 || CARRYINREG != 0 || CARRYINSELREG != 0
        || ADREG != (AMULTSEL == "AD" ? 0 : 1))
      $fatal(1, "DSP48E2: an option that this model does not have");
  end
  always_comb begin
    if (AMULTSEL == "AD") factor = (inmode[2] ? d : '0) + (inmode[1] ? '0 : a2[26:0]);
    else factor = inmode[1] ? '0 : a2[26:0];
    z = OPMODE[6:4] == 3'b011 ? c : OPMODE[6:4] == 3'b001 ? PCIN : '0;
    w = OPMODE[8:7] == 2'b11 ? c : '0;
    next = (OPMODE[3:0] == 4'b1111 ? {a2, b2} + c : 48'(m)) + z + w;
  end
  always_ff @(posedge CLK) begin
    if (AREG == 2 ? CEA1 : CEA2) a1 <= A;
    if (AREG == 2 ? CEB1 : CEB2) b1 <= B;
    if (CEA2) a2 <= AREG == 2 ? a1 : A;
    if (CEB2) b2 <= AREG == 2 ? b1 : B;
    if (CED) d <= D;
    if (CEINMODE) inmode <= INMODE;
    if (CEM) m <= 45'(factor) * 45'(b2);
    if (CEC) c <= C;
    if (CEP) begin
      P <= next;
      PATTERNDETECT <= ((next ^ PATTERN) & ~MASK) == '0;
      PATTERNBDETECT <= ((next ^ ~PATTERN) & ~MASK) == '0;
    end
    if (OPMODE[3:0] != (USE_MULT == "MULTIPLY" ? 4'b0101 : 4'b1111) || !(OPMODE[6:4] inside {3'b000, 3'b001, 3'b011}) || !(OPMODE[8:7] inside {2'b00, 2'b11})
        || ALUMODE != 0 || CARRYIN || CARRYINSEL != 0 || inmode[0] || inmode[4:3] != 0 || RSTA || RSTB || RSTC || RSTD
        || RSTM || RSTP || RSTINMODE || RSTCTRL || RSTALUMODE || RSTALLCARRYIN)
      $fatal(1, "DSP48E2: an operation that this model does not have");
  end
  assign PCOUT = P;
  assign {ACOUT, BCOUT, CARRYOUT, CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW} = '0;
endmodule
