// SPDX-License-Identifier: MIT
// Sums of every four of N numbers of BITS bits, modulo 2^BITS, registered.
module bv_sum_fours #(
    parameter int N    = 0,
    parameter int BITS = 0,
    localparam int M   = (N + 3) / 4
) (
    input  logic              clk,
    input  logic [N*BITS-1:0] x,
    output logic [M*BITS-1:0] sum
);
  for (genvar p = 0; p < M; p++) begin : gen_four
    logic [BITS-1:0] four;
    always_comb begin
      four = '0;
      for (int i = 4 * p; i < N && i < 4 * p + 4; i++) four = four + x[i*BITS+:BITS];
    end
    always_ff @(posedge clk) sum[p*BITS+:BITS] <= four;
  end
endmodule
