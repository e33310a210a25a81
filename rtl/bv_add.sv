// SPDX-License-Identifier: MIT
// Exact element-wise sum of TERMS streams (2 to 4) of the same layout: out0 = in0 + in1 + ...
// LANES signed BITS-bit elements per beat, sums of BITS + ceil(log2 TERMS) bits. A beat is taken from all inputs
// together. One beat per cycle, latency 1. Ports in<TERMS> and above are ignored. Checked: TERMS, LANES and BITS.
module bv_add #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int TERMS = 0,
    localparam int SUM  = BITS + $clog2(TERMS)
) (
    input  logic                  clk,
    input  logic                  rst,
    input  logic [LANES*BITS-1:0] in0_data, in1_data, in2_data, in3_data,
    input  logic                  in0_valid, in1_valid, in2_valid, in3_valid,
    output logic                  in0_ready, in1_ready, in2_ready, in3_ready,
    output logic [LANES*SUM-1:0]  out0_data,
    output logic                  out0_valid,
    input  logic                  out0_ready
);
  initial if (LANES < 1 || BITS < 1 || TERMS < 2 || TERMS > 4)
    $error("bv_add: LANES=%0d BITS=%0d TERMS=%0d", LANES, BITS, TERMS);

  localparam logic [3:0] UNUSED = ~4'((1 << TERMS) - 1);
  logic ce, all_valid, take;
  assign ce = !out0_valid || out0_ready;
  assign all_valid = &({in3_valid, in2_valid, in1_valid, in0_valid} | UNUSED);
  assign take = ce && all_valid;
  assign {in3_ready, in2_ready, in1_ready, in0_ready} = {4{take}} & ~UNUSED;

  always_ff @(posedge clk) begin
    if (rst) out0_valid <= 1'b0;
    else if (ce) out0_valid <= all_valid;
    if (ce)
      for (int i = 0; i < LANES; i++)
        out0_data[i*SUM+:SUM] <= SUM'(signed'(in0_data[i*BITS+:BITS])) + SUM'(signed'(in1_data[i*BITS+:BITS]))
                               + (TERMS > 2 ? SUM'(signed'(in2_data[i*BITS+:BITS])) : '0)
                               + (TERMS > 3 ? SUM'(signed'(in3_data[i*BITS+:BITS])) : '0);
  end
endmodule
