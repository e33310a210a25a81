// SPDX-License-Identifier: MIT
// Number of positions in which two bit vectors agree: count = popcount(~(x ^ w)); +-1 dot product = 2*count - WIDTH.
// One operand pair per cycle, latency STAGES = 2 (WIDTH <= 64) or 3; en[i] moves stage i.
// Simulation: $countones of 64-bit slices. Synthesis: three positions become a two-bit number in two LUTs, the numbers are
// summed on carry chains (bv_bit_heap); tests/layers/test_popcount.py holds the two descriptions against each other.
module bv_xnor_popcount #(
    parameter int WIDTH = 0,
    localparam int STAGES = WIDTH > 64 ? 3 : 2
) (
    input  logic                       clk,
    input  logic [STAGES-1:0]          en,
    input  logic [WIDTH-1:0]           x,
    input  logic [WIDTH-1:0]           w,
    output logic [$clog2(WIDTH+1)-1:0] count
);
  localparam int CW = $clog2(WIDTH + 1);
  initial if (WIDTH < 1 || WIDTH > 512) $error("bv_xnor_popcount: WIDTH=%0d is not in 1..512", WIDTH);

`ifdef SYNTHESIS
  localparam int T = WIDTH / 3;
  localparam int R = WIDTH % 3;
  function automatic bit [63:0] agreements(input bit high);  // bit of the number of agreeing pairs of three
    automatic bit [63:0] init = '0;
    for (int i = 0; i < 64; i++) begin
      automatic bit [5:0] v = 6'(i);
      automatic int n = int'(v[0] == v[1]) + int'(v[2] == v[3]) + int'(v[4] == v[5]);
      init[i] = high ? n >= 2 : n % 2 == 1;
    end
    return init;
  endfunction
  logic [2*T+R-1:0] bits;                                // column 0: T + R bits, column 1: T bits
  for (genvar i = 0; i < T; i++) begin : gen_triple
    LUT6 #(.INIT(agreements(1'b0))) u_low (
        .O(bits[i]), .I0(x[3*i]), .I1(w[3*i]), .I2(x[3*i+1]), .I3(w[3*i+1]), .I4(x[3*i+2]), .I5(w[3*i+2]));
    LUT6 #(.INIT(agreements(1'b1))) u_high (
        .O(bits[T+R+i]), .I0(x[3*i]), .I1(w[3*i]), .I2(x[3*i+1]), .I3(w[3*i+1]), .I4(x[3*i+2]), .I5(w[3*i+2]));
  end
  for (genvar i = 0; i < R; i++) begin : gen_rest
    assign bits[T+i] = x[3*T+i] == w[3*T+i];
  end
  logic [CW-1:0] sum;
  bv_bit_heap #(.COLS(CW), .BITS(2 * T + R), .HEIGHTS((CW * 8)'({8'(T), 8'(T + R)})), .PIPE(STAGES - 1)) u_heap (
      .clk, .en(en[STAGES-2:0]), .bits, .sum);
  always_ff @(posedge clk) if (en[STAGES-1]) count <= sum;
`else
  localparam int SLICES = (WIDTH + 63) / 64;
  logic [CW-1:0] part[SLICES];
  for (genvar i = 0; i < SLICES; i++) begin : gen_slice
    localparam int W = i == SLICES - 1 ? WIDTH - i * 64 : 64;
    logic [W-1:0] same;
    assign same = ~(x[i*64+:W] ^ w[i*64+:W]);
    always_ff @(posedge clk) if (en[0]) part[i] <= CW'($countones(same));
  end
  logic [CW-1:0] total[STAGES];
  always_comb begin
    total[0] = '0;
    for (int i = 0; i < SLICES; i++) total[0] += part[i];
  end
  for (genvar i = 1; i < STAGES; i++) begin : gen_stage
    always_ff @(posedge clk) if (en[i]) total[i] <= total[i-1];
  end
  assign count = total[STAGES-1];
`endif
endmodule
