// SPDX-License-Identifier: MIT
// Number of ones in a vector: count = popcount(x). Combinational.
// Simulation: $countones of 64-bit slices. Synthesis: carry-chain counters (bv_bit_heap);
// tests/layers/test_popcount.py holds the two descriptions against each other.
module bv_popcount #(
    parameter int WIDTH = 0
) (
    input  logic [WIDTH-1:0]           x,
    output logic [$clog2(WIDTH+1)-1:0] count
);
  localparam int CW = $clog2(WIDTH + 1);
  localparam int SLICES = (WIDTH + 63) / 64;
  initial if (WIDTH < 1) $error("bv_popcount: WIDTH=%0d", WIDTH);

  logic [CW-1:0] part[SLICES];
  for (genvar i = 0; i < SLICES; i++) begin : gen_slice
    localparam int W = i == SLICES - 1 ? WIDTH - i * 64 : 64;
`ifdef SYNTHESIS
    localparam int PW = $clog2(W + 1);
    logic [PW-1:0] n;
    bv_bit_heap #(.COLS(PW), .BITS(W), .HEIGHTS((PW * 8)'(W))) u_heap (
        .clk(1'b0), .en(1'b0), .bits(x[i*64+:W]), .sum(n));
    assign part[i] = CW'(n);
`else
    assign part[i] = CW'($countones(x[i*64+:W]));
`endif
  end
  always_comb begin
    count = '0;
    for (int i = 0; i < SLICES; i++) count += part[i];
  end
endmodule
