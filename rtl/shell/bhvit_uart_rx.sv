// SPDX-License-Identifier: MIT
// Receiver of a serial line, 8 data bits, no parity, at least one stop bit; a bit takes DIVISOR cycles (>= 4),
// sampled in
// its middle. `valid` is up for one cycle per byte. `broken` is up for one cycle where a stop bit is 0: noise, a wrong
// speed, or a break (the line held at 0); then the receiver waits until the line is 1 again. Checked: DIVISOR.
module bhvit_uart_rx #(
    parameter int DIVISOR = 0
) (
    input  logic       clk,
    input  logic       rst,
    input  logic       rx,
    output logic [7:0] data,
    output logic       valid,
    output logic       broken
);
  localparam int TW = $clog2(DIVISOR);
  initial if (DIVISOR < 4) $error("bhvit_uart_rx: DIVISOR=%0d", DIVISOR);

  logic [1:0] meta;          // the line is asynchronous
  logic line;
  logic [TW-1:0] timer;      // cycles until the next sample
  logic [3:0] left;          // samples that are still to come; 0: waiting for a start bit
  logic idle, resting;       // resting: waiting for the line to be 1
  assign line = meta[1];
  assign idle = left == '0;

  always_ff @(posedge clk) begin
    meta <= {meta[0], rx};
    valid <= 1'b0;
    broken <= 1'b0;
    if (rst) begin
      left <= '0;
      timer <= '0;
      resting <= 1'b1;
      meta <= '1;
    end else if (resting) begin
      resting <= !line;
    end else if (idle) begin
      if (!line) left <= 4'd10;
      timer <= TW'(DIVISOR / 2 - 1);
    end else if (timer != '0) begin
      timer <= timer - 1'b1;
    end else begin
      timer <= TW'(DIVISOR - 1);
      left <= left - 1'b1;
      if (left == 4'd10) begin
        if (line) left <= '0;                          // a spike, no start bit
      end else if (left != 4'd1) begin
        data <= {line, data[7:1]};
      end else begin
        valid <= line;
        broken <= !line;
        resting <= !line;
      end
    end
  end
endmodule
