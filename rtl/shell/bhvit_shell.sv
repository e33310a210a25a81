// SPDX-License-Identifier: MIT
// The shell: DMA, control registers and the accelerator (`finn_design_wrapper`), the same three parts that the block
// design of a board connects. One clock. Memory holds frames as beats of the accelerator's streams without gaps.
// Interface of Xilinx AXI DMA to software, see docs/shell.md. Checked by its parts.
module bhvit_shell #(
    parameter int           AXI_BITS    = 64,
    parameter int           BURST       = 16,
    parameter int           OUTSTANDING = 4,
    parameter int           IN_BYTES    = 0,  // of a beat
    parameter int           OUT_BYTES   = 0,
    parameter int           IN_BEATS    = 0,  // of a frame
    parameter int           OUT_BEATS   = 0,
    parameter int           CLOCK_KHZ   = 0,
    parameter logic [127:0] BUILD_HASH  = '0
) (
    input  logic                        ap_clk, ap_rst_n,
    input  logic [11:0]                 s_axi_dma_awaddr,
    input  logic                        s_axi_dma_awvalid,
    output logic                        s_axi_dma_awready,
    input  logic [31:0]                 s_axi_dma_wdata,
    input  logic [3:0]                  s_axi_dma_wstrb,
    input  logic                        s_axi_dma_wvalid,
    output logic                        s_axi_dma_wready,
    output logic [1:0]                  s_axi_dma_bresp,
    output logic                        s_axi_dma_bvalid,
    input  logic                        s_axi_dma_bready,
    input  logic [11:0]                 s_axi_dma_araddr,
    input  logic                        s_axi_dma_arvalid,
    output logic                        s_axi_dma_arready,
    output logic [31:0]                 s_axi_dma_rdata,
    output logic [1:0]                  s_axi_dma_rresp,
    output logic                        s_axi_dma_rvalid,
    input  logic                        s_axi_dma_rready,
    input  logic [11:0]                 s_axi_control_awaddr,
    input  logic                        s_axi_control_awvalid,
    output logic                        s_axi_control_awready,
    input  logic [31:0]                 s_axi_control_wdata,
    input  logic [3:0]                  s_axi_control_wstrb,
    input  logic                        s_axi_control_wvalid,
    output logic                        s_axi_control_wready,
    output logic [1:0]                  s_axi_control_bresp,
    output logic                        s_axi_control_bvalid,
    input  logic                        s_axi_control_bready,
    input  logic [11:0]                 s_axi_control_araddr,
    input  logic                        s_axi_control_arvalid,
    output logic                        s_axi_control_arready,
    output logic [31:0]                 s_axi_control_rdata,
    output logic [1:0]                  s_axi_control_rresp,
    output logic                        s_axi_control_rvalid,
    input  logic                        s_axi_control_rready,
    output logic [63:0]                 m_axi_mm2s_araddr,
    output logic [7:0]                  m_axi_mm2s_arlen,
    output logic [2:0]                  m_axi_mm2s_arsize,
    output logic [1:0]                  m_axi_mm2s_arburst,
    output logic [3:0]                  m_axi_mm2s_arcache,
    output logic [2:0]                  m_axi_mm2s_arprot,
    output logic                        m_axi_mm2s_arvalid,
    input  logic                        m_axi_mm2s_arready,
    input  logic [AXI_BITS-1:0]         m_axi_mm2s_rdata,
    input  logic [1:0]                  m_axi_mm2s_rresp,
    input  logic                        m_axi_mm2s_rlast,
    input  logic                        m_axi_mm2s_rvalid,
    output logic                        m_axi_mm2s_rready,
    output logic [63:0]                 m_axi_s2mm_awaddr,
    output logic [7:0]                  m_axi_s2mm_awlen,
    output logic [2:0]                  m_axi_s2mm_awsize,
    output logic [1:0]                  m_axi_s2mm_awburst,
    output logic [3:0]                  m_axi_s2mm_awcache,
    output logic [2:0]                  m_axi_s2mm_awprot,
    output logic                        m_axi_s2mm_awvalid,
    input  logic                        m_axi_s2mm_awready,
    output logic [AXI_BITS-1:0]         m_axi_s2mm_wdata,
    output logic [AXI_BITS/8-1:0]       m_axi_s2mm_wstrb,
    output logic                        m_axi_s2mm_wlast,
    output logic                        m_axi_s2mm_wvalid,
    input  logic                        m_axi_s2mm_wready,
    input  logic [1:0]                  m_axi_s2mm_bresp,
    input  logic                        m_axi_s2mm_bvalid,
    output logic                        m_axi_s2mm_bready,
    output logic                        mm2s_introut,
    output logic                        s2mm_introut
);
  logic [IN_BYTES*8-1:0] in0_tdata;
  logic [OUT_BYTES*8-1:0] out0_tdata;
  logic in0_tvalid, in0_tready, out0_tvalid, out0_tready;
  logic drain, clear, drained, in_beat, out_beat, mm2s_failed, s2mm_failed, accel_rst_n;

  bhvit_dma #(.AXI_BITS(AXI_BITS), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .IN_BYTES(IN_BYTES),
              .OUT_BYTES(OUT_BYTES)) u_dma (
      .ap_clk, .ap_rst_n, .s_axi_awaddr(s_axi_dma_awaddr), .s_axi_awvalid(s_axi_dma_awvalid),
      .s_axi_awready(s_axi_dma_awready), .s_axi_wdata(s_axi_dma_wdata), .s_axi_wstrb(s_axi_dma_wstrb),
      .s_axi_wvalid(s_axi_dma_wvalid), .s_axi_wready(s_axi_dma_wready), .s_axi_bresp(s_axi_dma_bresp),
      .s_axi_bvalid(s_axi_dma_bvalid), .s_axi_bready(s_axi_dma_bready), .s_axi_araddr(s_axi_dma_araddr),
      .s_axi_arvalid(s_axi_dma_arvalid), .s_axi_arready(s_axi_dma_arready), .s_axi_rdata(s_axi_dma_rdata),
      .s_axi_rresp(s_axi_dma_rresp), .s_axi_rvalid(s_axi_dma_rvalid), .s_axi_rready(s_axi_dma_rready),
      .m_axi_mm2s_araddr, .m_axi_mm2s_arlen, .m_axi_mm2s_arsize, .m_axi_mm2s_arburst, .m_axi_mm2s_arcache,
      .m_axi_mm2s_arprot, .m_axi_mm2s_arvalid, .m_axi_mm2s_arready, .m_axi_mm2s_rdata, .m_axi_mm2s_rresp,
      .m_axi_mm2s_rlast, .m_axi_mm2s_rvalid, .m_axi_mm2s_rready, .m_axi_s2mm_awaddr, .m_axi_s2mm_awlen,
      .m_axi_s2mm_awsize, .m_axi_s2mm_awburst, .m_axi_s2mm_awcache, .m_axi_s2mm_awprot, .m_axi_s2mm_awvalid,
      .m_axi_s2mm_awready, .m_axi_s2mm_wdata, .m_axi_s2mm_wstrb, .m_axi_s2mm_wlast, .m_axi_s2mm_wvalid,
      .m_axi_s2mm_wready, .m_axi_s2mm_bresp, .m_axi_s2mm_bvalid, .m_axi_s2mm_bready, .m_axis_tdata(in0_tdata),
      .m_axis_tvalid(in0_tvalid), .m_axis_tready(in0_tready), .s_axis_tdata(out0_tdata), .s_axis_tvalid(out0_tvalid),
      .s_axis_tready(out0_tready), .drain, .clear, .drained, .in_beat, .out_beat, .mm2s_failed, .s2mm_failed,
      .mm2s_introut, .s2mm_introut);
  bhvit_control #(.IN_BEATS(IN_BEATS), .OUT_BEATS(OUT_BEATS), .INPUT_BYTES(IN_BEATS * IN_BYTES),
                  .OUTPUT_BYTES(OUT_BEATS * OUT_BYTES), .CLOCK_KHZ(CLOCK_KHZ), .BUILD_HASH(BUILD_HASH)) u_control (
      .ap_clk, .ap_rst_n, .s_axi_awaddr(s_axi_control_awaddr), .s_axi_awvalid(s_axi_control_awvalid),
      .s_axi_awready(s_axi_control_awready), .s_axi_wdata(s_axi_control_wdata), .s_axi_wstrb(s_axi_control_wstrb),
      .s_axi_wvalid(s_axi_control_wvalid), .s_axi_wready(s_axi_control_wready), .s_axi_bresp(s_axi_control_bresp),
      .s_axi_bvalid(s_axi_control_bvalid), .s_axi_bready(s_axi_control_bready), .s_axi_araddr(s_axi_control_araddr),
      .s_axi_arvalid(s_axi_control_arvalid), .s_axi_arready(s_axi_control_arready), .s_axi_rdata(s_axi_control_rdata),
      .s_axi_rresp(s_axi_control_rresp), .s_axi_rvalid(s_axi_control_rvalid), .s_axi_rready(s_axi_control_rready),
      .drain, .clear, .drained, .in_beat, .out_beat, .mm2s_failed, .s2mm_failed, .loader_status(2'd0), .accel_rst_n);
  finn_design_wrapper u_accelerator (
      .ap_clk, .ap_rst_n(accel_rst_n), .in0_V_TDATA(in0_tdata), .in0_V_TVALID(in0_tvalid), .in0_V_TREADY(in0_tready),
      .out0_V_TDATA(out0_tdata), .out0_V_TVALID(out0_tvalid), .out0_V_TREADY(out0_tready));
endmodule
