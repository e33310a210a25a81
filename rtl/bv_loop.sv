// SPDX-License-Identifier: MIT
// Gate of an engine that ROUNDS identical blocks share: every frame passes the engine ROUNDS times, with the constants of
// one block after the other. in0: new frames; out0: into the engine; in1: out of the engine; out1: finished frames.
// A returning frame goes before a new one. At most IN_FLIGHT frames are under way (1 to 8), in an order that never
// changes; while one frame waits for a barrier inside the engine, others work. `schedule` tells the layers which set
// the n-th frame let in uses (bits 4n..4n+3, n modulo 16; see bv_set_counter); it is written before the first beat leaves.
// `admitted` counts the frames let in, modulo 16.
// A new frame starts once it is here completely (buffer of BEATS beats), so that it does not hold the engine up; beside a
// leaving one, or when in1 has nothing, and one only beside each: so it finds room (finn_flow/fifo_rings.py).
// Latency of a new frame BEATS + 4 cycles, of others 1; one beat per cycle. Checked: sizes.
module bv_loop #(
    parameter int WIDTH     = 0,
    parameter int BEATS     = 0,
    parameter int ROUNDS    = 0,
    parameter int IN_FLIGHT = 0,
    parameter RAM_STYLE     = "auto"
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [WIDTH-1:0] in0_data,
    input  logic             in0_valid,
    output logic             in0_ready,
    input  logic [WIDTH-1:0] in1_data,
    input  logic             in1_valid,
    output logic             in1_ready,
    output logic [WIDTH-1:0] out0_data,
    output logic             out0_valid,
    input  logic             out0_ready,
    output logic [WIDTH-1:0] out1_data,
    output logic             out1_valid,
    input  logic             out1_ready,
    output logic [63:0]      schedule,
    output logic [3:0]       admitted
);
  localparam int BW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int CW = $clog2(BEATS + 3);
  initial if (WIDTH < 1 || BEATS < 1 || ROUNDS < 1 || ROUNDS > 16 || IN_FLIGHT < 1 || IN_FLIGHT > 8)
    $error("bv_loop: WIDTH=%0d BEATS=%0d ROUNDS=%0d IN_FLIGHT=%0d", WIDTH, BEATS, ROUNDS, IN_FLIGHT);

  // ---- the buffer of the next new frame: RAM, its output register, and one more behind it -------------------------------
  logic [BW-1:0] wptr, rptr;
  logic [CW-1:0] held, stored;  // beats here in all; of them in the RAM
  logic [WIDTH-1:0] rdata, head_data;
  logic push, pop, re, rvalid, head_valid, advance;
  assign in0_ready = stored != CW'(BEATS);
  assign push = in0_valid && in0_ready;
  assign advance = !head_valid || pop;
  assign re = stored != '0 && (!rvalid || advance);
  bv_ram #(.WIDTH(WIDTH), .DEPTH(BEATS), .STYLE(RAM_STYLE)) u_ram (
      .clk, .we(push), .waddr(wptr), .wdata(in0_data), .re, .raddr(rptr), .rdata);
  always_ff @(posedge clk) begin
    if (rst) begin
      wptr <= '0;
      rptr <= '0;
      held <= '0;
      stored <= '0;
      rvalid <= 1'b0;
      head_valid <= 1'b0;
    end else begin
      held <= CW'(held + CW'(push) - CW'(pop));
      stored <= CW'(stored + CW'(push) - CW'(re));
      rvalid <= re || (rvalid && !advance);
      if (advance) head_valid <= rvalid;
      if (push) wptr <= int'(wptr) == BEATS - 1 ? '0 : BW'(wptr + 1'b1);
      if (re) rptr <= int'(rptr) == BEATS - 1 ? '0 : BW'(rptr + 1'b1);
    end
    if (advance) head_data <= rdata;
  end

  // ---- who goes next: decided between frames ------------------------------------------------------------------------------
  logic enter, enter_new, leave;            // a frame goes in (a new one), a finished one goes out
  logic [BW-1:0] enter_beat, leave_beat;
  logic [3:0] head, tail;                   // next frame to be let in, next one to return
  logic [3:0] flying, round;
  logic returned, again, finished, fresh, joined;  // joined: a new frame went in beside the leaving one
  assign admitted = head;
  assign round = schedule[4*tail+:4];
  assign returned = in1_valid && head != tail && !leave && !(enter && !enter_new);
  assign finished = returned && int'(round) == ROUNDS - 1;
  assign again = returned && !finished && !enter;
  assign fresh = !enter && !(returned && !finished) && !(leave && joined) && int'(held) >= BEATS
      && int'(flying) < IN_FLIGHT;
  logic enter_done, leave_done;
  assign enter_done = out0_valid && out0_ready && int'(enter_beat) == BEATS - 1;
  assign leave_done = out1_valid && out1_ready && int'(leave_beat) == BEATS - 1;
  always_ff @(posedge clk) begin
    if (rst) begin
      enter <= 1'b0;
      leave <= 1'b0;
      joined <= 1'b0;
      head <= '0;
      tail <= '0;
      flying <= '0;
      enter_beat <= '0;
      leave_beat <= '0;
      schedule <= '0;
    end else begin
      enter <= (enter && !enter_done) || again || fresh;
      leave <= (leave && !leave_done) || finished;
      joined <= leave && !leave_done && (joined || (enter && enter_new));
      if (again || fresh) begin
        schedule[4*head+:4] <= fresh ? 4'd0 : 4'(round + 1'b1);
        head <= head + 1'b1;
      end
      if (again || finished) tail <= tail + 1'b1;
      flying <= 4'(flying + 4'(fresh) - 4'(leave_done));
      if (out0_valid && out0_ready) enter_beat <= enter_done ? '0 : BW'(enter_beat + 1'b1);
      if (out1_valid && out1_ready) leave_beat <= leave_done ? '0 : BW'(leave_beat + 1'b1);
    end
    if (again || fresh) enter_new <= fresh;
  end

  assign out0_valid = enter && (enter_new ? head_valid : in1_valid);
  bv_mux2 #(.WIDTH(WIDTH)) u_out0 (.pick(enter_new), .a(head_data), .b(in1_data), .y(out0_data));
  assign pop = enter && enter_new && head_valid && out0_ready;
  assign out1_valid = leave && in1_valid;
  assign out1_data = in1_data;
  assign in1_ready = (enter && !enter_new && out0_ready) || (leave && out1_ready);
endmodule
