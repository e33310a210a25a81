// SPDX-License-Identifier: MIT
// Number of ones in a vector: count = popcount(x). Combinational.
module bv_popcount #(
    parameter int WIDTH = 0
) (
    input  logic [WIDTH-1:0]         x,
    output logic [$clog2(WIDTH+1)-1:0] count
);
  localparam int CW = $clog2(WIDTH + 1);
  localparam int SLICES = (WIDTH + 63) / 64;
  initial if (WIDTH < 1) $error("bv_popcount: WIDTH=%0d", WIDTH);

  logic [SLICES*64-1:0] padded;
  assign padded = (SLICES * 64)'(x);
  always_comb begin
    count = '0;
    for (int i = 0; i < SLICES; i++) count += CW'($countones(padded[i*64+:64]));
  end
endmodule
