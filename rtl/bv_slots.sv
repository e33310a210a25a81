// SPDX-License-Identifier: MIT
// Places of segments (RUN words each) in a buffer of SLOTS places, for frames that are written in one order of segments and
// read in another. A place that was read is free for the next frame at once, so that the buffer needs hardly more than a
// frame instead of two. Where each segment of a frame lies stands in a table, one half for each of two frames.
// Writer: `wbase` is the first word of a free place if `wvalid`; `wdone` with the last word of segment `wseg` of frame
// `wbank` takes the next place. Reader: `rbase` is the place of segment `rseg` of `rbank` of the cycle before; `free` gives
// the place `fbase` back. Initially all places are free.
module bv_slots #(
    parameter int SEGMENTS = 0,  // of a frame
    parameter int SLOTS    = 0,
    parameter int RUN      = 0,
    localparam int AW = SLOTS * RUN > 1 ? $clog2(SLOTS * RUN) : 1,
    localparam int SW = SEGMENTS > 1 ? $clog2(SEGMENTS) : 1
) (
    input  logic          clk,
    input  logic          rst,
    output logic [AW-1:0] wbase,
    output logic          wvalid,
    input  logic          wdone,
    input  logic          wbank,
    input  logic [SW-1:0] wseg,
    input  logic          rbank,
    input  logic [SW-1:0] rseg,
    output logic [AW-1:0] rbase,
    input  logic          free,
    input  logic [AW-1:0] fbase
);
  localparam int TW = $clog2(2 * SEGMENTS);
  localparam int PW = SLOTS > 1 ? $clog2(SLOTS) : 1;
  localparam int CW = $clog2(SLOTS + 1);
  initial if (SEGMENTS < 1 || SLOTS <= SEGMENTS || SLOTS > 2 * SEGMENTS || RUN < 2)
    $error("bv_slots: SEGMENTS=%0d SLOTS=%0d RUN=%0d", SEGMENTS, SLOTS, RUN);

  // places that nobody has used yet come from a counter, the others in the order in which they became free
  logic [CW-1:0] unused, stored;
  logic [AW-1:0] fresh, freed;
  logic [PW-1:0] put, get;
  logic have, fetch;
  assign wvalid = unused != '0 || have;
  assign wbase = unused != '0 ? fresh : freed;
  assign fetch = stored != '0 && (!have || (wdone && unused == '0));
  bv_ram #(.WIDTH(AW), .DEPTH(SLOTS), .STYLE("distributed")) u_free (
      .clk, .we(free), .waddr(put), .wdata(fbase), .re(fetch), .raddr(get), .rdata(freed));
  always_ff @(posedge clk) begin
    if (rst) begin
      unused <= CW'(SLOTS);
      stored <= '0;
      fresh <= '0;
      {put, get} <= '0;
      have <= 1'b0;
    end else begin
      if (wdone && unused != '0) begin
        unused <= unused - 1'b1;
        fresh <= AW'(int'(fresh) + RUN);
      end
      stored <= CW'(stored + CW'(free) - CW'(fetch));
      have <= fetch || (have && !(wdone && unused == '0));
      if (free) put <= int'(put) == SLOTS - 1 ? '0 : PW'(put + 1'b1);
      if (fetch) get <= int'(get) == SLOTS - 1 ? '0 : PW'(get + 1'b1);
    end
  end

  bv_ram #(.WIDTH(AW), .DEPTH(2 * SEGMENTS), .STYLE("distributed")) u_table (
      .clk, .we(wdone), .waddr(TW'(int'(wseg) + (wbank ? SEGMENTS : 0))), .wdata(wbase), .re(1'b1),
      .raddr(TW'(int'(rseg) + (rbank ? SEGMENTS : 0))), .rdata(rbase));
endmodule
