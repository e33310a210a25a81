// SPDX-License-Identifier: MIT
// DMA of the shell: MM2S reads frames from memory and feeds the accelerator, S2MM takes its results and writes them.
// Registers of Xilinx AXI DMA, direct register mode, without data realignment (bhvit_dma_channel.sv, docs/shell.md).
// The memory holds beats of the accelerator's streams (IN_BYTES and OUT_BYTES bytes each) without gaps.
// Reset by DMACR, or by the control block (`drain` until `drained`, then `clear`): no burst is begun, those that were
// begun are completed, then everything here is reset. `in_beat`, `out_beat` mark the beats that move. `hold`: the
// accelerator gets no further beat (its constants are not there yet); one that waits already stays (AXI4-Stream).
module bhvit_dma
  import bhvit_registers::*;
#(
    parameter int AXI_BITS    = 64,
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4,
    parameter int IN_BYTES    = 0,
    parameter int OUT_BYTES   = 0
) (
    input  logic                   ap_clk, ap_rst_n,
    // registers
    input  logic [11:0]            s_axi_awaddr,
    input  logic                   s_axi_awvalid,
    output logic                   s_axi_awready,
    input  logic [31:0]            s_axi_wdata,
    input  logic [3:0]             s_axi_wstrb,
    input  logic                   s_axi_wvalid,
    output logic                   s_axi_wready,
    output logic [1:0]             s_axi_bresp,
    output logic                   s_axi_bvalid,
    input  logic                   s_axi_bready,
    input  logic [11:0]            s_axi_araddr,
    input  logic                   s_axi_arvalid,
    output logic                   s_axi_arready,
    output logic [31:0]            s_axi_rdata,
    output logic [1:0]             s_axi_rresp,
    output logic                   s_axi_rvalid,
    input  logic                   s_axi_rready,
    // memory, read
    output logic [63:0]            m_axi_mm2s_araddr,
    output logic [7:0]             m_axi_mm2s_arlen,
    output logic [2:0]             m_axi_mm2s_arsize,
    output logic [1:0]             m_axi_mm2s_arburst,
    output logic [3:0]             m_axi_mm2s_arcache,
    output logic [2:0]             m_axi_mm2s_arprot,
    output logic                   m_axi_mm2s_arvalid,
    input  logic                   m_axi_mm2s_arready,
    input  logic [AXI_BITS-1:0]    m_axi_mm2s_rdata,
    input  logic [1:0]             m_axi_mm2s_rresp,
    input  logic                   m_axi_mm2s_rlast,
    input  logic                   m_axi_mm2s_rvalid,
    output logic                   m_axi_mm2s_rready,
    // memory, write
    output logic [63:0]            m_axi_s2mm_awaddr,
    output logic [7:0]             m_axi_s2mm_awlen,
    output logic [2:0]             m_axi_s2mm_awsize,
    output logic [1:0]             m_axi_s2mm_awburst,
    output logic [3:0]             m_axi_s2mm_awcache,
    output logic [2:0]             m_axi_s2mm_awprot,
    output logic                   m_axi_s2mm_awvalid,
    input  logic                   m_axi_s2mm_awready,
    output logic [AXI_BITS-1:0]    m_axi_s2mm_wdata,
    output logic [AXI_BITS/8-1:0]  m_axi_s2mm_wstrb,
    output logic                   m_axi_s2mm_wlast,
    output logic                   m_axi_s2mm_wvalid,
    input  logic                   m_axi_s2mm_wready,
    input  logic [1:0]             m_axi_s2mm_bresp,
    input  logic                   m_axi_s2mm_bvalid,
    output logic                   m_axi_s2mm_bready,
    // to and from the accelerator
    output logic [IN_BYTES*8-1:0]  m_axis_tdata,
    output logic                   m_axis_tvalid,
    input  logic                   m_axis_tready,
    input  logic [OUT_BYTES*8-1:0] s_axis_tdata,
    input  logic                   s_axis_tvalid,
    output logic                   s_axis_tready,
    // control block
    input  logic                   drain, clear, hold,
    output logic                   drained,
    output logic                   in_beat, out_beat,
    output logic                   mm2s_failed, s2mm_failed,
    // interrupts
    output logic                   mm2s_introut, s2mm_introut
);
  localparam int B = AXI_BITS / 8;
  localparam int BW = $clog2(B + 1), IW = $clog2(IN_BYTES + 1), OW = $clog2(OUT_BYTES + 1);
  logic clk, rst, wr, rd, out_last, unused;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data, rd_mm2s, rd_s2mm;
  assign clk = ap_clk;
  assign unused = &{rd, out_last, wr_addr[11:8], rd_addr[11:8]};
  bhvit_axil #(.AW(12)) u_axil (
      .clk, .rst(!ap_rst_n), .s_axi_awaddr, .s_axi_awvalid, .s_axi_awready, .s_axi_wdata, .s_axi_wstrb, .s_axi_wvalid,
      .s_axi_wready, .s_axi_bresp, .s_axi_bvalid, .s_axi_bready, .s_axi_araddr, .s_axi_arvalid, .s_axi_arready,
      .s_axi_rdata, .s_axi_rresp, .s_axi_rvalid, .s_axi_rready, .wr, .wr_addr, .wr_data, .rd, .rd_addr, .rd_data);

  // reset: by a register, or by the control block; both wait until no transaction is open
  logic ask_mm2s, ask_s2mm, asked, halt, quiet_mm2s, quiet_s2mm;
  assign halt = asked || drain;
  assign drained = drain && quiet_mm2s && quiet_s2mm;
  always_ff @(posedge clk) begin
    if (!ap_rst_n) {asked, rst} <= 2'b01;
    else begin
      rst <= clear || (asked && !rst && quiet_mm2s && quiet_s2mm);
      if (rst) asked <= 1'b0;
      else if (ask_mm2s || ask_s2mm) asked <= 1'b1;
    end
  end

  logic [7:0] of_wr, of_rd;  // offsets in the S2MM channel
  logic in_page_wr, in_page_rd, start_mm2s, start_s2mm, done_mm2s, done_s2mm, busy_mm2s, busy_s2mm;
  logic [63:0] addr_mm2s, addr_s2mm;
  logic [LENGTH_BITS-1:0] length_mm2s, length_s2mm, taken;
  logic [1:0] error_mm2s, error_s2mm;
  assign in_page_wr = wr_addr[11:8] == '0;
  assign in_page_rd = rd_addr[11:8] == '0;
  assign of_wr = 8'(wr_addr[7:0] - DMA_S2MM_DMACR);
  assign of_rd = 8'(rd_addr[7:0] - DMA_S2MM_DMACR);
  assign rd_data = in_page_rd ? rd_mm2s | rd_s2mm : '0;
  bhvit_dma_channel #(.BYTES(B)) u_mm2s_registers (
      .clk, .rst, .wr(wr && in_page_wr), .addr_wr(wr_addr[7:0]), .addr_rd(rd_addr[7:0]), .wr_data, .rd_data(rd_mm2s),
      .resetting(halt), .ask_reset(ask_mm2s), .start(start_mm2s), .address(addr_mm2s), .length(length_mm2s),
      .moved(length_mm2s), .done(done_mm2s), .busy(busy_mm2s), .error(error_mm2s), .failed(mm2s_failed),
      .irq(mm2s_introut));
  bhvit_dma_channel #(.BYTES(B)) u_s2mm_registers (
      .clk, .rst, .wr(wr && in_page_wr), .addr_wr(of_wr), .addr_rd(of_rd), .wr_data, .rd_data(rd_s2mm),
      .resetting(halt), .ask_reset(ask_s2mm), .start(start_s2mm), .address(addr_s2mm), .length(length_s2mm),
      .moved(taken), .done(done_s2mm), .busy(busy_s2mm), .error(error_s2mm), .failed(s2mm_failed), .irq(s2mm_introut));

  logic [AXI_BITS-1:0] word_in, word_out;
  logic [BW-1:0] bytes_in, want;
  logic word_in_valid, word_in_ready, word_out_valid, word_out_ready, beat_valid, open;
  bhvit_axi_read #(.DW(AXI_BITS), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .LB(LENGTH_BITS)) u_read (
      .clk, .rst, .start(start_mm2s), .halt, .addr(addr_mm2s), .length(length_mm2s), .busy(busy_mm2s),
      .quiet(quiet_mm2s), .done(done_mm2s), .error(error_mm2s), .out_data(word_in), .out_bytes(bytes_in), .out_last,
      .out_valid(word_in_valid), .out_ready(word_in_ready), .m_axi_araddr(m_axi_mm2s_araddr),
      .m_axi_arlen(m_axi_mm2s_arlen), .m_axi_arsize(m_axi_mm2s_arsize), .m_axi_arburst(m_axi_mm2s_arburst),
      .m_axi_arcache(m_axi_mm2s_arcache), .m_axi_arprot(m_axi_mm2s_arprot), .m_axi_arvalid(m_axi_mm2s_arvalid),
      .m_axi_arready(m_axi_mm2s_arready), .m_axi_rdata(m_axi_mm2s_rdata), .m_axi_rresp(m_axi_mm2s_rresp),
      .m_axi_rlast(m_axi_mm2s_rlast), .m_axi_rvalid(m_axi_mm2s_rvalid), .m_axi_rready(m_axi_mm2s_rready));
  bhvit_bytes #(.IB(B), .OB(IN_BYTES)) u_in (
      .clk, .rst, .in_data(word_in), .in_bytes(bytes_in), .in_valid(word_in_valid), .in_ready(word_in_ready),
      .out_data(m_axis_tdata), .out_bytes(IW'(IN_BYTES)), .out_valid(beat_valid),
      .out_ready(m_axis_tready && open));
  assign m_axis_tvalid = beat_valid && open;
  always_ff @(posedge clk)
    if (rst) open <= 1'b0;
    else if (!m_axis_tvalid || m_axis_tready) open <= !hold;
  bhvit_bytes #(.IB(OUT_BYTES), .OB(B)) u_out (
      .clk, .rst, .in_data(s_axis_tdata), .in_bytes(OW'(OUT_BYTES)), .in_valid(s_axis_tvalid),
      .in_ready(s_axis_tready), .out_data(word_out), .out_bytes(want), .out_valid(word_out_valid),
      .out_ready(word_out_ready));
  bhvit_axi_write #(.DW(AXI_BITS), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .LB(LENGTH_BITS)) u_write (
      .clk, .rst, .start(start_s2mm), .halt, .addr(addr_s2mm), .length(length_s2mm), .busy(busy_s2mm),
      .quiet(quiet_s2mm), .done(done_s2mm), .error(error_s2mm), .taken, .in_data(word_out), .in_want(want),
      .in_valid(word_out_valid), .in_ready(word_out_ready), .m_axi_awaddr(m_axi_s2mm_awaddr),
      .m_axi_awlen(m_axi_s2mm_awlen), .m_axi_awsize(m_axi_s2mm_awsize), .m_axi_awburst(m_axi_s2mm_awburst),
      .m_axi_awcache(m_axi_s2mm_awcache), .m_axi_awprot(m_axi_s2mm_awprot), .m_axi_awvalid(m_axi_s2mm_awvalid),
      .m_axi_awready(m_axi_s2mm_awready), .m_axi_wdata(m_axi_s2mm_wdata), .m_axi_wstrb(m_axi_s2mm_wstrb),
      .m_axi_wlast(m_axi_s2mm_wlast), .m_axi_wvalid(m_axi_s2mm_wvalid), .m_axi_wready(m_axi_s2mm_wready),
      .m_axi_bresp(m_axi_s2mm_bresp), .m_axi_bvalid(m_axi_s2mm_bvalid), .m_axi_bready(m_axi_s2mm_bready));

  // registered, so that the counters do not load the handshakes
  always_ff @(posedge clk) begin
    in_beat  <= m_axis_tvalid && m_axis_tready;
    out_beat <= s_axis_tvalid && s_axis_tready;
  end
endmodule
