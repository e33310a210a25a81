// SPDX-License-Identifier: MIT
// Written by hand in the port style and structure of Vitis HLS (ap_ctrl_none, axis, one-hot state machine, ROM with a
// .dat file, register slices), as a stand-in for what it generates from `sign`, a threshold of 8 channels, SIMD 1.
`timescale 1 ns / 1 ps

(* CORE_GENERATION_INFO="sign_sign,hls_ip" *)
module sign (
        ap_clk,
        ap_rst_n,
        out0_V_TREADY,
        in0_V_TDATA,
        in0_V_TVALID,
        in0_V_TREADY,
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
output  [7:0] out0_V_TDATA;
output   out0_V_TVALID;

reg    ap_rst_n_inv;
(* fsm_encoding = "none" *) reg   [2:0] ap_CS_fsm;
reg   [2:0] ap_NS_fsm;
reg   [2:0] f_fu_42;
reg  signed [7:0] x_reg_118;
wire   [2:0] thresholds_address0;
wire    thresholds_ce0;
wire   [9:0] thresholds_q0;
wire   [7:0] in0_V_TDATA_int_regslice;
wire    in0_V_TVALID_int_regslice;
wire    in0_V_TREADY_int_regslice;
wire   [7:0] out0_V_TDATA_int_regslice;
wire    out0_V_TVALID_int_regslice;
wire    out0_V_TREADY_int_regslice;
wire    reached_fu_87;

initial begin
#0 ap_CS_fsm = 3'd1;
#0 f_fu_42 = 3'd0;
end

sign_sign_threshold_ROM_AUTO_1R #(
    .DataWidth( 10 ),
    .AddressRange( 8 ),
    .AddressWidth( 3 ))
sign_threshold_U(
    .clk(ap_clk),
    .reset(ap_rst_n_inv),
    .address0(thresholds_address0),
    .ce0(thresholds_ce0),
    .q0(thresholds_q0)
);

sign_regslice_both #(
    .DataWidth( 8 ))
regslice_both_in0_V_U(
    .ap_clk(ap_clk),
    .ap_rst(ap_rst_n_inv),
    .data_in(in0_V_TDATA),
    .vld_in(in0_V_TVALID),
    .ack_in(in0_V_TREADY),
    .data_out(in0_V_TDATA_int_regslice),
    .vld_out(in0_V_TVALID_int_regslice),
    .ack_out(in0_V_TREADY_int_regslice)
);

sign_regslice_both #(
    .DataWidth( 8 ))
regslice_both_out0_V_U(
    .ap_clk(ap_clk),
    .ap_rst(ap_rst_n_inv),
    .data_in(out0_V_TDATA_int_regslice),
    .vld_in(out0_V_TVALID_int_regslice),
    .ack_in(out0_V_TREADY_int_regslice),
    .data_out(out0_V_TDATA),
    .vld_out(out0_V_TVALID),
    .ack_out(out0_V_TREADY)
);

always @ (posedge ap_clk) begin
    if (ap_rst_n_inv == 1'b1) begin
        ap_CS_fsm <= ap_ST_fsm_state1;
        f_fu_42 <= 3'd0;
    end else begin
        ap_CS_fsm <= ap_NS_fsm;
        if (((ap_CS_fsm == ap_ST_fsm_state3) & (out0_V_TREADY_int_regslice == 1'b1))) begin
            f_fu_42 <= (f_fu_42 + 3'd1);
        end
    end
end

always @ (posedge ap_clk) begin
    if (((ap_CS_fsm == ap_ST_fsm_state2) & (in0_V_TVALID_int_regslice == 1'b1))) begin
        x_reg_118 <= in0_V_TDATA_int_regslice;
    end
end

always @ (*) begin
    ap_rst_n_inv = ~ap_rst_n;
end

always @ (*) begin
    case (ap_CS_fsm)
        ap_ST_fsm_state1 : begin
            ap_NS_fsm = ap_ST_fsm_state2;
        end
        ap_ST_fsm_state2 : begin
            if ((in0_V_TVALID_int_regslice == 1'b1)) begin
                ap_NS_fsm = ap_ST_fsm_state3;
            end else begin
                ap_NS_fsm = ap_ST_fsm_state2;
            end
        end
        ap_ST_fsm_state3 : begin
            if ((out0_V_TREADY_int_regslice == 1'b1)) begin
                ap_NS_fsm = ap_ST_fsm_state2;
            end else begin
                ap_NS_fsm = ap_ST_fsm_state3;
            end
        end
        default : begin
            ap_NS_fsm = 'bx;
        end
    endcase
end

assign thresholds_address0 = f_fu_42;
assign thresholds_ce0 = (ap_CS_fsm == ap_ST_fsm_state2);
assign in0_V_TREADY_int_regslice = (ap_CS_fsm == ap_ST_fsm_state2);
assign reached_fu_87 = ($signed({{1{x_reg_118[7]}}, x_reg_118}) >= $signed(thresholds_q0[8:0]) ? 1'b1 : 1'b0);
assign out0_V_TDATA_int_regslice = {7'd0, (reached_fu_87 ^ thresholds_q0[9])};
assign out0_V_TVALID_int_regslice = (ap_CS_fsm == ap_ST_fsm_state3);

endmodule //sign
