// SPDX-License-Identifier: MIT
// Simulation model of two positions of an ECP5 carry chain. Position i: p = its look-up table, g = the table's lower quarter
// at {B, A}; S = p ^ carry, carry out = p ? carry : g. INJECT1 = "YES" takes a 0 in place of the carry (for S) and of g.
module CCU2C #(
    parameter bit [15:0] INIT0 = 0,
    parameter bit [15:0] INIT1 = 0,
    parameter INJECT1_0 = "YES",
    parameter INJECT1_1 = "YES"
) (
    input  logic CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output logic S0, S1, COUT
);
  localparam bit CHAIN0 = INJECT1_0 == "NO";
  localparam bit CHAIN1 = INJECT1_1 == "NO";
  logic p0, p1, g0, g1, carry;
  assign p0 = INIT0[{D0, C0, B0, A0}];
  assign p1 = INIT1[{D1, C1, B1, A1}];
  assign g0 = CHAIN0 && INIT0[{2'b00, B0, A0}];
  assign g1 = CHAIN1 && INIT1[{2'b00, B1, A1}];
  assign carry = p0 ? CIN : g0;
  assign COUT = p1 ? carry : g1;
  assign S0 = p0 ^ (CHAIN0 && CIN);
  assign S1 = p1 ^ (CHAIN1 && carry);
endmodule
