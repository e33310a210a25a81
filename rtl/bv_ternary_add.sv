// SPDX-License-Identifier: MIT
// Sum of three numbers modulo 2^WIDTH in one LUT site a bit (synthesis only): sum = a + b + c. Combinational.
// O5 saves the carry maj(a, b, c) for the next position, O6 propagates a ^ b ^ c ^ (saved carry from below).
module bv_ternary_add #(
    parameter int WIDTH = 0
) (
    input  logic [WIDTH-1:0] a,
    input  logic [WIDTH-1:0] b,
    input  logic [WIDTH-1:0] c,
    output logic [WIDTH-1:0] sum
);
  localparam int CHAINS = (WIDTH + 3) / 4;
  initial if (WIDTH < 1) $error("bv_ternary_add: WIDTH=%0d", WIDTH);
  logic [CHAINS*4-1:0] s, o;
  logic [CHAINS*4:0] saved;
  logic [CHAINS:0] carry;
  assign saved[0] = 1'b0;
  assign carry[0] = 1'b0;
  for (genvar i = 0; i < CHAINS * 4; i++) begin : gen_bit
    if (i < WIDTH) begin : gen_used
      LUT6_2 #(.INIT(64'h69966996E8E8E8E8)) u_lut (
          .O6(s[i]), .O5(saved[i+1]), .I0(a[i]), .I1(b[i]), .I2(c[i]), .I3(saved[i]), .I4(1'b0), .I5(1'b1));
    end else begin : gen_pad
      assign s[i] = 1'b0;
      assign saved[i+1] = 1'b0;
    end
  end
  for (genvar k = 0; k < CHAINS; k++) begin : gen_chain
    logic [3:0] co;
    CARRY4 u_carry (.CO(co), .O(o[4*k+:4]), .CI(carry[k]), .CYINIT(1'b0), .DI(saved[4*k+:4]), .S(s[4*k+:4]));
    assign carry[k+1] = co[3];
    logic unused;
    assign unused = &{1'b0, co[2:0]};
  end
  assign sum = o[WIDTH-1:0];
  logic unused;
  assign unused = &{1'b0, o, saved[CHAINS*4], carry[CHAINS]};
endmodule
