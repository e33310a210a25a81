// SPDX-License-Identifier: MIT
// Cuts a transfer into AXI bursts: INCR, at most BURST beats, none crosses 4 KiB.
// `start` takes address (a multiple of BYTES) and length in bytes; then bursts are offered one after another, each for
// at least a cycle, until `active` falls. `halt` takes back what is offered and ends it. Checked: BYTES and BURST.
module bhvit_bursts #(
    parameter int BYTES = 0,  // of a beat, a power of two
    parameter int BURST = 0,
    parameter int LB    = 26  // bits of the length
) (
    input  logic          clk, rst,
    input  logic          start, halt,
    input  logic [63:0]   addr,
    input  logic [LB-1:0] length,
    output logic          active,
    output logic [63:0]   burst_addr,
    output logic [8:0]    burst_beats,
    output logic          burst_valid,
    input  logic          burst_ready
);
  localparam int SH = $clog2(BYTES);
  localparam int NB = LB - SH + 1;       // bits of the number of beats
  localparam int PAGE = 4096 / BYTES;    // beats
  localparam int PW = $clog2(PAGE) + 1;
  initial if (BYTES < 2 || 1 << SH != BYTES || BURST < 1 || BURST > 256 || BURST > PAGE)
    $error("bhvit_bursts: BYTES=%0d BURST=%0d", BYTES, BURST);

  logic [NB-1:0] left;
  logic [PW-1:0] page;   // beats up to the next 4 KiB
  logic [8:0] limit, beats;
  logic ready;           // `burst_beats` is computed
  assign page = PW'(PAGE) - {1'b0, burst_addr[11:SH]};
  assign limit = int'(page) < BURST ? 9'(page) : 9'(BURST);
  assign beats = int'(left) < int'(limit) ? 9'(left) : limit;
  assign burst_valid = active && ready;
  always_ff @(posedge clk) begin
    if (rst) begin
      active <= 1'b0;
      ready  <= 1'b0;
    end else if (start) begin
      active <= 1'b1;
      ready  <= 1'b0;
      burst_addr <= addr;
      left <= NB'(length[LB-1:SH]) + NB'(|length[SH-1:0]);  // rounded up
    end else if (active && !ready) begin
      ready <= 1'b1;
      burst_beats <= beats;
      left <= NB'(left - NB'(beats));
      if (halt) active <= 1'b0;
    end else if (burst_valid && burst_ready) begin
      ready <= 1'b0;
      active <= left != '0 && !halt;
      burst_addr <= burst_addr + {{(55 - SH){1'b0}}, burst_beats, {SH{1'b0}}};
    end else if (halt) active <= 1'b0;
  end
endmodule
