// SPDX-License-Identifier: MIT
// Pipelined sum of N signed numbers of BITS bits: one register per level of pairwise additions, latency clog2(N).
// en[i] moves level i; one vector per cycle. N = 1 is a wire (STAGES = 1 then only sizes the unused port).
module bv_adder_tree #(
    parameter int N    = 0,
    parameter int BITS = 0,
    localparam int STAGES = N > 1 ? $clog2(N) : 1,
    localparam int OUT_BITS = BITS + $clog2(N)
) (
    input  logic                       clk,
    input  logic [STAGES-1:0]          en,
    input  logic [N*BITS-1:0]          x,
    output logic signed [OUT_BITS-1:0] sum
);
  initial if (N < 1 || BITS < 1) $error("bv_adder_tree: N=%0d BITS=%0d", N, BITS);

  if (N == 1) begin : gen_wire
    logic unused;
    assign unused = &{1'b0, clk, en};
    assign sum = x;
  end else if (N == 2) begin : gen_pair
    always_ff @(posedge clk) if (en[0]) sum <= OUT_BITS'(signed'(x[0+:BITS])) + OUT_BITS'(signed'(x[BITS+:BITS]));
  end else begin : gen_level
    localparam int HALF = (N + 1) / 2;
    logic [HALF*(BITS+1)-1:0] pairs;
    for (genvar i = 0; i < HALF; i++) begin : gen_add
      logic signed [BITS:0] y;
      if (2 * i + 1 < N) begin : gen_two
        always_ff @(posedge clk)
          if (en[0]) y <= (BITS+1)'(signed'(x[2*i*BITS+:BITS])) + (BITS+1)'(signed'(x[(2*i+1)*BITS+:BITS]));
      end else begin : gen_one
        always_ff @(posedge clk) if (en[0]) y <= (BITS+1)'(signed'(x[2*i*BITS+:BITS]));
      end
      assign pairs[i*(BITS+1)+:BITS+1] = y;
    end
    bv_adder_tree #(.N(HALF), .BITS(BITS + 1)) u_rest (.clk, .en(en[STAGES-1:1]), .x(pairs), .sum);
  end
endmodule
