// SPDX-License-Identifier: MIT
// A small accelerator for the tests of the shell: it adds up KEEP input beats to one output beat. Output byte j is the
// sum over those beats of (input byte j mod IB) xor (index of the beat in the frame + j), modulo 256. So a beat that is
// lost, doubled or taken for that of another place, and a frame that begins in the middle, all show.
module toy #(
    parameter int IB = 1, OB = 1, BEATS = 1, KEEP = 1, DEPTH = 4
) (
    input  logic ap_clk, ap_rst_n, in0_V_TVALID, out0_V_TREADY,
    output logic in0_V_TREADY, out0_V_TVALID,
    input  logic [IB*8-1:0] in0_V_TDATA,
    output logic [OB*8-1:0] out0_V_TDATA
);
  logic [IB*8-1:0] x;
  logic [OB*8-1:0] acc, sum;
  logic valid, ready, last;
  int index, kept;
  bv_fifo #(.WIDTH(IB * 8), .DEPTH(DEPTH)) u_in (
      .clk(ap_clk), .rst(!ap_rst_n), .in0_data(in0_V_TDATA), .in0_valid(in0_V_TVALID), .in0_ready(in0_V_TREADY),
      .out0_data(x), .out0_valid(valid), .out0_ready(ready && valid));
  bv_fifo #(.WIDTH(OB * 8), .DEPTH(2)) u_out (
      .clk(ap_clk), .rst(!ap_rst_n), .in0_data(sum), .in0_valid(valid && last), .in0_ready(ready),
      .out0_data(out0_V_TDATA), .out0_valid(out0_V_TVALID), .out0_ready(out0_V_TREADY));
  assign last = kept == KEEP - 1;
  always_comb
    for (int j = 0; j < OB; j++) sum[j*8+:8] = acc[j*8+:8] + (x[(j%IB)*8+:8] ^ 8'(index + j));
  always_ff @(posedge ap_clk)
    if (!ap_rst_n) begin
      index <= 0;
      kept <= 0;
      acc <= '0;
    end else if (valid && ready) begin
      index <= index == BEATS - 1 ? 0 : index + 1;
      kept <= last ? 0 : kept + 1;
      acc <= last ? '0 : sum;
    end
endmodule
