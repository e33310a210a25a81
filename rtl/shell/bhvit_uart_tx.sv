// SPDX-License-Identifier: MIT
// Sender of a serial line, 8 data bits, no parity, one stop bit; a bit takes DIVISOR cycles. `ready` is up when a
// byte can
// be taken; the line is 1 when nothing is sent. Checked: DIVISOR.
module bhvit_uart_tx #(
    parameter int DIVISOR = 0
) (
    input  logic       clk,
    input  logic       rst,
    input  logic [7:0] data,
    input  logic       valid,
    output logic       ready,
    output logic       tx
);
  localparam int TW = $clog2(DIVISOR);
  initial if (DIVISOR < 4) $error("bhvit_uart_tx: DIVISOR=%0d", DIVISOR);

  logic [TW-1:0] timer;
  logic [3:0] left;          // bits that are still to come, the one on the line included
  logic [8:0] shift;
  assign ready = left == '0;
  initial tx = 1'b1;         // from configuration on

  always_ff @(posedge clk) begin
    if (rst) begin
      left <= '0;
      tx <= 1'b1;
    end else if (ready) begin
      if (valid) begin
        left <= 4'd10;
        timer <= TW'(DIVISOR - 1);
        shift <= {1'b1, data};
        tx <= 1'b0;
      end
    end else if (timer != '0) begin
      timer <= timer - 1'b1;
    end else begin
      timer <= TW'(DIVISOR - 1);
      left <= left - 1'b1;
      tx <= left == 4'd1 || shift[0];
      shift <= {1'b1, shift[8:1]};
    end
  end
endmodule
