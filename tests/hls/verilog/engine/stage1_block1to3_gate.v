// SPDX-License-Identifier: MIT
// Written by hand in the port style of Vitis HLS (ap_ctrl_none, axis), as a stand-in for what it generates from the gate
// of an engine: three rounds, four frames under way, frames of 96 beats. It says the set of a frame only when the frame's
// first beats are offered, as a compiler is free to do: two streams have no order between them.
`timescale 1 ns / 1 ps

module stage1_block1to3_gate (
        ap_clk,
        ap_rst_n,
        out0_V_TREADY,
        out1_V_TREADY,
        out_set_V_TREADY,
        in0_V_TDATA,
        in0_V_TVALID,
        in0_V_TREADY,
        in1_V_TDATA,
        in1_V_TVALID,
        in1_V_TREADY,
        out0_V_TDATA,
        out0_V_TVALID,
        out1_V_TDATA,
        out1_V_TVALID,
        out_set_V_TDATA,
        out_set_V_TVALID
);

input   ap_clk;
input   ap_rst_n;
input   out0_V_TREADY;
input   out1_V_TREADY;
input   out_set_V_TREADY;
input  [7:0] in0_V_TDATA;
input   in0_V_TVALID;
output   in0_V_TREADY;
input  [7:0] in1_V_TDATA;
input   in1_V_TVALID;
output   in1_V_TREADY;
output  [7:0] out0_V_TDATA;
output   out0_V_TVALID;
output  [7:0] out1_V_TDATA;
output   out1_V_TVALID;
output  [7:0] out_set_V_TDATA;
output   out_set_V_TVALID;

reg   [7:0] fresh[0:95];
reg   [6:0] ring_held, ring_write_at, ring_read_at;
reg   [1:0] under_way_rounds[0:15];
reg   [3:0] under_way_enters, under_way_returns;
reg   [2:0] under_way_frames;
reg   moves, enters, leaves, tells;
reg   [1:0] round;
reg   [3:0] delay;
reg   [6:0] i;

wire  returns_fu_1 = (in1_V_TVALID & (under_way_frames != 3'd0));
wire  enters_fu_2 = (~returns_fu_1 & (ring_held == 7'd96) & (under_way_frames < 3'd4));
wire  [1:0] round_fu_3 = (enters_fu_2 ? 2'd0 : (under_way_rounds[under_way_returns] + 2'd1));
wire  leaves_fu_4 = (~enters_fu_2 & (under_way_rounds[under_way_returns] == 2'd2));
wire  x_valid = (moves & (enters | in1_V_TVALID));
wire  beat_done = (x_valid & (leaves ? out1_V_TREADY : out0_V_TREADY));
wire  push = (in0_V_TVALID & in0_V_TREADY);
wire  pop = (beat_done & enters);

assign in0_V_TREADY = (ring_held != 7'd96);
assign in1_V_TREADY = (beat_done & ~enters);
assign out0_V_TVALID = (x_valid & ~leaves);
assign out1_V_TVALID = (x_valid & leaves);
assign out0_V_TDATA = (enters ? fresh[ring_read_at] : in1_V_TDATA);
assign out1_V_TDATA = in1_V_TDATA;
assign out_set_V_TVALID = (tells & (delay == 4'd9));
assign out_set_V_TDATA = {6'd0, round};

always @ (posedge ap_clk) begin
    if (push) begin
        fresh[ring_write_at] <= in0_V_TDATA;
    end
    if (ap_rst_n == 1'b0) begin
        ring_held <= 7'd0;
        ring_write_at <= 7'd0;
        ring_read_at <= 7'd0;
        under_way_enters <= 4'd0;
        under_way_returns <= 4'd0;
        under_way_frames <= 3'd0;
        moves <= 1'b0;
        tells <= 1'b0;
        i <= 7'd0;
    end else begin
        ring_held <= (ring_held + {6'd0, push} - {6'd0, pop});
        if (push) begin
            ring_write_at <= (ring_write_at == 7'd95 ? 7'd0 : (ring_write_at + 7'd1));
        end
        if (pop) begin
            ring_read_at <= (ring_read_at == 7'd95 ? 7'd0 : (ring_read_at + 7'd1));
        end
        if (tells) begin
            delay <= (delay == 4'd9 ? delay : (delay + 4'd1));
            if (out_set_V_TVALID & out_set_V_TREADY) begin
                tells <= 1'b0;
            end
        end
        if (~moves) begin
            moves <= (returns_fu_1 | enters_fu_2) & ~tells;
            if ((returns_fu_1 | enters_fu_2) & ~tells) begin
                enters <= enters_fu_2;
                leaves <= leaves_fu_4;
                round <= round_fu_3;
                if (returns_fu_1) begin
                    under_way_returns <= (under_way_returns + 4'd1);
                end
                if (enters_fu_2) begin
                    under_way_frames <= (under_way_frames + 3'd1);
                end
                if (~leaves_fu_4) begin
                    under_way_rounds[under_way_enters] <= round_fu_3;
                    under_way_enters <= (under_way_enters + 4'd1);
                    tells <= 1'b1;
                    delay <= 4'd0;
                end
            end
        end else if (beat_done) begin
            i <= (i == 7'd95 ? 7'd0 : (i + 7'd1));
            if (i == 7'd95) begin
                moves <= 1'b0;
                if (leaves) begin
                    under_way_frames <= (under_way_frames - 3'd1);
                end
            end
        end
    end
end

endmodule //stage1_block1to3_gate
