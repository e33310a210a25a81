// SPDX-License-Identifier: MIT
// Control registers of the shell: identity of the build, soft reset, counters (docs/shell.md).
// Soft reset: `drain` until the DMA reports `drained` (no AXI transaction is open) and `weights_open` is low, too, then
// `clear` and a low `accel_rst_n` for 16 cycles. Frames are counted by their beats, which the DMA marks.
// LAST_LATENCY needs the start of every frame in flight: 64 are kept. Checked: frame sizes.
module bhvit_control
  import bhvit_registers::*;
#(
    parameter int           IN_BEATS     = 0,  // per frame
    parameter int           OUT_BEATS    = 0,
    parameter int           INPUT_BYTES  = 0,
    parameter int           OUTPUT_BYTES = 0,
    parameter int           CLOCK_KHZ    = 0,
    parameter logic [127:0] BUILD_HASH   = '0
) (
    input  logic        ap_clk, ap_rst_n,
    input  logic [11:0] s_axi_awaddr,
    input  logic        s_axi_awvalid,
    output logic        s_axi_awready,
    input  logic [31:0] s_axi_wdata,
    input  logic [3:0]  s_axi_wstrb,
    input  logic        s_axi_wvalid,
    output logic        s_axi_wready,
    output logic [1:0]  s_axi_bresp,
    output logic        s_axi_bvalid,
    input  logic        s_axi_bready,
    input  logic [11:0] s_axi_araddr,
    input  logic        s_axi_arvalid,
    output logic        s_axi_arready,
    output logic [31:0] s_axi_rdata,
    output logic [1:0]  s_axi_rresp,
    output logic        s_axi_rvalid,
    input  logic        s_axi_rready,
    output logic        drain, clear,
    input  logic        drained,
    input  logic        in_beat, out_beat,
    input  logic        mm2s_failed, s2mm_failed,
    input  logic [1:0]  loader_status,               // these three are 0 in designs without constants from outside
    input  logic        weights_open, weights_failed,
    output logic        accel_rst_n
);
  localparam int IW = $clog2(IN_BEATS + 1), XW = $clog2(OUT_BEATS + 1);
  localparam int STARTS = 64;
  initial if (IN_BEATS < 1 || OUT_BEATS < 1 || INPUT_BYTES < 1 || OUTPUT_BYTES < 1)
    $error("bhvit_control: IN_BEATS=%0d OUT_BEATS=%0d INPUT_BYTES=%0d OUTPUT_BYTES=%0d", IN_BEATS, OUT_BEATS,
           INPUT_BYTES, OUTPUT_BYTES);

  logic clk, rst, wr, rd, unused, wr_control, do_clear;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  assign clk = ap_clk;
  assign rst = !ap_rst_n;
  assign unused = &{wr_data[31:2]};
  bhvit_axil #(.AW(12)) u_axil (
      .clk, .rst, .s_axi_awaddr, .s_axi_awvalid, .s_axi_awready, .s_axi_wdata, .s_axi_wstrb, .s_axi_wvalid,
      .s_axi_wready, .s_axi_bresp, .s_axi_bvalid, .s_axi_bready, .s_axi_araddr, .s_axi_arvalid, .s_axi_arready,
      .s_axi_rdata, .s_axi_rresp, .s_axi_rvalid, .s_axi_rready, .wr, .wr_addr, .wr_data, .rd, .rd_addr, .rd_data);
  assign wr_control = wr && wr_addr == {4'd0, CONTROL_CONTROL};
  assign do_clear = wr_control && wr_data[CONTROL_CLEAR_COUNTERS_BIT];

  // soft reset
  logic resetting;
  logic [3:0] hold;
  assign drain = resetting;
  always_ff @(posedge clk) begin
    if (rst) begin
      {resetting, clear, accel_rst_n} <= '0;
      hold <= '0;
    end else begin
      accel_rst_n <= !clear;
      if (wr_control && wr_data[CONTROL_SOFT_RESET_BIT]) resetting <= 1'b1;
      else if (clear && hold == '1) resetting <= 1'b0;
      if (resetting && !clear) clear <= drained && !weights_open;
      else if (hold == '1) clear <= 1'b0;
      hold <= clear ? 4'(hold + 1'b1) : '0;
    end
  end

  // frames; ends are handled 4 cycles late, so that the start of even the shortest frame has left the FIFO
  logic [31:0] frames_in, frames_out, last_interval, last_latency, last_end, start_time;
  logic [31:0] now;     // never cleared: times are differences of it
  logic [63:0] cycles;
  logic [31:0] cycles_high;
  logic [IW-1:0] in_count;
  logic [XW-1:0] out_count;
  logic [3:0] ended;
  logic [15:0] in_flight;  // frames begun and not ended
  logic first_in, last_in, last_out, starts_ready, starts_valid, lost, any_end, flush;
  assign first_in = in_beat && in_count == '0;
  assign last_in = in_beat && int'(in_count) == IN_BEATS - 1;
  assign last_out = out_beat && int'(out_count) == OUT_BEATS - 1;
  assign flush = rst || clear;
  bv_fifo #(.WIDTH(32), .DEPTH(STARTS)) u_starts (
      .clk, .rst(flush || lost), .in0_data(now), .in0_valid(first_in), .in0_ready(starts_ready),
      .out0_data(start_time), .out0_valid(starts_valid), .out0_ready(ended[3]));
  always_ff @(posedge clk) begin
    now <= rst ? '0 : now + 1'b1;
    cycles <= rst || do_clear ? '0 : cycles + 1'b1;
    if (rd && rd_addr == {4'd0, CONTROL_CYCLES_LOW}) cycles_high <= cycles[63:32];
    if (flush) begin
      in_count <= '0;
      out_count <= '0;
      ended <= '0;
      in_flight <= '0;
    end else begin
      if (in_beat) in_count <= last_in ? '0 : IW'(in_count + 1'b1);
      if (out_beat) out_count <= last_out ? '0 : XW'(out_count + 1'b1);
      ended <= {ended[2:0], last_out};
      in_flight <= in_flight + 16'(first_in) - 16'(last_out);
    end
    if (rst || do_clear) begin
      frames_in <= '0;
      frames_out <= '0;
      last_interval <= '0;
      last_latency <= '0;
      any_end <= 1'b0;
      lost <= lost && in_flight != '0 && !rst;
    end else begin
      if (clear) lost <= 1'b0;
      else if (first_in && !starts_ready) lost <= 1'b1;
      if (last_in) frames_in <= frames_in + 1'b1;
      if (last_out) frames_out <= frames_out + 1'b1;
      if (ended[3]) begin
        last_end <= now;
        any_end <= 1'b1;
        if (any_end) last_interval <= now - last_end;
        last_latency <= !starts_valid || lost ? '1 : now - 4 - start_time + 1;
      end
      if (clear) any_end <= 1'b0;
    end
  end

  always_comb begin
    rd_data = '0;
    if (rd_addr[11:8] == '0)
      case (rd_addr[7:0])
        CONTROL_MAGIC: rd_data = MAGIC;
        CONTROL_VERSION: rd_data = VERSION;
        CONTROL_CONTROL: rd_data[CONTROL_SOFT_RESET_BIT] = resetting;
        CONTROL_STATUS: begin
          rd_data[STATUS_BUSY_BIT] = in_flight != '0;
          rd_data[STATUS_RESETTING_BIT] = resetting;
          rd_data[STATUS_MM2S_ERROR_BIT] = mm2s_failed;
          rd_data[STATUS_S2MM_ERROR_BIT] = s2mm_failed;
          rd_data[STATUS_LATENCY_LOST_BIT] = lost;
          rd_data[STATUS_WEIGHT_ERROR_BIT] = weights_failed;
        end
        CONTROL_BUILD_HASH0: rd_data = BUILD_HASH[31:0];
        CONTROL_BUILD_HASH1: rd_data = BUILD_HASH[63:32];
        CONTROL_BUILD_HASH2: rd_data = BUILD_HASH[95:64];
        CONTROL_BUILD_HASH3: rd_data = BUILD_HASH[127:96];
        CONTROL_INPUT_BYTES: rd_data = INPUT_BYTES;
        CONTROL_OUTPUT_BYTES: rd_data = OUTPUT_BYTES;
        CONTROL_FRAMES_IN: rd_data = frames_in;
        CONTROL_FRAMES_OUT: rd_data = frames_out;
        CONTROL_CYCLES_LOW: rd_data = cycles[31:0];
        CONTROL_CYCLES_HIGH: rd_data = cycles_high;
        CONTROL_LAST_INTERVAL: rd_data = last_interval;
        CONTROL_LAST_LATENCY: rd_data = last_latency;
        CONTROL_CLOCK_KHZ: rd_data = CLOCK_KHZ;
        CONTROL_LOADER_STATUS: rd_data[1:0] = loader_status;
        default: ;
      endcase
  end
endmodule
