// SPDX-License-Identifier: MIT
// AXI read port for constants that stay in memory: streams the `length` bytes at `addr` over and over again in beats of
// OB bytes, `length` being a whole number of beats, for layers whose weights do not fit on the chip. It reads ahead
// across the end of a pass. `enable` starts it once; `halt`, `quiet`, `error` as in bhvit_axi_read.sv.
module bhvit_constants #(
    parameter int DW          = 64,
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4,
    parameter int LB          = 32,
    parameter int OB          = 0
) (
    input  logic            clk, rst,
    input  logic            enable, halt,
    input  logic [63:0]     addr,
    input  logic [LB-1:0]   length,
    output logic            quiet,
    output logic [1:0]      error,
    output logic [OB*8-1:0] out0_data,
    output logic            out0_valid,
    input  logic            out0_ready,
    output logic [63:0]     m_axi_araddr,
    output logic [7:0]      m_axi_arlen,
    output logic [2:0]      m_axi_arsize,
    output logic [1:0]      m_axi_arburst,
    output logic [3:0]      m_axi_arcache,
    output logic [2:0]      m_axi_arprot,
    output logic            m_axi_arvalid,
    input  logic            m_axi_arready,
    input  logic [DW-1:0]   m_axi_rdata,
    input  logic [1:0]      m_axi_rresp,
    input  logic            m_axi_rlast, m_axi_rvalid,
    output logic            m_axi_rready
);
  localparam int BW = $clog2(DW / 8 + 1), OW = $clog2(OB + 1);
  logic begun, busy, done, last, valid, ready, unused;
  logic [DW-1:0] data;
  logic [BW-1:0] bytes;
  assign unused = &{busy, done, last};
  always_ff @(posedge clk) begun <= !rst && (begun || enable);
  bhvit_axi_read #(.DW(DW), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .LB(LB), .REPEAT(1)) u_read (
      .clk, .rst, .start(enable && !begun && !rst), .halt, .addr, .length, .busy, .quiet, .done, .error,
      .out_data(data), .out_bytes(bytes), .out_last(last), .out_valid(valid), .out_ready(ready), .m_axi_araddr,
      .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arcache, .m_axi_arprot, .m_axi_arvalid, .m_axi_arready,
      .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready);
  bhvit_bytes #(.IB(DW / 8), .OB(OB)) u_bytes (
      .clk, .rst, .in_data(data), .in_bytes(bytes), .in_valid(valid), .in_ready(ready), .out_data(out0_data),
      .out_bytes(OW'(OB)), .out_valid(out0_valid), .out_ready(out0_ready));
endmodule
