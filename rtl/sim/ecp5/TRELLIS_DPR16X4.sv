// SPDX-License-Identifier: MIT
// Simulation model of ECP5 look-up tables as memory: 16 words of 4 bits, one write port, one combinational read port.
module TRELLIS_DPR16X4 #(
    parameter WCKMUX = "WCK",
    parameter WREMUX = "WRE",
    parameter bit [63:0] INITVAL = 0
) (
    input  logic [3:0] DI, WAD, RAD,
    input  logic       WRE, WCK,
    output logic [3:0] DO
);
  initial if (WCKMUX != "WCK" || WREMUX != "WRE") $fatal(1, "TRELLIS_DPR16X4: an option that this model does not know");
  logic [3:0] mem[16];
  initial for (int i = 0; i < 16; i++) mem[i] = INITVAL[4*i+:4];
  always_ff @(posedge WCK) if (WRE) mem[WAD] <= DI;
  assign DO = mem[RAD];
endmodule
