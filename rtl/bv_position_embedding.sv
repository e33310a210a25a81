// SPDX-License-Identifier: MIT
// Adds a stored tensor: out = sat((x << KA + pe << KB + OFFSET) >> SH), floor shift, sat to OUT_BITS signed.
// LANES elements per beat; word s * BEATS + b of the memory belongs to beat b of a frame of set s.
// One beat per cycle, latency 3. PE_STYLE "stream": the words come over and over on pe_*; beats wait for them.
// Checked: all parameters.
module bv_position_embedding #(
    parameter int LANES    = 0,
    parameter int IN_BITS  = 0,
    parameter int PE_BITS  = 0,
    parameter int KA       = 0,
    parameter int KB       = 0,
    parameter int OFFSET   = 0,
    parameter int SH       = 0,
    parameter int OUT_BITS = 0,
    parameter int BEATS    = 0,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    parameter PE_FILE = "",
    parameter PE_STYLE = "auto",
    parameter int PE_TARGET = -1
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic [63:0]               schedule = 64'd0,
    input  logic [65:0]               load = 66'd0,
    input  logic [LANES*IN_BITS-1:0]  in0_data,
    input  logic                      in0_valid,
    output logic                      in0_ready,
    input  logic [LANES*PE_BITS-1:0]  pe_data = '0,
    input  logic                      pe_valid = 1'b0,
    output logic                      pe_ready,
    output logic [LANES*OUT_BITS-1:0] out0_data,
    output logic                      out0_valid,
    input  logic                      out0_ready
);
  localparam int OFFSET_BITS = $clog2((OFFSET < 0 ? -OFFSET : OFFSET) + 1) + 1;
  localparam int MAX1 = IN_BITS + KA > PE_BITS + KB ? IN_BITS + KA : PE_BITS + KB;
  localparam int SUM0 = (MAX1 > OFFSET_BITS ? MAX1 : OFFSET_BITS) + 2;
  localparam int SUM = SUM0 > OUT_BITS + SH ? SUM0 : OUT_BITS + SH + 1;
  localparam int DEPTH = SETS * BEATS;
  localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam int BW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int SW = SETS > 1 ? $clog2(SETS) : 1;
  localparam int TOP = OUT_BITS + SH - 1;  // sum fits when its bits TOP and above are equal
  initial if (LANES < 1 || IN_BITS < 1 || PE_BITS < 1 || OUT_BITS < 1 || BEATS < 1 || KA < 0 || KB < 0 || SH < 0)
    $error("bv_position_embedding: LANES=%0d IN_BITS=%0d PE_BITS=%0d OUT_BITS=%0d BEATS=%0d KA=%0d KB=%0d SH=%0d",
           LANES, IN_BITS, PE_BITS, OUT_BITS, BEATS, KA, KB, SH);

  logic ce, take, starving, valid1, valid2, last_beat;
  logic [BW-1:0] beat;
  logic [SW-1:0] set;
  logic [LANES*IN_BITS-1:0] x1;
  logic [LANES*PE_BITS-1:0] pe1;
  logic [LANES*SUM-1:0] sum2;

  assign ce = !out0_valid || out0_ready;
  assign take = ce && in0_valid && !starving;
  assign in0_ready = ce && !starving;
  assign last_beat = beat == BW'(BEATS - 1);
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(take && last_beat), .set);
  bv_weights #(.WIDTH(LANES * PE_BITS), .DEPTH(DEPTH), .FILE(PE_FILE), .STYLE(PE_STYLE), .TARGET(PE_TARGET)) u_words (
      .clk, .want(in0_valid), .en(take), .addr(AW'(int'(set) * BEATS + int'(beat))), .w(pe1), .starving, .load,
      .weight_data(pe_data), .weight_valid(pe_valid), .weight_ready(pe_ready));

  always_ff @(posedge clk) begin
    if (rst) begin
      beat <= '0;
      {valid1, valid2, out0_valid} <= '0;
    end else if (ce) begin
      {valid1, valid2, out0_valid} <= {take, valid1, valid2};
      if (take) beat <= last_beat ? '0 : BW'(beat + 1'b1);
    end
    if (ce) begin
      x1 <= in0_data;
      for (int i = 0; i < LANES; i++) begin
        sum2[i*SUM+:SUM] <= (SUM'(signed'(x1[i*IN_BITS+:IN_BITS])) <<< KA)
                          + (SUM'(signed'(pe1[i*PE_BITS+:PE_BITS])) <<< KB) + SUM'(OFFSET);
        out0_data[i*OUT_BITS+:OUT_BITS] <=
            (&sum2[i*SUM+TOP+:SUM-TOP] || !(|sum2[i*SUM+TOP+:SUM-TOP])) ? sum2[i*SUM+SH+:OUT_BITS]
            : {sum2[(i+1)*SUM-1], {OUT_BITS - 1{!sum2[(i+1)*SUM-1]}}};
      end
    end
  end
endmodule
