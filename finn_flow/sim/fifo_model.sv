// SPDX-License-Identifier: MIT
// Simulation model of bv_fifo for FIFO sizing: its depth is set at run time by the plusarg +fifo<ID>=<depth> (at most
// the parameter DEPTH), so that one compiled simulator serves the measurement and every trial; with +closed=<ID> nothing
// leaves it. Takes the place of bv_fifo.sv in the file list; same ports, rules and statistics line, and with a depth given
// the same cycles: its latency decides how far branches that meet again run apart. Without one, latency 1: the shortest.
module bv_fifo #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0,
    parameter int ID    = 0,
    parameter bit SLOW  = 1'b0,
    parameter     RAM_STYLE = "auto"
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
  int limit, count, max_count, wptr, rptr, count_next, stored;  // stored: beats of a deep one that are in its RAM
  longint unsigned beats_in;
  logic [WIDTH-1:0] mem[DEPTH];
  logic push, pop, given, chain, shallow, deep, closed, advance, re, rvalid;
  int closed_id;
  assign chain = SLOW && limit == 2;
  assign shallow = given && limit > 2 && limit <= 64;
  assign deep = given && limit > 64;
  assign advance = !out0_valid || out0_ready;
  assign re = stored != 0 && (!rvalid || advance);
  initial begin
    limit = DEPTH;
    closed = $value$plusargs("closed=%d", closed_id) && closed_id == ID;
    given = $value$plusargs({"fifo", $sformatf("%0d", ID), "=%d"}, limit) != 0;
    if (limit > DEPTH) limit = DEPTH;
  end
  assign push = in0_valid && in0_ready;
  assign pop = out0_valid && out0_ready;
  assign count_next = count + int'(push) - int'(pop);
  always_ff @(posedge clk) begin
    if (rst) begin
      count <= 0;
      max_count <= 0;
      wptr <= 0;
      rptr <= 0;
      beats_in <= 0;
      stored <= 0;
      rvalid <= 1'b0;
      in0_ready <= 1'b0;
      out0_valid <= 1'b0;
    end else begin
      count <= count_next;
      if (count_next > max_count) max_count <= count_next;
      in0_ready <= count_next < limit;
      stored <= stored + int'(push) - int'(re);
      rvalid <= re || (rvalid && !advance);
      if (closed) out0_valid <= 1'b0;
      else if (chain) out0_valid <= !pop && count != 0;
      else if (shallow) out0_valid <= advance ? count != int'(out0_valid) : 1'b1;
      else if (deep) out0_valid <= advance ? rvalid : 1'b1;
      else out0_valid <= count_next != 0;
      if (push) begin
        mem[wptr] <= in0_data;
        wptr <= wptr == DEPTH - 1 ? 0 : wptr + 1;
        beats_in <= beats_in + 1;
      end
      if (pop) rptr <= rptr == DEPTH - 1 ? 0 : rptr + 1;
    end
  end
  assign out0_data = mem[rptr];
  final $display("BV_FIFO %0d %0d %0d %0d %0d %0d %0d %0d %0d", ID, limit, max_count, count, in0_valid, in0_ready,
                 out0_valid, out0_ready, beats_in);
endmodule
