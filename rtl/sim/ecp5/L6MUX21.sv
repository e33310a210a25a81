// SPDX-License-Identifier: MIT
// Simulation model of the multiplexer behind two PFUMX of the ECP5: Z is D1 where SD is 1, else D0.
module L6MUX21 (
    input  logic D0, D1, SD,
    output logic Z
);
  assign Z = SD ? D1 : D0;
endmodule
