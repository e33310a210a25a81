// SPDX-License-Identifier: MIT
// Gathers TOKENS consecutive tokens side by side: TOKENS x FOLDS beats of BITS bits (token by token) become FOLDS
// beats of TOKENS x BITS bits (channel fold f of all tokens). Two groups are buffered, so input and output overlap.
// One input beat per cycle. TOKENS = 1 is a wire, FOLDS = 1 a shift register. Checked: all parameters.
module bv_token_join #(
    parameter int TOKENS = 0,
    parameter int BITS   = 0,
    parameter int FOLDS  = 0
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic [BITS-1:0]        in0_data,
    input  logic                   in0_valid,
    output logic                   in0_ready,
    output logic [TOKENS*BITS-1:0] out0_data,
    output logic                   out0_valid,
    input  logic                   out0_ready
);
  initial if (TOKENS < 1 || BITS < 1 || FOLDS < 1)
    $error("bv_token_join: TOKENS=%0d BITS=%0d FOLDS=%0d", TOKENS, BITS, FOLDS);

  if (TOKENS == 1 || FOLDS == 1) begin : gen_gear
    bv_gear_up #(.LANES(1), .BITS(BITS), .RATIO(TOKENS)) u_gear (
        .clk, .rst, .in0_data, .in0_valid, .in0_ready, .out0_data, .out0_valid, .out0_ready);
  end else begin : gen_buffer
    localparam int FW = $clog2(FOLDS);
    localparam int TW = $clog2(TOKENS);
    localparam int AW = $clog2(2 * FOLDS);
    logic [1:0] full;
    logic wbank, rbank, push, re, ce, valid1, last_write, last_token, last_read;
    logic [FW-1:0] wfold, rfold;
    logic [TW-1:0] token;
    logic [TOKENS*BITS-1:0] word;

    assign in0_ready = !full[wbank];
    assign push = in0_valid && in0_ready;
    assign last_write = wfold == FW'(FOLDS - 1);
    assign last_token = token == TW'(TOKENS - 1);
    assign ce = !out0_valid || out0_ready;
    assign re = ce && full[rbank];
    assign last_read = rfold == FW'(FOLDS - 1);

    for (genvar t = 0; t < TOKENS; t++) begin : gen_token
      bv_ram #(.WIDTH(BITS), .DEPTH(2 * FOLDS)) u_ram (
          .clk, .we(push && token == TW'(t)), .waddr(AW'(wfold) + (wbank ? AW'(FOLDS) : '0)), .wdata(in0_data),
          .re, .raddr(AW'(rfold) + (rbank ? AW'(FOLDS) : '0)), .rdata(word[t*BITS+:BITS]));
    end

    always_ff @(posedge clk) begin
      if (rst) begin
        full <= '0;
        {wbank, rbank, valid1, out0_valid} <= '0;
        wfold <= '0;
        rfold <= '0;
        token <= '0;
      end else begin
        if (push) begin
          wfold <= last_write ? '0 : FW'(wfold + 1'b1);
          if (last_write) token <= last_token ? '0 : TW'(token + 1'b1);
          if (last_write && last_token) begin
            full[wbank] <= 1'b1;
            wbank <= !wbank;
          end
        end
        if (re) begin
          rfold <= last_read ? '0 : FW'(rfold + 1'b1);
          if (last_read) begin
            full[rbank] <= 1'b0;
            rbank <= !rbank;
          end
        end
        if (ce) begin
          valid1 <= re;
          out0_valid <= valid1;
        end
      end
      if (ce) out0_data <= word;
    end
  end
endmodule
