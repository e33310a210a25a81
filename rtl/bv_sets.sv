// SPDX-License-Identifier: MIT
// Constant sets from the memory of the system, beside a layer of an engine that blocks share: the chip holds two of SETS,
// that of the frame at work and that of the next one; frame n uses slot n modulo 2.
// As soon as the gate has let frame n in (`admitted`, modulo 16) and frame n - 2 has left the layer, its set is asked for:
// a request {bytes (63:32), offset in bytes (31:0)}, answered by that many bytes in words of 64 bits, in the order of the
// requests. What arrives goes to the layer's memories on a load bus (see bv_rom), MEMORIES of them, target m with WORDS[m]
// words in BEATS[m] beats for a set. `open` says that the frame whose beats come next has its set: the layer takes no
// beat of in0 without it. A frame has IN_BEATS beats of in0 and leaves with OUT_BEATS of out0. At most two requests are
// under way; answers are never held up. Checked: parameters.
module bv_sets #(
    parameter int SETS      = 0,
    parameter int MEMORIES  = 0,
    parameter logic [511:0] WORDS = '0,  // 32 bits for each memory
    parameter logic [511:0] BEATS = '0,
    parameter int OFFSET    = 0,         // bytes up to set 0
    parameter int BYTES     = 0,         // of a set, what is asked for
    parameter int STRIDE    = 0,         // bytes from set to set
    parameter int IN_BEATS  = 0,
    parameter int OUT_BEATS = 0
) (
    input  logic        clk,
    input  logic        rst,
    input  logic [63:0] schedule,
    input  logic [3:0]  admitted,
    input  logic        in_beat,         // beats that move
    input  logic        out_beat,
    output logic        open,
    output logic [63:0] ask_data,
    output logic        ask_valid,
    input  logic        ask_ready,
    input  logic [63:0] set_data,
    input  logic        set_valid,
    output logic        set_ready,
    output logic [65:0] load
);
  localparam int IW = IN_BEATS > 1 ? $clog2(IN_BEATS) : 1;
  localparam int OW = OUT_BEATS > 1 ? $clog2(OUT_BEATS) : 1;
  localparam int MW = MEMORIES > 1 ? $clog2(MEMORIES) : 1;
  initial if (SETS < 1 || SETS > 16 || MEMORIES < 1 || MEMORIES > 16 || BYTES < 8 || BYTES % 8 != 0 || IN_BEATS < 1
              || OUT_BEATS < 1)
    $error("bv_sets: SETS=%0d MEMORIES=%0d BYTES=%0d IN_BEATS=%0d OUT_BEATS=%0d", SETS, MEMORIES, BYTES, IN_BEATS,
           OUT_BEATS);

  // frames, modulo 16: asked for, with their set here, taken completely, gone
  logic [3:0] asked, filled, entered, left, set;
  logic [IW-1:0] in_count;
  logic [OW-1:0] out_count;
  logic last_in, last_out, asks;
  assign open = filled != entered;
  assign last_in = in_beat && int'(in_count) == IN_BEATS - 1;
  assign last_out = out_beat && int'(out_count) == OUT_BEATS - 1;
  assign set = schedule[4*asked+:4];
  assign asks = !ask_valid && admitted != asked && 4'(asked - left) < 4'd2;
  always_ff @(posedge clk) begin
    if (rst) begin
      asked <= '0;
      entered <= '0;
      left <= '0;
      in_count <= '0;
      out_count <= '0;
      ask_valid <= 1'b0;
    end else begin
      if (asks) ask_valid <= 1'b1;
      else if (ask_ready) ask_valid <= 1'b0;
      if (asks) asked <= asked + 1'b1;
      if (in_beat) in_count <= last_in ? '0 : IW'(in_count + 1'b1);
      if (last_in) entered <= entered + 1'b1;
      if (out_beat) out_count <= last_out ? '0 : OW'(out_count + 1'b1);
      if (last_out) left <= left + 1'b1;
    end
    if (asks) ask_data <= {32'(BYTES), 32'(OFFSET) + 32'(set) * 32'(STRIDE)};
  end

  // the load bus: a head for each memory, then its words
  logic head, last_beat, last_memory, slot;
  logic [MW-1:0] memory;
  logic [31:0] beat, words, beats;
  logic [2:0] done;                      // a set is complete; its last word is written two edges behind the bus
  assign words = WORDS[32*memory+:32];
  assign beats = BEATS[32*memory+:32];
  assign last_beat = beat == beats - 1;
  assign last_memory = int'(memory) == MEMORIES - 1;
  assign set_ready = !head;
  always_ff @(posedge clk) begin
    load <= '0;
    if (rst) begin
      head <= 1'b1;
      memory <= '0;
      beat <= '0;
      slot <= 1'b0;
      filled <= '0;
      done <= '0;
    end else begin
      done <= {done[1:0], set_valid && set_ready && last_beat && last_memory};
      if (done[2]) filled <= filled + 1'b1;
      if (head && set_valid) begin
        load <= {2'b11, 16'd0, 16'(memory), slot ? words : 32'd0};
        head <= 1'b0;
      end else if (set_valid) begin
        load <= {2'b10, set_data};
        beat <= last_beat ? '0 : beat + 1'b1;
        head <= last_beat;
        if (last_beat) memory <= last_memory ? '0 : MW'(memory + 1'b1);
        if (last_beat && last_memory) slot <= !slot;
      end
    end
  end
endmodule
