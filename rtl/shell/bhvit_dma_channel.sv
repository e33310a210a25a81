// SPDX-License-Identifier: MIT
// Registers of one DMA channel, as in direct register mode of Xilinx AXI DMA (PG021): DMACR, DMASR, address, LENGTH.
// LENGTH starts a transfer when the channel runs, is idle and has no error. A length of 0 or an address that is no
// multiple of the data width is DMAIntErr. An error halts the channel until it is reset.
module bhvit_dma_channel
  import bhvit_registers::*;
#(
    parameter int BYTES = 0  // of a data beat
) (
    input  logic                   clk, rst,  // rst also after a soft reset
    input  logic                   wr,
    input  logic [7:0]             addr_wr, addr_rd,  // offsets in the channel
    input  logic [31:0]            wr_data,
    output logic [31:0]            rd_data,
    input  logic                   resetting,
    output logic                   ask_reset,
    output logic                   start,
    output logic [63:0]            address,
    output logic [LENGTH_BITS-1:0] length,
    input  logic [LENGTH_BITS-1:0] moved,  // what LENGTH reads
    input  logic                   done, busy,
    input  logic [1:0]             error,
    output logic                   failed, irq
);
  localparam logic [7:0] CR = DMA_MM2S_DMACR, SR = DMA_MM2S_DMASR, LOW = DMA_MM2S_SA, HIGH = DMA_MM2S_SA_MSB,
      LEN = DMA_MM2S_LENGTH;
  logic run, ioc_en, err_en, halted, idle, int_err, slv_err, dec_err, ioc, err, try_start, bad;
  assign failed = int_err || slv_err || dec_err;
  assign try_start = wr && addr_wr == LEN && run && !halted && !busy && !start && !failed && !resetting;
  assign bad = wr_data[LENGTH_BITS-1:0] == '0 || address[$clog2(BYTES)-1:0] != '0;
  assign ask_reset = wr && addr_wr == CR && wr_data[DMACR_RESET_BIT];
  assign irq = (ioc && ioc_en) || (err && err_en);

  always_comb begin
    rd_data = '0;
    case (addr_rd)
      CR: begin
        rd_data[DMACR_RS_BIT] = run;
        rd_data[1] = 1'b1;
        rd_data[DMACR_RESET_BIT] = resetting;
        rd_data[DMACR_IOC_IRQEN_BIT] = ioc_en;
        rd_data[DMACR_ERR_IRQEN_BIT] = err_en;
        rd_data[DMACR_IRQTHRESHOLD_BIT] = 1'b1;
      end
      SR: begin
        rd_data[DMASR_HALTED_BIT] = halted;
        rd_data[DMASR_IDLE_BIT] = idle;
        rd_data[DMASR_DMAINTERR_BIT] = int_err;
        rd_data[DMASR_DMASLVERR_BIT] = slv_err;
        rd_data[DMASR_DMADECERR_BIT] = dec_err;
        rd_data[DMASR_IOC_IRQ_BIT] = ioc;
        rd_data[DMASR_ERR_IRQ_BIT] = err;
        rd_data[DMASR_IRQTHRESHOLDSTS_BIT] = 1'b1;
      end
      LOW: rd_data = address[31:0];
      HIGH: rd_data = address[63:32];
      LEN: rd_data[LENGTH_BITS-1:0] = moved;
      default: ;
    endcase
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      {run, ioc_en, err_en, idle, int_err, slv_err, dec_err, ioc, err, start} <= '0;
      halted <= 1'b1;
      address <= '0;
      length <= '0;
    end else begin
      start <= try_start && !bad;
      if (wr && addr_wr == CR) begin
        run <= wr_data[DMACR_RS_BIT] && !failed;
        ioc_en <= wr_data[DMACR_IOC_IRQEN_BIT];
        err_en <= wr_data[DMACR_ERR_IRQEN_BIT];
      end
      if (wr && addr_wr == SR) begin
        if (wr_data[DMASR_IOC_IRQ_BIT]) ioc <= 1'b0;
        if (wr_data[DMASR_ERR_IRQ_BIT]) err <= 1'b0;
      end
      if (wr && addr_wr == LOW) address[31:0] <= wr_data;
      if (wr && addr_wr == HIGH) address[63:32] <= wr_data;
      if (try_start) begin
        length <= wr_data[LENGTH_BITS-1:0];
        if (!bad) idle <= 1'b0;
      end
      if (done) {idle, ioc} <= 2'b11;
      if (run) halted <= 1'b0;
      else if (!busy && !start) halted <= 1'b1;
      if (try_start && bad) int_err <= 1'b1;
      if (error == 2'b10 && !failed && !busy) slv_err <= 1'b1;
      if (error == 2'b11 && !failed && !busy) dec_err <= 1'b1;
      if ((try_start && bad) || (error[1] && !failed && !busy)) begin
        err <= 1'b1;
        run <= 1'b0;
      end
    end
  end
endmodule
