// SPDX-License-Identifier: MIT
// Registers of the feeder: start of the loader, addresses and start of the weights (docs/shell.md). The generated part
// around it holds bhvit_loader, where constants are to be loaded, and one bhvit_constants for each port of weights.
// A load is begun by software and is not touched by a soft reset. The weights begin when they are switched on, and at
// word 0 again after each soft reset (`drain`, `clear` of the control block). `hold` keeps frames away until all is
// there: SETTLE cycles behind the last word, which then has passed the registers of the load bus. Checked: parameters.
module bhvit_feeder
  import bhvit_registers::*;
#(
    parameter bit           LOAD     = 0,
    parameter int           PORTS    = 0,
    parameter int           AXI_BITS = 64,
    parameter logic [255:0] BYTES    = '0,  // of the weights of each port, 32 bits each
    parameter int           SETTLE   = 1024
) (
    input  logic         ap_clk, ap_rst_n,
    input  logic [11:0]  s_axi_awaddr,
    input  logic         s_axi_awvalid,
    output logic         s_axi_awready,
    input  logic [31:0]  s_axi_wdata,
    input  logic [3:0]   s_axi_wstrb,
    input  logic         s_axi_wvalid,
    output logic         s_axi_wready,
    output logic [1:0]   s_axi_bresp,
    output logic         s_axi_bvalid,
    input  logic         s_axi_bready,
    input  logic [11:0]  s_axi_araddr,
    input  logic         s_axi_arvalid,
    output logic         s_axi_arready,
    output logic [31:0]  s_axi_rdata,
    output logic [1:0]   s_axi_rresp,
    output logic         s_axi_rvalid,
    input  logic         s_axi_rready,
    // DMA and control block
    input  logic         drain, clear,
    output logic         hold,
    output logic [1:0]   loader_status,
    output logic         weights_open, weights_failed,
    // loader
    output logic         loader_rst, loader_start,
    output logic [63:0]  table_addr,
    input  logic [1:0]   loader_state,
    input  logic         loader_quiet,
    // readers of weights
    output logic         weights_rst, weights_enable, weights_halt,
    output logic [511:0] weights_addr,
    input  logic [7:0]   weights_quiet,
    input  logic [15:0]  weights_error
);
  localparam int ALIGN = AXI_BITS / 8, SW = $clog2(SETTLE + 1);
  initial if (PORTS < 0 || PORTS > 8 || (AXI_BITS != 64 && AXI_BITS != 128) || SETTLE < 1)
    $error("bhvit_feeder: PORTS=%0d AXI_BITS=%0d SETTLE=%0d", PORTS, AXI_BITS, SETTLE);

  logic clk, rst, wr, rd, unused;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  assign clk = ap_clk;
  assign rst = !ap_rst_n;
  assign unused = rd;
  bhvit_axil #(.AW(12)) u_axil (
      .clk, .rst, .s_axi_awaddr, .s_axi_awvalid, .s_axi_awready, .s_axi_wdata, .s_axi_wstrb, .s_axi_wvalid,
      .s_axi_wready, .s_axi_bresp, .s_axi_bvalid, .s_axi_bready, .s_axi_araddr, .s_axi_arvalid, .s_axi_arready,
      .s_axi_rdata, .s_axi_rresp, .s_axi_rvalid, .s_axi_rready, .wr, .wr_addr, .wr_data, .rd, .rd_addr, .rd_data);

  // loads: a loader that has ended is reset before it begins anew
  logic asked, wr_start, loading, loaded;
  logic [SW-1:0] settled;
  assign wr_start = wr && wr_addr == {4'd0, FEEDER_START};
  assign loading = asked || loader_start || loader_state == 2'd1 || (loader_state == 2'd2 && !loaded);
  assign loaded = int'(settled) == SETTLE;
  assign loader_status = !LOAD ? 2'd0 : loading ? 2'd1 : loader_state;
  always_ff @(posedge clk) begin
    if (rst) begin
      {asked, loader_start} <= '0;
      loader_rst <= 1'b1;
      settled <= '0;
    end else begin
      loader_rst <= asked && loader_quiet && !loader_rst;
      loader_start <= asked && loader_rst;
      if (LOAD && wr_start && wr_data[FEEDER_START_LOAD_BIT] && !loading) asked <= 1'b1;
      else if (loader_rst) asked <= 1'b0;
      if (asked || loader_state != 2'd2) settled <= '0;
      else if (!loaded) settled <= SW'(settled + 1'b1);
    end
  end

  // weights
  logic begun;
  assign weights_rst = rst || clear;
  assign weights_halt = drain;
  assign weights_open = PORTS > 0 && !(&weights_quiet);
  assign weights_failed = PORTS > 0 && |weights_error;
  always_ff @(posedge clk) begin
    begun <= !weights_rst && (begun || weights_enable);
    hold <= rst || (LOAD && loader_status != 2'd2) || (PORTS > 0 && !begun);
    if (rst) weights_enable <= 1'b0;
    else if (wr_start) weights_enable <= PORTS > 0 && wr_data[FEEDER_START_WEIGHTS_BIT];
  end

  // addresses
  logic [31:0] rd_addresses[9];
  assign rd_addresses[0] = '0;
  for (genvar i = 0; i < 8; i++) begin : gen_port
    localparam logic [7:0] LOW = FEEDER_WEIGHT0 + 8'(8 * i), HIGH = FEEDER_WEIGHT0_MSB + 8'(8 * i),
        SIZE = FEEDER_WEIGHT0_BYTES + 8'(4 * i);
    logic [63:0] addr;
    if (i < PORTS) begin : gen_used
      always_ff @(posedge clk) begin
        if (rst) addr <= '0;
        else if (wr && !begun && !weights_enable) begin
          if (wr_addr == {4'd0, LOW}) addr[31:0] <= {wr_data[31:$clog2(ALIGN)], ($clog2(ALIGN))'(0)};
          if (wr_addr == {4'd0, HIGH}) addr[63:32] <= wr_data;
        end
      end
    end else begin : gen_none
      assign addr = '0;
    end
    assign weights_addr[64*i+:64] = addr;
    assign rd_addresses[i+1] = rd_addresses[i] | (rd_addr[7:0] == LOW ? addr[31:0] :
        rd_addr[7:0] == HIGH ? addr[63:32] : rd_addr[7:0] == SIZE && i < PORTS ? BYTES[32*i+:32] : '0);
  end
  always_ff @(posedge clk) begin
    if (rst) table_addr <= '0;
    else if (LOAD && wr && !loading) begin
      if (wr_addr == {4'd0, FEEDER_LOAD_TABLE}) table_addr[31:0] <= {wr_data[31:3], 3'd0};
      if (wr_addr == {4'd0, FEEDER_LOAD_TABLE_MSB}) table_addr[63:32] <= wr_data;
    end
  end

  always_comb begin
    rd_data = '0;
    if (rd_addr[11:8] == '0) begin
      rd_data = rd_addresses[8];
      case (rd_addr[7:0])
        FEEDER_LOAD_TABLE: rd_data = table_addr[31:0];
        FEEDER_LOAD_TABLE_MSB: rd_data = table_addr[63:32];
        FEEDER_START: rd_data[FEEDER_START_WEIGHTS_BIT] = weights_enable;
        FEEDER_STATE: begin
          rd_data[FEEDER_STATE_LOAD_BIT+:2] = loader_status;
          rd_data[FEEDER_STATE_WEIGHTS_BIT] = begun;
          rd_data[FEEDER_STATE_READY_BIT] = !hold;
        end
        FEEDER_ERRORS: rd_data[15:0] = weights_error;
        FEEDER_PORTS: begin
          rd_data[FEEDER_PORTS_WEIGHTS_BIT+:8] = 8'(PORTS);
          rd_data[FEEDER_PORTS_LOAD_BIT] = LOAD;
        end
        default: ;
      endcase
    end
  end
endmodule
