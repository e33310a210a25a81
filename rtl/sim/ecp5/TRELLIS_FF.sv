// SPDX-License-Identifier: MIT
// Simulation model of an ECP5 register. CE and LSR (synchronous or asynchronous set or reset, LSR over CE) as their
// multiplexers say; after configuration the register holds its REGSET value. Clocks: rising edge only (checked).
module TRELLIS_FF #(
    parameter GSR     = "ENABLED",
    parameter CEMUX   = "1",
    parameter CLKMUX  = "CLK",
    parameter LSRMUX  = "LSR",
    parameter SRMODE  = "LSR_OVER_CE",
    parameter REGSET  = "RESET",
    parameter LSRMODE = "LSR"
) (
    input  logic CLK, LSR, CE, DI, M,
    output logic Q
);
  localparam bit VALUE = REGSET == "SET";
  initial begin
    if (CLKMUX != "CLK" || LSRMODE != "LSR" || (SRMODE != "LSR_OVER_CE" && SRMODE != "ASYNC"))
      $fatal(1, "TRELLIS_FF: an option that this model does not know");
    Q = VALUE;
  end
  logic enabled, reset;
  assign enabled = CEMUX == "1" || (CEMUX == "CE" && CE) || (CEMUX == "INV" && !CE);
  assign reset = LSRMUX == "INV" ? !LSR : LSR;
  if (SRMODE == "ASYNC") begin : gen_async
    always_ff @(posedge CLK, posedge reset)
      if (reset) Q <= VALUE;
      else if (enabled) Q <= DI;
  end else begin : gen_sync
    always_ff @(posedge CLK)
      if (reset) Q <= VALUE;
      else if (enabled) Q <= DI;
  end
endmodule
