// SPDX-License-Identifier: MIT
// Simulation model of the dual five-input look-up table: O5 reads the lower half of INIT, O6 all of it.
module LUT6_2 #(
    parameter logic [63:0] INIT = 0
) (
    output logic O6,
    output logic O5,
    input  logic I0,
    input  logic I1,
    input  logic I2,
    input  logic I3,
    input  logic I4,
    input  logic I5
);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule
