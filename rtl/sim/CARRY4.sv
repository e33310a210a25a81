// SPDX-License-Identifier: MIT
// Simulation model of the carry-chain primitive: for tests of the synthesis description of the counters.
module CARRY4 (
    output logic [3:0] CO,
    output logic [3:0] O,
    input  logic       CI,
    input  logic       CYINIT,
    input  logic [3:0] DI,
    input  logic [3:0] S
);
  logic [4:0] c;
  assign c[0] = CI | CYINIT;
  for (genvar i = 0; i < 4; i++) begin : gen_position
    assign c[i+1] = S[i] ? c[i] : DI[i];
    assign O[i] = S[i] ^ c[i];
  end
  assign CO = c[4:1];
endmodule
