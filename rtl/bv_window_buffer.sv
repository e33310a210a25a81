// SPDX-License-Identifier: MIT
// Ping-pong buffer of binary window tokens: a stream of SIMD bits a beat becomes words of one head of one token.
// Stream order: token-major, head-minor, channel 0 in the LSBs. LANES tokens are read at a time:
//   word of token j, head h:  lane j % LANES, address half * HEADS*ceil(TOKENS/LANES) + (j / LANES) * HEADS + h
// One beat per cycle while a half is free. `avail`: a window is loaded that was not claimed yet; `claim` takes it (the
// reader goes on reading it), `free` gives the oldest half back. Read data follows an enabled edge by one cycle.
module bv_window_buffer #(
    parameter int TOKENS   = 0,
    parameter int HEADS    = 0,
    parameter int HEAD_DIM = 0,
    parameter int SIMD     = 1,
    parameter int LANES    = 1,
    parameter STYLE        = "auto",
    localparam int HALF    = HEADS * ((TOKENS + LANES - 1) / LANES),
    localparam int AW      = $clog2(2 * HALF)
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic [SIMD-1:0]           in_data,
    input  logic                      in_valid,
    output logic                      in_ready,
    output logic                      avail,
    input  logic                      claim,
    input  logic                      free,
    input  logic                      re,
    input  logic [AW-1:0]             raddr,
    output logic [LANES*HEAD_DIM-1:0] rdata
);
  localparam int BEATS = HEAD_DIM / SIMD;
  localparam int BW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int HW = HEADS > 1 ? $clog2(HEADS) : 1;
  localparam int LW = LANES > 1 ? $clog2(LANES) : 1;
  localparam int TW = TOKENS > 1 ? $clog2(TOKENS) : 1;
  initial if (TOKENS < 1 || HEADS < 1 || SIMD < 1 || BEATS * SIMD != HEAD_DIM || LANES < 1 || LANES > TOKENS)
    $error("bv_window_buffer: TOKENS=%0d HEADS=%0d HEAD_DIM=%0d SIMD=%0d LANES=%0d", TOKENS, HEADS, HEAD_DIM, SIMD, LANES);

  logic [1:0] loaded, unclaimed;         // windows held, windows held and not claimed
  logic [BW-1:0] beat;
  logic [HW-1:0] head;
  logic [LW-1:0] lane, wlane;
  logic [TW-1:0] token;
  logic half, take, last_beat, last_head, last_lane, last_token, done, we, done_q;
  logic [AW-1:0] base, waddr;
  logic [HEAD_DIM-1:0] word;

  // a loaded window is counted one cycle late (done_q), when its last word has been written: look ahead for `full`
  assign in_ready = loaded + 2'(done_q) < 2'd2;
  assign avail = unclaimed != 2'd0;
  assign take = in_valid && in_ready;
  assign last_beat = int'(beat) == BEATS - 1;
  assign last_head = int'(head) == HEADS - 1;
  assign last_lane = int'(lane) == LANES - 1;
  assign last_token = int'(token) == TOKENS - 1;
  assign done = take && last_beat && last_head && last_token;

  always_ff @(posedge clk) begin
    if (rst) begin
      loaded <= '0;
      unclaimed <= '0;
      {beat, head, lane, token, half, we, done_q} <= '0;
      base <= '0;
    end else begin
      we <= take && last_beat;
      done_q <= done;
      loaded <= loaded + 2'(done_q) - 2'(free);
      unclaimed <= unclaimed + 2'(done_q) - 2'(claim);
      if (take) beat <= last_beat ? '0 : BW'(beat + 1'b1);
      if (take && last_beat) begin
        head <= last_head ? '0 : HW'(head + 1'b1);
        if (last_head) begin
          token <= last_token ? '0 : TW'(token + 1'b1);
          lane <= last_lane || last_token ? '0 : LW'(lane + 1'b1);
          if (last_token) begin
            half <= !half;
            base <= half ? '0 : AW'(HALF);
          end else if (last_lane) base <= AW'(base + AW'(HEADS));
        end
      end
    end
    if (take) word <= HEAD_DIM'({in_data, word} >> SIMD);
    waddr <= AW'(base + AW'(head));
    wlane <= lane;
  end

  for (genvar l = 0; l < LANES; l++) begin : gen_lane
    bv_ram #(.WIDTH(HEAD_DIM), .DEPTH(2 * HALF), .STYLE(STYLE)) u_ram (
        .clk, .we(we && int'(wlane) == l), .waddr, .wdata(word), .re, .raddr,
        .rdata(rdata[l*HEAD_DIM+:HEAD_DIM]));
  end
endmodule
