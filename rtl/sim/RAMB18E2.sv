// SPDX-License-Identifier: MIT
// Simulation model of half a block RAM as a buffer of 1024 words of 18 bits: port A writes, port B reads the old word, no
// output register, no contents. Other modes stop the simulation.
module RAMB18E2 #(
    parameter INIT_00 = 0, parameter INIT_01 = 0, parameter INIT_02 = 0, parameter INIT_03 = 0, parameter INIT_04 = 0,
    parameter INIT_05 = 0, parameter INIT_06 = 0, parameter INIT_07 = 0, parameter INIT_08 = 0, parameter INIT_09 = 0,
    parameter INIT_0A = 0, parameter INIT_0B = 0, parameter INIT_0C = 0, parameter INIT_0D = 0, parameter INIT_0E = 0,
    parameter INIT_0F = 0, parameter INIT_10 = 0, parameter INIT_11 = 0, parameter INIT_12 = 0, parameter INIT_13 = 0,
    parameter INIT_14 = 0, parameter INIT_15 = 0, parameter INIT_16 = 0, parameter INIT_17 = 0, parameter INIT_18 = 0,
    parameter INIT_19 = 0, parameter INIT_1A = 0, parameter INIT_1B = 0, parameter INIT_1C = 0, parameter INIT_1D = 0,
    parameter INIT_1E = 0, parameter INIT_1F = 0, parameter INIT_20 = 0, parameter INIT_21 = 0, parameter INIT_22 = 0,
    parameter INIT_23 = 0, parameter INIT_24 = 0, parameter INIT_25 = 0, parameter INIT_26 = 0, parameter INIT_27 = 0,
    parameter INIT_28 = 0, parameter INIT_29 = 0, parameter INIT_2A = 0, parameter INIT_2B = 0, parameter INIT_2C = 0,
    parameter INIT_2D = 0, parameter INIT_2E = 0, parameter INIT_2F = 0, parameter INIT_30 = 0, parameter INIT_31 = 0,
    parameter INIT_32 = 0, parameter INIT_33 = 0, parameter INIT_34 = 0, parameter INIT_35 = 0, parameter INIT_36 = 0,
    parameter INIT_37 = 0, parameter INIT_38 = 0, parameter INIT_39 = 0, parameter INIT_3A = 0, parameter INIT_3B = 0,
    parameter INIT_3C = 0, parameter INIT_3D = 0, parameter INIT_3E = 0, parameter INIT_3F = 0, parameter INITP_00 = 0,
    parameter INITP_01 = 0, parameter INITP_02 = 0, parameter INITP_03 = 0, parameter INITP_04 = 0, parameter INITP_05 = 0,
    parameter INITP_06 = 0, parameter INITP_07 = 0, parameter INIT_A = 0, parameter INIT_B = 0,
    parameter SRVAL_A = 0, parameter SRVAL_B = 0,
    parameter WRITE_MODE_A = "", parameter WRITE_MODE_B = "",
    parameter int DOA_REG = 1, DOB_REG = 1, READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0
) (
    input  logic        CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, ADDRENA, ADDRENB, SLEEP,
    input  logic        REGCEAREGCE, REGCEB, RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
    input  logic [13:0] ADDRARDADDR, ADDRBWRADDR,
    input  logic [15:0] DINADIN, DINBDIN,
    input  logic [1:0]  DINPADINP, DINPBDINP, WEA,
    input  logic [3:0]  WEBWE,
    output logic [15:0] DOUTADOUT, DOUTBDOUT,
    output logic [1:0]  DOUTPADOUTP, DOUTPBDOUTP
);
  initial if (DOB_REG != 0 || READ_WIDTH_A != 0 || READ_WIDTH_B != 18 || WRITE_WIDTH_A != 18 || WRITE_WIDTH_B != 0
              || WRITE_MODE_A != "READ_FIRST" || WRITE_MODE_B != "READ_FIRST")
    $fatal(1, "RAMB18E2: a mode that this model does not have");
  logic [17:0] mem[1024];
  always_ff @(posedge CLKARDCLK) begin
    if (ENARDEN) begin
      if (WEA[0]) {mem[ADDRARDADDR[13:4]][16], mem[ADDRARDADDR[13:4]][7:0]} <= {DINPADINP[0], DINADIN[7:0]};
      if (WEA[1]) {mem[ADDRARDADDR[13:4]][17], mem[ADDRARDADDR[13:4]][15:8]} <= {DINPADINP[1], DINADIN[15:8]};
    end
    if (ENBWREN) {DOUTPBDOUTP, DOUTBDOUT} <= mem[ADDRBWRADDR[13:4]];
    if (RSTRAMB || WEBWE != 0 || !ADDRENA || !ADDRENB) $fatal(1, "RAMB18E2: an operation that this model does not have");
  end
  assign {DOUTADOUT, DOUTPADOUTP} = '0;
endmodule
