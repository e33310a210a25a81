// SPDX-License-Identifier: MIT
`timescale 1 ns / 1 ps
module sign_regslice_both
#(parameter
    DataWidth = 32
)(
    input ap_clk,
    input ap_rst,
    input [DataWidth-1:0] data_in,
    input vld_in,
    output ack_in,
    output [DataWidth-1:0] data_out,
    output vld_out,
    input ack_out
);

reg [DataWidth-1:0] payload_A, payload_B;
reg sel_rd, sel_wr;
reg [1:0] state;

assign ack_in = state[0];
assign vld_out = state[1];
assign data_out = sel_rd ? payload_B : payload_A;

// state: 01 empty, 11 one word, 10 full
always @(posedge ap_clk) begin
    if (ap_rst) begin
        {sel_rd, sel_wr} <= 2'b00;
        state <= 2'b00;
    end else begin
        if (vld_in & ack_in) sel_wr <= ~sel_wr;
        if (vld_out & ack_out) sel_rd <= ~sel_rd;
        case (state)
            2'b00 : state <= 2'b01;
            2'b01 : if (vld_in) state <= 2'b11;
            2'b11 : if (vld_in & ~ack_out) state <= 2'b10; else if (~vld_in & ack_out) state <= 2'b01;
            default : if (ack_out) state <= 2'b11;
        endcase
    end
    if (vld_in & ack_in & ~sel_wr) payload_A <= data_in;
    if (vld_in & ack_in & sel_wr) payload_B <= data_in;
end

endmodule
