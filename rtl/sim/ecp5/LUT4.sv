// SPDX-License-Identifier: MIT
// Simulation model of a 4-input look-up table of the ECP5: Z is bit {D, C, B, A} of INIT.
module LUT4 #(
    parameter bit [15:0] INIT = 0
) (
    input  logic A, B, C, D,
    output logic Z
);
  assign Z = INIT[{D, C, B, A}];
endmodule
