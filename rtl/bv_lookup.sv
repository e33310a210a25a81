// SPDX-License-Identifier: MIT
// Table look-up: out = table[x - min], x signed IN_BITS, min = -2^(IN_BITS-1). LANES elements per beat, each with its
// own copy of the table. One beat per cycle, latency 2. BEATS per frame; set s of the table holds words s * 2^IN_BITS
// and up. Checked: all parameters.
module bv_lookup #(
    parameter int LANES    = 0,
    parameter int IN_BITS  = 0,
    parameter int OUT_BITS = 0,
    parameter int BEATS    = 0,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    parameter TABLE_FILE = "",
    parameter TABLE_STYLE = "auto"
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic [63:0]               schedule = 64'd0,
    input  logic [LANES*IN_BITS-1:0]  in0_data,
    input  logic                      in0_valid,
    output logic                      in0_ready,
    output logic [LANES*OUT_BITS-1:0] out0_data,
    output logic                      out0_valid,
    input  logic                      out0_ready
);
  localparam int DEPTH = SETS << IN_BITS;
  localparam int AW = $clog2(DEPTH);
  localparam int BW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int SW = SETS > 1 ? $clog2(SETS) : 1;
  initial if (LANES < 1 || IN_BITS < 1 || OUT_BITS < 1 || BEATS < 1)
    $error("bv_lookup: LANES=%0d IN_BITS=%0d OUT_BITS=%0d BEATS=%0d", LANES, IN_BITS, OUT_BITS, BEATS);

  logic ce, valid1, last_beat;
  logic [BW-1:0] beat;
  logic [SW-1:0] set;
  logic [LANES*OUT_BITS-1:0] word;

  assign ce = !out0_valid || out0_ready;
  assign in0_ready = ce;
  assign last_beat = beat == BW'(BEATS - 1);
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(ce && in0_valid && last_beat), .set);
  for (genvar i = 0; i < LANES; i++) begin : gen_lane
    logic [IN_BITS-1:0] index;  // x - min
    assign index = {~in0_data[(i+1)*IN_BITS-1], in0_data[i*IN_BITS+:IN_BITS-1]};
    bv_rom #(.WIDTH(OUT_BITS), .DEPTH(DEPTH), .FILE(TABLE_FILE), .STYLE(TABLE_STYLE)) u_rom (
        .clk, .en(ce), .addr(AW'({set, index})), .data(word[i*OUT_BITS+:OUT_BITS]));
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      beat <= '0;
      valid1 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      valid1 <= in0_valid;
      out0_valid <= valid1;
      if (in0_valid) beat <= last_beat ? '0 : BW'(beat + 1'b1);
    end
    if (ce) out0_data <= word;
  end
endmodule
