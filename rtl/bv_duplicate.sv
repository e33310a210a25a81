// SPDX-License-Identifier: MIT
// Registered fork: every input beat goes to each of the COPIES outputs (2 to 8); they need not take it together.
// The next beat enters once all outputs have taken the present one. One beat per cycle, latency 1.
// Ports out<COPIES> and above stay idle. Beats are opaque. Checked: COPIES and WIDTH.
module bv_duplicate #(
    parameter int WIDTH  = 0,
    parameter int COPIES = 0
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [WIDTH-1:0] in0_data,
    input  logic             in0_valid,
    output logic             in0_ready,
    output logic [WIDTH-1:0] out0_data, out1_data, out2_data, out3_data, out4_data, out5_data, out6_data, out7_data,
    output logic out0_valid, out1_valid, out2_valid, out3_valid, out4_valid, out5_valid, out6_valid, out7_valid,
    input  logic out0_ready, out1_ready, out2_ready, out3_ready, out4_ready, out5_ready, out6_ready, out7_ready
);
  initial if (WIDTH < 1 || COPIES < 2 || COPIES > 8) $error("bv_duplicate: WIDTH=%0d COPIES=%0d", WIDTH, COPIES);

  localparam logic [7:0] USED = 8'((1 << COPIES) - 1);
  logic [7:0] valid, ready, waiting;
  logic [WIDTH-1:0] data;
  assign ready = {out7_ready, out6_ready, out5_ready, out4_ready, out3_ready, out2_ready, out1_ready, out0_ready};
  assign waiting = valid & ~ready & USED;
  assign in0_ready = waiting == '0;
  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= in0_ready ? {8{in0_valid}} & USED : waiting;
    if (in0_ready) data <= in0_data;
  end
  assign {out7_valid, out6_valid, out5_valid, out4_valid, out3_valid, out2_valid, out1_valid, out0_valid} = valid;
  assign {out7_data, out6_data, out5_data, out4_data, out3_data, out2_data, out1_data, out0_data} = {8{data}};
endmodule
