// SPDX-License-Identifier: MIT
// Simulation model of the multiplexer behind two look-up tables of an ECP5 slice: Z is ALUT where C0 is 1, else BLUT.
module PFUMX (
    input  logic ALUT, BLUT, C0,
    output logic Z
);
  assign Z = C0 ? ALUT : BLUT;
endmodule
