// SPDX-License-Identifier: MIT
// Dot product of a masked 3x3 window with +-1 weights: acc = 2*agreeing inside bits - inside bits, as count - 9*CHANNELS:
//   count = 2*popcount(~(x ^ w) & inside) + number of outside bits.   Tap t: bits t*CHANNELS+:CHANNELS, inside = mask[t].
// One window per cycle, latency 3; en[i] moves stage i.
// Synthesis with an even number of channels: a LUT site per pair of bits gives its number of agreements, 1 where the tap
// lies outside (so that it adds nothing to acc); carry chains sum the numbers (bv_bit_heap).
// tests/layers/test_popcount.py holds the two descriptions against each other.
module bv_conv_sum #(
    parameter int CHANNELS = 0,
    localparam int COUNT_BITS = $clog2(18 * CHANNELS + 1)
) (
    input  logic                  clk,
    input  logic [2:0]            en,
    input  logic [9*CHANNELS-1:0] x,
    input  logic [9*CHANNELS-1:0] w,
    input  logic [8:0]            mask,
    output logic [COUNT_BITS-1:0] count
);
  initial if (CHANNELS < 1) $error("bv_conv_sum: CHANNELS=%0d", CHANNELS);
`ifdef SYNTHESIS
  localparam bit PAIRED = CHANNELS % 2 == 0 && CHANNELS <= 56;  // a heap has up to 255 bits a column
`else
  localparam bit PAIRED = 1'b0;
`endif

  if (PAIRED) begin : gen_paired
`ifdef SYNTHESIS
    localparam int PAIRS = 9 * CHANNELS / 2;
    localparam int SUM_BITS = COUNT_BITS - 1;
    // LUT inputs: x, w of the first bit, x, w of the second, mask. O6: number of agreements is 2; O5: it is 1.
    localparam bit [63:0] AGREE = 64'h90090000_6996ffff;
    logic [2*PAIRS-1:0] bits;                            // column 0: ones, column 1: twos
    logic [SUM_BITS-1:0] sum;
    for (genvar i = 0; i < PAIRS; i++) begin : gen_pair
      LUT6_2 #(.INIT(AGREE)) u_lut (
          .O6(bits[PAIRS+i]), .O5(bits[i]), .I0(x[2*i]), .I1(w[2*i]), .I2(x[2*i+1]), .I3(w[2*i+1]),
          .I4(mask[2*i/CHANNELS]), .I5(1'b1));
    end
    bv_bit_heap #(.COLS(SUM_BITS), .BITS(2 * PAIRS), .HEIGHTS((SUM_BITS * 8)'({8'(PAIRS), 8'(PAIRS)})), .PIPE(2)) u_heap (
        .clk, .en(en[1:0]), .bits, .sum);
    always_ff @(posedge clk) if (en[2]) count <= {sum, 1'b0};
`endif
  end else begin : gen_rows
    localparam int ROW = 3 * CHANNELS;
    localparam int RB = $clog2(ROW + 1);
    logic [9*CHANNELS-1:0] same;
    logic [2:0][RB-1:0] rows, rows1;
    logic [3:0] outside1;
    logic [COUNT_BITS-1:0] sum2;
    for (genvar t = 0; t < 9; t++) begin : gen_tap
      assign same[t*CHANNELS+:CHANNELS] = ~(x[t*CHANNELS+:CHANNELS] ^ w[t*CHANNELS+:CHANNELS]) & {CHANNELS{mask[t]}};
    end
    for (genvar r = 0; r < 3; r++) begin : gen_row
      bv_popcount #(.WIDTH(ROW)) u_count (.x(same[r*ROW+:ROW]), .count(rows[r]));
    end
    always_ff @(posedge clk) begin
      if (en[0]) begin
        rows1 <= rows;
        outside1 <= 4'($countones(~mask));
      end
      if (en[1]) sum2 <= ((COUNT_BITS'(rows1[0]) + COUNT_BITS'(rows1[1]) + COUNT_BITS'(rows1[2])) << 1)
                         + COUNT_BITS'(int'(outside1) * CHANNELS);
      if (en[2]) count <= sum2;
    end
  end
endmodule
