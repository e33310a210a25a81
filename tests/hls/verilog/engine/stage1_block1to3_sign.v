// SPDX-License-Identifier: MIT
// Written by hand in the port style of Vitis HLS (ap_ctrl_none, axis, one-hot state machine, ROM with a .dat file,
// register slice), as a stand-in for what it generates from a threshold of 12 tokens x 8 channels, SIMD 1, in an engine
// of three blocks.
`timescale 1 ns / 1 ps

module stage1_block1to3_sign (
        ap_clk,
        ap_rst_n,
        out0_V_TREADY,
        in0_V_TDATA,
        in0_V_TVALID,
        in0_V_TREADY,
        in_set_V_TDATA,
        in_set_V_TVALID,
        in_set_V_TREADY,
        out0_V_TDATA,
        out0_V_TVALID
);

parameter    ap_ST_fsm_state1 = 3'd1;
parameter    ap_ST_fsm_state2 = 3'd2;
parameter    ap_ST_fsm_state3 = 3'd4;

input   ap_clk;
input   ap_rst_n;
input   out0_V_TREADY;
input  [7:0] in0_V_TDATA;
input   in0_V_TVALID;
output   in0_V_TREADY;
input  [7:0] in_set_V_TDATA;
input   in_set_V_TVALID;
output   in_set_V_TREADY;
output  [7:0] out0_V_TDATA;
output   out0_V_TVALID;

(* fsm_encoding = "none" *) reg   [2:0] ap_CS_fsm;
reg   [6:0] beat_fu_38;
reg   [4:0] set_reg_102;
reg  signed [7:0] x_reg_118;
reg   [9:0] thresholds_q0;
reg   [9:0] thresholds[0:23];
wire   [4:0] thresholds_address0;
wire   [7:0] in0_V_TDATA_int_regslice;
wire    in0_V_TVALID_int_regslice;
wire    in0_V_TREADY_int_regslice;

sign_regslice_both #(
    .DataWidth( 8 ))
regslice_both_in0_V_U(
    .ap_clk(ap_clk),
    .ap_rst(~ap_rst_n),
    .data_in(in0_V_TDATA),
    .vld_in(in0_V_TVALID),
    .ack_in(in0_V_TREADY),
    .data_out(in0_V_TDATA_int_regslice),
    .vld_out(in0_V_TVALID_int_regslice),
    .ack_out(in0_V_TREADY_int_regslice)
);

initial begin
#0 ap_CS_fsm = 3'd1;
#0 beat_fu_38 = 7'd0;
$readmemh("stage1_block1to3_sign_threshold_ROM_AUTO_1R.dat", thresholds);
end

always @ (posedge ap_clk) begin
    if (ap_rst_n == 1'b0) begin
        ap_CS_fsm <= ap_ST_fsm_state1;
        beat_fu_38 <= 7'd0;
    end else begin
        case (ap_CS_fsm)
            ap_ST_fsm_state1 : begin
                if (in_set_V_TVALID == 1'b1) begin
                    set_reg_102 <= in_set_V_TDATA[4:0];
                    ap_CS_fsm <= ap_ST_fsm_state2;
                end
            end
            ap_ST_fsm_state2 : begin
                if (in0_V_TVALID_int_regslice == 1'b1) begin
                    ap_CS_fsm <= ap_ST_fsm_state3;
                end
            end
            default : begin
                if (out0_V_TREADY == 1'b1) begin
                    beat_fu_38 <= (beat_fu_38 == 7'd95 ? 7'd0 : (beat_fu_38 + 7'd1));
                    ap_CS_fsm <= (beat_fu_38 == 7'd95 ? ap_ST_fsm_state1 : ap_ST_fsm_state2);
                end
            end
        endcase
    end
end

always @ (posedge ap_clk) begin
    if (ap_CS_fsm == ap_ST_fsm_state2) begin
        x_reg_118 <= in0_V_TDATA_int_regslice;
        thresholds_q0 <= thresholds[thresholds_address0];
    end
end

assign thresholds_address0 = ((set_reg_102 << 5'd3) + {2'd0, beat_fu_38[2:0]});
assign in_set_V_TREADY = (ap_CS_fsm == ap_ST_fsm_state1);
assign in0_V_TREADY_int_regslice = (ap_CS_fsm == ap_ST_fsm_state2);
assign out0_V_TDATA = {7'd0, (($signed({{1{x_reg_118[7]}}, x_reg_118}) >= $signed(thresholds_q0[8:0])) ^ thresholds_q0[9])};
assign out0_V_TVALID = (ap_CS_fsm == ap_ST_fsm_state3);

endmodule //stage1_block1to3_sign
