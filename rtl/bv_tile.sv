// SPDX-License-Identifier: MIT
// Repeats the channels of each token RATIO times: out[j] = in[j mod C], C = FOLDS beats of the token group. The last
// repetition leaves out its last CUT beats; RATIO = 1 drops them.
// The first pass forwards the input and keeps it in a buffer of one token group; the others replay the buffer, while
// the input waits (the output never does). WIDTH-bit beats are opaque. One beat per cycle, latency 2.
// Checked: all parameters.
module bv_tile #(
    parameter int WIDTH = 0,
    parameter int FOLDS = 0,
    parameter int RATIO = 0,
    parameter int CUT = 0
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [WIDTH-1:0] in0_data,
    input  logic             in0_valid,
    output logic             in0_ready,
    output logic [WIDTH-1:0] out0_data,
    output logic             out0_valid,
    input  logic             out0_ready
);
  localparam int FW = FOLDS > 1 ? $clog2(FOLDS) : 1;
  localparam int RW = RATIO > 1 ? $clog2(RATIO) : 1;
  initial if (WIDTH < 1 || FOLDS < 1 || RATIO < 1 || CUT < 0 || CUT >= FOLDS)
    $error("bv_tile: WIDTH=%0d FOLDS=%0d RATIO=%0d CUT=%0d", WIDTH, FOLDS, RATIO, CUT);

  logic ce, step, keep, first, first1, valid1, last_pass, last_fold;
  logic [FW-1:0] fold;
  logic [RW-1:0] pass;
  logic [WIDTH-1:0] x1, replay, next;

  assign ce = !out0_valid || out0_ready;
  assign first = pass == '0;
  assign in0_ready = ce && first;
  assign step = ce && (in0_valid || !first);
  assign last_pass = pass == RW'(RATIO - 1);
  assign last_fold = fold == (last_pass && RATIO > 1 ? FW'(FOLDS - 1 - CUT) : FW'(FOLDS - 1));
  if (RATIO == 1 && CUT > 0) begin : gen_drop
    assign keep = fold < FW'(FOLDS - CUT);
  end else begin : gen_keep
    assign keep = 1'b1;
  end

  bv_ram #(.WIDTH(WIDTH), .DEPTH(FOLDS)) u_ram (
      .clk, .we(step && first), .waddr(fold), .wdata(in0_data), .re(ce), .raddr(fold), .rdata(replay));

  if (RATIO > 1) begin : gen_pick
    bv_mux2 #(.WIDTH(WIDTH)) u_next (.pick(first1), .a(x1), .b(replay), .y(next));
  end else begin : gen_pass
    assign next = x1;
    logic unused;
    assign unused = &{1'b0, first1, replay};
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      pass <= '0;
      valid1 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      valid1 <= step && keep;
      out0_valid <= valid1;
      if (step) begin
        fold <= last_fold ? '0 : FW'(fold + 1'b1);
        if (last_fold) pass <= last_pass ? '0 : RW'(pass + 1'b1);
      end
    end
    if (ce) begin
      x1 <= in0_data;
      first1 <= first;
      out0_data <= next;
    end
  end
endmodule
