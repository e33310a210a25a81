// SPDX-License-Identifier: MIT
// AXI4 read master: `start` reads `length` bytes from `addr` (a multiple of the data width) and puts them out in order,
// with the number of bytes that count in each beat (all but in the last beat). REPEAT = 1: over and over again, without
// a pause; address and length are held. A burst is asked for only when the FIFO has room for all of it, so the bus
// never waits for the stream. `done`: everything has left.
// An error answer (SLVERR, DECERR) or `halt` (held until reset) ends the transfer: bursts that were asked for are
// received and dropped; `quiet` says that no AXI transaction is open. Checked: DW and OUTSTANDING.
module bhvit_axi_read #(
    parameter int DW          = 0,   // bits of data
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4,
    parameter int LB          = 26,
    parameter bit REPEAT      = 0
) (
    input  logic                      clk, rst,
    input  logic                      start, halt,
    input  logic [63:0]               addr,
    input  logic [LB-1:0]             length,
    output logic                      busy, quiet, done,
    output logic [1:0]                error,  // 2: SLVERR, 3: DECERR
    output logic [DW-1:0]             out_data,
    output logic [$clog2(DW/8+1)-1:0] out_bytes,
    output logic                      out_last, out_valid,
    input  logic                      out_ready,
    output logic [63:0]               m_axi_araddr,
    output logic [7:0]                m_axi_arlen,
    output logic [2:0]                m_axi_arsize,
    output logic [1:0]                m_axi_arburst,
    output logic [3:0]                m_axi_arcache,
    output logic [2:0]                m_axi_arprot,
    output logic                      m_axi_arvalid,
    input  logic                      m_axi_arready,
    input  logic [DW-1:0]             m_axi_rdata,
    input  logic [1:0]                m_axi_rresp,
    input  logic                      m_axi_rlast, m_axi_rvalid,
    output logic                      m_axi_rready
);
  localparam int B = DW / 8;
  localparam int BW = $clog2(B + 1);
  localparam int DEPTH = BURST * OUTSTANDING;
  localparam int RW = $clog2(DEPTH + 1);
  localparam int OW = $clog2(OUTSTANDING + 2);
  initial if ((DW != 32 && DW != 64 && DW != 128) || OUTSTANDING < 1)
    $error("bhvit_axi_read: DW=%0d OUTSTANDING=%0d", DW, OUTSTANDING);

  logic active, again, burst_valid, burst_ready, fifo_ready, pop, beat, stop;
  logic [63:0] burst_addr;
  logic [8:0] burst_beats;
  logic [RW-1:0] room;  // beats of the FIFO that are neither filled nor promised to a burst
  logic [OW-1:0] open;  // bursts asked for and not complete
  logic [LB-1:0] left;  // bytes that have not left
  assign again = REPEAT && busy && !active && !start && !stop;
  assign stop = halt || error != '0;
  assign m_axi_arsize = 3'($clog2(B));
  assign m_axi_arburst = 2'b01;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot = 3'b000;
  assign m_axi_rready = fifo_ready || stop;
  assign beat = m_axi_rvalid && m_axi_rready;
  assign burst_ready = (!m_axi_arvalid || m_axi_arready) && !stop && int'(room) >= int'(burst_beats)
      && int'(open) < OUTSTANDING;
  assign quiet = open == '0;
  assign pop = out_valid && out_ready;
  assign out_bytes = out_last ? BW'(left) : BW'(B);
  assign done = pop && out_last;

  bhvit_bursts #(.BYTES(B), .BURST(BURST), .LB(LB)) u_bursts (
      .clk, .rst, .start(start || again), .halt(stop), .addr, .length, .active, .burst_addr, .burst_beats,
      .burst_valid, .burst_ready);
  bv_fifo #(.WIDTH(DW), .DEPTH(DEPTH)) u_fifo (
      .clk, .rst, .in0_data(m_axi_rdata), .in0_valid(m_axi_rvalid && !stop && !m_axi_rresp[1]), .in0_ready(fifo_ready),
      .out0_data(out_data), .out0_valid(out_valid), .out0_ready(out_ready));

  always_ff @(posedge clk) begin
    if (rst) begin
      {m_axi_arvalid, busy} <= '0;
      error <= '0;
      open <= '0;
      room <= RW'(DEPTH);
    end else begin
      if (burst_valid && burst_ready) m_axi_arvalid <= 1'b1;
      else if (m_axi_arready) m_axi_arvalid <= 1'b0;
      open <= OW'(open + OW'(burst_valid && burst_ready) - OW'(beat && m_axi_rlast));
      room <= RW'(room + RW'(pop) - (burst_valid && burst_ready ? RW'(burst_beats) : '0));
      if (beat && m_axi_rresp[1] && error == '0) error <= m_axi_rresp;
      if (start) busy <= 1'b1;
      else if ((done && !REPEAT) || (stop && quiet && !active)) busy <= 1'b0;
    end
    if (burst_valid && burst_ready) begin
      m_axi_araddr <= burst_addr;
      m_axi_arlen <= 8'(burst_beats - 1'b1);
    end
    if (start || (REPEAT && done)) begin
      left <= length;
      out_last <= length <= LB'(B);
    end else if (pop) begin
      left <= LB'(left - LB'(out_bytes));
      out_last <= left <= LB'(2 * B);
    end
  end
endmodule
