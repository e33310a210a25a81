// SPDX-License-Identifier: MIT
// Sum of nine products and an addend: p = sum_k a[k]*b[k] + c. en[i] moves stage i: en[0] takes a and b, en[1] takes c,
// en[6] moves p: latency 7. zeros, ones: the bits of p from KEEP on are all 0, all 1. One sum per cycle.
// Synthesis: ten DSP slices, chains of four, three and two multipliers and their sum in the tenth; the operands of a slice
// wait until its turn in the chain. tests/rtl/test_mac.py holds the two descriptions against each other.
module bv_dot9 #(
    parameter int A_BITS = 0,
    parameter int B_BITS = 0,
    parameter int C_BITS = 0,
    parameter int P_BITS = 0,
    parameter int KEEP   = 0
) (
    input  logic                     clk,
    input  logic [6:0]               en,
    input  logic [9*A_BITS-1:0]      a,
    input  logic [9*B_BITS-1:0]      b,
    input  logic signed [C_BITS-1:0] c,
    output logic signed [P_BITS-1:0] p,
    output logic                     zeros,
    output logic                     ones
);
  initial if (A_BITS < 1 || A_BITS > 25 || B_BITS < 1 || B_BITS > 18 || C_BITS < 1 || P_BITS > 48 || KEEP >= P_BITS)
    $error("bv_dot9: A_BITS=%0d B_BITS=%0d C_BITS=%0d P_BITS=%0d KEEP=%0d", A_BITS, B_BITS, C_BITS, P_BITS, KEEP);

`ifdef SYNTHESIS
  // Slice k is at place PLACE of its chain, first or not; its input registers sit after WAIT registers here.
  logic [47:0] cascade[10], result[10], total;
  for (genvar k = 0; k < 9; k++) begin : gen_slice
    localparam bit FIRST = k == 0 || k == 4 || k == 7;
    localparam int AT = k < 4 ? k : k < 7 ? k - 4 : k - 6;        // enabled cycles later than slice 0
    localparam int INPUTS = AT > 0 ? 2 : 1;
    localparam int WAIT = AT > 1 ? AT - 1 : 0;
    logic signed [A_BITS-1:0] x[WAIT+1];
    logic signed [B_BITS-1:0] y[WAIT+1];
    assign x[0] = a[k*A_BITS+:A_BITS];
    assign y[0] = b[k*B_BITS+:B_BITS];
    for (genvar i = 0; i < WAIT; i++) begin : gen_wait
      always_ff @(posedge clk) if (en[i]) begin
        x[i+1] <= x[i];
        y[i+1] <= y[i];
      end
    end
    bv_dsp #(.Z(k == 0 ? 3 : FIRST ? 0 : 1), .INPUTS(INPUTS)) u_dsp (
        .clk, .en_early(AT > 0 && en[WAIT]), .en_in(en[AT]), .en_m(en[AT+1]), .en_c(k == 0 && en[1]), .en_p(en[AT+2]),
        .a(30'(x[WAIT])), .b(18'(y[WAIT])), .c(k == 0 ? 48'(c) : 48'b0), .d('0), .use_d('0),
        .cascade_in(FIRST ? 48'b0 : cascade[k-1]), .cascade_out(cascade[k]), .p(result[k]), .zeros(), .ones());
  end
  bv_dsp #(.MULT(0), .Z(1), .KEEP(KEEP)) u_total (
      .clk, .en_early(1'b0), .en_in(en[5]), .en_m(1'b0), .en_c(en[5]), .en_p(en[6]), .a(result[6][47:18]),
      .b(result[6][17:0]), .c(result[8]), .d('0), .use_d('0), .cascade_in(cascade[3]), .cascade_out(cascade[9]),
      .p(total), .zeros, .ones);
  assign p = total[P_BITS-1:0];
`else
  logic [9*A_BITS-1:0] a1;
  logic [9*B_BITS-1:0] b1;
  logic signed [P_BITS-1:0] sum1, sum[2:7];
  always_comb begin
    sum1 = P_BITS'(c);
    for (int k = 0; k < 9; k++) sum1 += P_BITS'(signed'(a1[k*A_BITS+:A_BITS])) * P_BITS'(signed'(b1[k*B_BITS+:B_BITS]));
  end
  always_ff @(posedge clk) begin
    if (en[0]) begin
      a1 <= a;
      b1 <= b;
    end
    if (en[1]) sum[2] <= sum1;
    for (int i = 2; i < 7; i++) if (en[i]) sum[i+1] <= sum[i];
  end
  assign p = sum[7];
  assign zeros = p[P_BITS-1:KEEP] == '0;
  assign ones = &p[P_BITS-1:KEEP];
`endif
endmodule
