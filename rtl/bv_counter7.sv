// SPDX-License-Identifier: MIT
// Ones of seven bits in two LUT sites on a carry chain (synthesis only): n = popcount(b).
// Position 0 adds parity(b[4:0]) + b[5] + b[6], position 1 adds floor(popcount(b[4:0]) / 2), position 2 emits the carry.
// The first operand of position 0 is parity(b[4:0]), O5 of the table whose O6 is the sum with b[5]: a slice has one bypass
// input for an operand and the carry-in, and b[6] takes it.
module bv_counter7 (
    input  logic [6:0] b,
    output logic [2:0] n
);
  // Bit i of the result: popcount of the low five bits of i, halved, is 1 (upper half: O6) or 2 (lower half: O5).
  function automatic bit [63:0] halves();
    automatic bit [63:0] init = '0;
    for (int i = 0; i < 32; i++) begin
      init[32+i] = $countones(5'(i)) / 2 == 1;
      init[i] = $countones(5'(i)) / 2 == 2;
    end
    return init;
  endfunction
  logic odd, sum, one, two;
  logic [3:0] o, co;
  LUT6_2 #(.INIT(64'h6996966996696996)) u_parity (
      .O6(sum), .O5(odd), .I0(b[0]), .I1(b[1]), .I2(b[2]), .I3(b[3]), .I4(b[4]), .I5(b[5]));
  LUT6_2 #(.INIT(halves())) u_half (
      .O6(one), .O5(two), .I0(b[0]), .I1(b[1]), .I2(b[2]), .I3(b[3]), .I4(b[4]), .I5(1'b1));
  CARRY4 u_chain (
      .CO(co), .O(o), .CI(1'b0), .CYINIT(b[6]), .DI({2'b00, two, odd}), .S({2'b00, one, sum}));
  assign n = o[2:0];
  logic unused;
  assign unused = &{1'b0, o[3], co};
endmodule
