// SPDX-License-Identifier: MIT
// AXI4-Lite slave of 32-bit registers: turns the five channels into one write strobe and one read strobe.
// Address and data of a write may come in any order; one write and one read at a time; every answer is OKAY. Registers
// are written whole: byte strobes are ignored, as Xilinx AXI DMA does. A read takes `rd_data` in the cycle of `rd`.
module bhvit_axil #(
    parameter int AW = 12
) (
    input  logic          clk, rst,
    input  logic [AW-1:0] s_axi_awaddr,
    input  logic          s_axi_awvalid,
    output logic          s_axi_awready,
    input  logic [31:0]   s_axi_wdata,
    input  logic [3:0]    s_axi_wstrb,
    input  logic          s_axi_wvalid,
    output logic          s_axi_wready,
    output logic [1:0]    s_axi_bresp,
    output logic          s_axi_bvalid,
    input  logic          s_axi_bready,
    input  logic [AW-1:0] s_axi_araddr,
    input  logic          s_axi_arvalid,
    output logic          s_axi_arready,
    output logic [31:0]   s_axi_rdata,
    output logic [1:0]    s_axi_rresp,
    output logic          s_axi_rvalid,
    input  logic          s_axi_rready,
    output logic          wr,
    output logic [AW-1:0] wr_addr,
    output logic [31:0]   wr_data,
    output logic          rd,
    output logic [AW-1:0] rd_addr,
    input  logic [31:0]   rd_data
);
  logic up, have_addr, have_data, unused;
  assign unused = &s_axi_wstrb;
  assign s_axi_bresp = 2'b00;
  assign s_axi_rresp = 2'b00;
  assign s_axi_awready = up && !have_addr;
  assign s_axi_wready = up && !have_data;
  assign s_axi_arready = up && !s_axi_rvalid;
  assign wr = have_addr && have_data && !s_axi_bvalid;
  assign rd = s_axi_arvalid && s_axi_arready;
  assign rd_addr = s_axi_araddr;
  always_ff @(posedge clk) begin
    if (rst) begin
      {up, have_addr, have_data, s_axi_bvalid, s_axi_rvalid} <= '0;
    end else begin
      up <= 1'b1;
      if (s_axi_awvalid && s_axi_awready) have_addr <= 1'b1;
      if (s_axi_wvalid && s_axi_wready) have_data <= 1'b1;
      if (wr) {have_addr, have_data, s_axi_bvalid} <= 3'b001;
      else if (s_axi_bready) s_axi_bvalid <= 1'b0;
      if (rd) s_axi_rvalid <= 1'b1;
      else if (s_axi_rready) s_axi_rvalid <= 1'b0;
    end
    if (s_axi_awvalid && s_axi_awready) wr_addr <= s_axi_awaddr;
    if (s_axi_wvalid && s_axi_wready) wr_data <= s_axi_wdata;
    if (rd) s_axi_rdata <= rd_data;
  end
endmodule
