// SPDX-License-Identifier: MIT
// Several askers share one port to the memory of the system: requests {bytes (63:32), ...} in turn, answers in their order,
// bytes / 8 words each. A request waits while OPEN others are not completely answered. Answers are not held up unless
// their asker does so; they pass two registers, since they come from outside. Checked: sizes.
module bv_fetch #(
    parameter int ASKERS = 0,
    parameter int OPEN   = 4
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [ASKERS*64-1:0] ask_data,
    input  logic [ASKERS-1:0]    ask_valid,
    output logic [ASKERS-1:0]    ask_ready,
    output logic [63:0]          set_data,
    output logic [ASKERS-1:0]    set_valid,
    input  logic [ASKERS-1:0]    set_ready,
    output logic [63:0]          out_data,
    output logic                 out_valid,
    input  logic                 out_ready,
    input  logic [63:0]          in_data,
    input  logic                 in_valid,
    output logic                 in_ready
);
  localparam int NW = ASKERS > 1 ? $clog2(ASKERS) : 1;
  initial if (ASKERS < 1 || OPEN < 2) $error("bv_fetch: ASKERS=%0d OPEN=%0d", ASKERS, OPEN);

  // the asker whose turn it is; who asks for nothing is passed over, one in each cycle
  logic [NW-1:0] turn;
  logic take, room;
  assign take = ask_valid[turn] && room && (!out_valid || out_ready);
  always_comb begin
    ask_ready = '0;
    ask_ready[turn] = take;
  end

  // who gets the words that come back, and how many
  logic [NW-1:0] owner;
  logic [28:0] words, count;
  logic owned, pop;
  bv_fifo #(.WIDTH(NW + 29), .DEPTH(OPEN), .ID(-1)) u_owners (
      .clk, .rst, .in0_data({turn, ask_data[64*turn+35+:29]}), .in0_valid(take), .in0_ready(room),
      .out0_data({owner, words}), .out0_valid(owned), .out0_ready(pop));
  logic word, take_word;
  bv_fifo #(.WIDTH(64), .DEPTH(2), .ID(-1)) u_words (
      .clk, .rst, .in0_data(in_data), .in0_valid(in_valid), .in0_ready(in_ready),
      .out0_data(set_data), .out0_valid(word), .out0_ready(owned && set_ready[owner]));
  assign take_word = word && owned && set_ready[owner];
  assign pop = take_word && count == words - 1;
  always_comb begin
    set_valid = '0;
    set_valid[owner] = word && owned;
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      turn <= '0;
      count <= '0;
      out_valid <= 1'b0;
    end else begin
      if (take || !ask_valid[turn]) turn <= int'(turn) == ASKERS - 1 ? '0 : NW'(turn + 1'b1);
      if (take_word) count <= pop ? '0 : count + 1'b1;
      out_valid <= take || (out_valid && !out_ready);
    end
    if (take) out_data <= ask_data[64*turn+:64];
  end
endmodule
