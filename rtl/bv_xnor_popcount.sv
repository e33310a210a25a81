// SPDX-License-Identifier: MIT
// Number of positions in which two bit vectors agree: count = popcount(~(x ^ w)); +-1 dot product = 2*count - WIDTH.
// Registered: slices of 64 bits are counted in stage 0, their sum follows in stage 1 when WIDTH > 64.
// en[i] moves stage i; one operand pair per cycle, latency STAGES.
module bv_xnor_popcount #(
    parameter int WIDTH = 0,
    localparam int STAGES = WIDTH > 64 ? 2 : 1
) (
    input  logic                       clk,
    input  logic [STAGES-1:0]          en,
    input  logic [WIDTH-1:0]           x,
    input  logic [WIDTH-1:0]           w,
    output logic [$clog2(WIDTH+1)-1:0] count
);
  localparam int CW = $clog2(WIDTH + 1);
  localparam int SLICES = (WIDTH + 63) / 64;
  initial if (WIDTH < 1) $error("bv_xnor_popcount: WIDTH=%0d", WIDTH);

  logic [CW-1:0] part[SLICES];
  for (genvar i = 0; i < SLICES; i++) begin : gen_slice
    localparam int W = i == SLICES - 1 ? WIDTH - i * 64 : 64;
    logic [W-1:0] same;
    assign same = ~(x[i*64+:W] ^ w[i*64+:W]);
    always_ff @(posedge clk) if (en[0]) part[i] <= CW'($countones(same));
  end

  if (SLICES > 1) begin : gen_sum
    logic [CW-1:0] total;
    always_comb begin
      total = '0;
      for (int i = 0; i < SLICES; i++) total += part[i];
    end
    always_ff @(posedge clk) if (en[1]) count <= total;
  end else begin : gen_single
    assign count = part[0];
  end
endmodule
