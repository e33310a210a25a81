// SPDX-License-Identifier: MIT
// AXI4 write master: `start` takes `length` bytes from the stream and writes them to `addr` (a multiple of the data
// width). `in_want` says how many bytes the next beat is to hold: all, in the last beat the rest (0: none).
// A burst is begun only when all its data is here, so the bus never waits for the stream. `done`: every burst is
// answered. An error answer or `halt` (held until reset) ends the transfer behind the bursts that were begun; `quiet`
// says that no AXI transaction is open. Checked: DW and OUTSTANDING.
module bhvit_axi_write #(
    parameter int DW          = 0,
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4,
    parameter int LB          = 26
) (
    input  logic                      clk, rst,
    input  logic                      start, halt,
    input  logic [63:0]               addr,
    input  logic [LB-1:0]             length,
    output logic                      busy, quiet, done,
    output logic [1:0]                error,  // 2: SLVERR, 3: DECERR
    output logic [LB-1:0]             taken,  // bytes that have come in
    input  logic [DW-1:0]             in_data,
    output logic [$clog2(DW/8+1)-1:0] in_want,
    input  logic                      in_valid,
    output logic                      in_ready,
    output logic [63:0]               m_axi_awaddr,
    output logic [7:0]                m_axi_awlen,
    output logic [2:0]                m_axi_awsize,
    output logic [1:0]                m_axi_awburst,
    output logic [3:0]                m_axi_awcache,
    output logic [2:0]                m_axi_awprot,
    output logic                      m_axi_awvalid,
    input  logic                      m_axi_awready,
    output logic [DW-1:0]             m_axi_wdata,
    output logic [DW/8-1:0]           m_axi_wstrb,
    output logic                      m_axi_wlast, m_axi_wvalid,
    input  logic                      m_axi_wready,
    input  logic [1:0]                m_axi_bresp,
    input  logic                      m_axi_bvalid,
    output logic                      m_axi_bready
);
  localparam int B = DW / 8;
  localparam int BW = $clog2(B + 1);
  localparam int DEPTH = 2 * BURST;
  localparam int SW = $clog2(DEPTH + 1);
  localparam int OW = $clog2(OUTSTANDING + 2);
  initial if ((DW != 32 && DW != 64 && DW != 128) || OUTSTANDING < 2)
    $error("bhvit_axi_write: DW=%0d OUTSTANDING=%0d", DW, OUTSTANDING);

  logic active, burst_valid, burst_ready, commit, push, wbeat, answered, stop, fifo_ready, fifo_valid;
  logic len_valid, len_pop, aw_in_ready, len_in_ready;
  logic [63:0] burst_addr;
  logic [8:0] burst_beats;
  logic [7:0] len, sent;
  logic [SW-1:0] stored;   // beats in the FIFO that belong to no burst yet
  logic [OW-1:0] open;     // bursts begun and not answered
  logic [LB-1:0] left_in;  // bytes that have not come in
  logic [LB-1:0] fresh;    // the same after this cycle
  logic [LB-1:0] left_w;   // bytes that have not gone out
  logic tail;              // the next beat that goes out is not full
  assign stop = halt || error != '0;
  assign m_axi_awsize = 3'($clog2(B));
  assign m_axi_awburst = 2'b01;
  assign m_axi_awcache = 4'b0011;
  assign m_axi_awprot = 3'b000;
  assign m_axi_bready = 1'b1;
  assign in_ready = fifo_ready && !stop;
  assign fresh = start ? length : push ? LB'(left_in - LB'(in_want)) : left_in;
  assign push = in_valid && in_ready;
  assign burst_ready = aw_in_ready && len_in_ready && !stop && int'(stored) >= int'(burst_beats)
      && int'(open) < OUTSTANDING;
  assign commit = burst_valid && burst_ready;
  assign m_axi_wvalid = fifo_valid && len_valid;
  assign m_axi_wlast = sent == len;
  assign m_axi_wstrb = tail ? B'((1 << left_w[BW-1:0]) - 1) : '1;
  assign wbeat = m_axi_wvalid && m_axi_wready;
  assign len_pop = wbeat && m_axi_wlast;
  assign answered = m_axi_bvalid;
  assign quiet = open == '0;
  assign done = busy && !stop && !active && left_in == '0 && int'(open) == 1 && answered && !m_axi_bresp[1];

  bhvit_bursts #(.BYTES(B), .BURST(BURST), .LB(LB)) u_bursts (
      .clk, .rst, .start, .halt(stop), .addr, .length, .active, .burst_addr, .burst_beats, .burst_valid, .burst_ready);
  bv_fifo #(.WIDTH(DW), .DEPTH(DEPTH)) u_data (
      .clk, .rst, .in0_data(in_data), .in0_valid(push), .in0_ready(fifo_ready),
      .out0_data(m_axi_wdata), .out0_valid(fifo_valid), .out0_ready(m_axi_wready && len_valid));
  bv_fifo #(.WIDTH(72), .DEPTH(OUTSTANDING)) u_address (
      .clk, .rst, .in0_data({8'(burst_beats - 1'b1), burst_addr}), .in0_valid(commit), .in0_ready(aw_in_ready),
      .out0_data({m_axi_awlen, m_axi_awaddr}), .out0_valid(m_axi_awvalid), .out0_ready(m_axi_awready));
  bv_fifo #(.WIDTH(8), .DEPTH(OUTSTANDING)) u_length (
      .clk, .rst, .in0_data(8'(burst_beats - 1'b1)), .in0_valid(commit), .in0_ready(len_in_ready),
      .out0_data(len), .out0_valid(len_valid), .out0_ready(len_pop));

  always_ff @(posedge clk) begin
    if (rst) begin
      busy <= 1'b0;
      error <= '0;
      open <= '0;
      stored <= '0;
      sent <= '0;
      in_want <= '0;
      left_in <= '0;
    end else begin
      left_in <= fresh;
      in_want <= fresh < LB'(B) ? BW'(fresh) : BW'(B);
      open <= OW'(open + OW'(commit) - OW'(answered));
      stored <= SW'(stored + SW'(push) - (commit ? SW'(burst_beats) : '0));
      if (wbeat) sent <= m_axi_wlast ? '0 : 8'(sent + 1'b1);
      if (answered && m_axi_bresp[1] && error == '0) error <= m_axi_bresp;
      if (start) busy <= 1'b1;
      else if (done || (stop && quiet && !active)) busy <= 1'b0;
    end
    if (start) begin
      left_w <= length;
      tail <= length < LB'(B);
      taken <= '0;
    end else begin
      if (push) taken <= LB'(taken + LB'(in_want));
      if (wbeat) left_w <= LB'(left_w - LB'(B));
      if (wbeat) tail <= left_w < LB'(2 * B);
    end
  end
endmodule
