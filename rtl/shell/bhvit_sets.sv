// SPDX-License-Identifier: MIT
// AXI read port for constant sets that an accelerator asks for: a request {bytes (63:32), offset in bytes (31:0)}, both
// multiples of 8, the offset also of the data width, is answered with that many bytes from `addr` on plus offset, in
// words of 64 bits. One request is at work at a time. Requests wait until `enable` was up; `halt`, `quiet`, `error` as
// in bhvit_axi_read.sv.
module bhvit_sets #(
    parameter int DW          = 64,
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4
) (
    input  logic            clk, rst,
    input  logic            enable, halt,
    input  logic [63:0]     addr,
    output logic            quiet,
    output logic [1:0]      error,
    input  logic [63:0]     ask_data,
    input  logic            ask_valid,
    output logic            ask_ready,
    output logic [63:0]     out0_data,
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
  localparam int BW = $clog2(DW / 8 + 1);
  logic begun, busy, done, last, valid, ready, unused;
  logic [DW-1:0] data;
  logic [BW-1:0] bytes;
  assign unused = &{done, last};
  assign ask_ready = begun && !busy && !halt && error == '0;
  always_ff @(posedge clk) begun <= !rst && (begun || enable);
  bhvit_axi_read #(.DW(DW), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .LB(32)) u_read (
      .clk, .rst, .start(ask_valid && ask_ready), .halt, .addr(addr + {32'd0, ask_data[31:0]}),
      .length(ask_data[63:32]), .busy, .quiet, .done, .error, .out_data(data), .out_bytes(bytes), .out_last(last),
      .out_valid(valid), .out_ready(ready), .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arcache,
      .m_axi_arprot, .m_axi_arvalid, .m_axi_arready, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid,
      .m_axi_rready);
  bhvit_bytes #(.IB(DW / 8), .OB(8)) u_bytes (
      .clk, .rst, .in_data(data), .in_bytes(bytes), .in_valid(valid), .in_ready(ready), .out_data(out0_data),
      .out_bytes(4'd8), .out_valid(out0_valid), .out_ready(out0_ready));
endmodule
