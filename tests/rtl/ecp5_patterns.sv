// SPDX-License-Identifier: MIT
// What the kernels ask of an ECP5, for test_ecp5_cells.py: memories of every width, multipliers, sums, multiplexers,
// registers. Random words come in; every result goes out as a bit field of y.
module pattern_ram #(
    parameter int WIDTH = 1, DEPTH = 16, HIGH = 3, parameter STYLE = "block"
) (
    input  logic             clk, we, re,
    input  logic [5:0]       waddr, raddr,               // few words, of all parts of the memory
    input  logic [WIDTH-1:0] wdata,
    output logic [WIDTH-1:0] rdata
);
  localparam int AW = $clog2(DEPTH);
  logic [AW-1:0] w, r;
  assign w = AW'(waddr[2:0]) | AW'(waddr[3+:HIGH]) << AW - HIGH;
  assign r = AW'(raddr[2:0]) | AW'(raddr[3+:HIGH]) << AW - HIGH;
  bv_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH), .STYLE(STYLE)) u_ram (.clk, .we, .waddr(w), .wdata, .re, .raddr(r), .rdata);
endmodule

module ecp5_patterns (
    input  logic         clk,
    input  logic [255:0] x,                              // random
    output logic [511:0] y
);
  logic we, re;
  logic [5:0] waddr, raddr;
  assign {we, re} = x[1:0];
  assign waddr = x[7:2];
  assign raddr = x[9:8] == '0 ? waddr : x[15:10];        // often the word that is written
  logic [71:0] wdata;
  assign wdata = x[88:17];

  pattern_ram #(.WIDTH(1), .DEPTH(16384)) u_r1 (.clk, .we, .re, .waddr, .raddr, .wdata(wdata[0]), .rdata(y[0]));
  pattern_ram #(.WIDTH(2), .DEPTH(8192)) u_r2 (.clk, .we, .re, .waddr, .raddr, .wdata(wdata[1:0]), .rdata(y[2:1]));
  pattern_ram #(.WIDTH(4), .DEPTH(4096)) u_r4 (.clk, .we, .re, .waddr, .raddr, .wdata(wdata[3:0]), .rdata(y[6:3]));
  pattern_ram #(.WIDTH(9), .DEPTH(2048)) u_r9 (.clk, .we, .re, .waddr, .raddr, .wdata(wdata[8:0]), .rdata(y[15:7]));
  pattern_ram #(.WIDTH(18), .DEPTH(1000)) u_r18 (.clk, .we, .re, .waddr, .raddr, .wdata(wdata[17:0]), .rdata(y[33:16]));
  pattern_ram #(.WIDTH(60), .DEPTH(300), .HIGH(1)) u_r60 (
      .clk, .we, .re, .waddr, .raddr, .wdata(wdata[59:0]), .rdata(y[93:34]));
  pattern_ram #(.WIDTH(7), .DEPTH(16), .HIGH(1), .STYLE("auto")) u_small (
      .clk, .we, .re, .waddr, .raddr, .wdata(wdata[6:0]), .rdata(y[100:94]));
  pattern_ram #(.WIDTH(5), .DEPTH(50), .HIGH(1), .STYLE("distributed")) u_lut (
      .clk, .we, .re, .waddr, .raddr, .wdata(wdata[4:0]), .rdata(y[105:101]));

  // a memory with write enables of its bytes
  logic [35:0] bytes[512];
  always_ff @(posedge clk) begin
    for (int i = 0; i < 4; i++) if (we && x[89+i]) bytes[{waddr[5:3], 3'd0, waddr[2:0]}][i*9+:9] <= x[100+i*9+:9];
    if (re) y[141:106] <= bytes[{raddr[5:3], 3'd0, raddr[2:0]}];
  end

  bv_rom #(.WIDTH(3), .DEPTH(4096), .FILE("rom_3.mem"), .STYLE("block")) u_o3 (
      .clk, .en(re), .addr(x[28:17]), .data(y[144:142]));
  bv_rom #(.WIDTH(18), .DEPTH(700), .FILE("rom_18.mem"), .STYLE("block")) u_o18 (
      .clk, .en(re), .addr({1'b0, x[25:17]}), .data(y[162:145]));
  bv_rom #(.WIDTH(45), .DEPTH(512), .FILE("rom_45.mem"), .STYLE("block")) u_o45 (
      .clk, .en(re), .addr(x[25:17]), .data(y[207:163]));

  // multipliers: both signs, none, mixed, wider than one
  assign y[243:208] = 36'(signed'(x[107:90]) * signed'(x[125:108]));
  assign y[279:244] = 36'(x[107:90] * x[125:108]);
  assign y[308:280] = 29'(signed'({1'b0, x[142:130]}) * signed'(x[158:144]));
  assign y[348:309] = 40'(signed'(x[180:156]) * signed'(x[195:181]));

  // sums, multiplexers, registers
  logic signed [19:0] sum;
  logic [6:0] counted;
  logic [4:0] set_value, kept, cleared;
  initial kept = 5'd21;
  always_ff @(posedge clk) begin
    sum <= 20'(signed'(x[219:200])) - 20'(signed'(x[239:220]));
    if (x[240]) counted <= '0;
    else if (x[241]) counted <= counted + 1'b1;
    if (x[242]) set_value <= '1;
    else set_value <= x[204:200];
    if (x[243]) kept <= kept ^ x[209:205];
    if (x[244] && x[245]) cleared <= '0;
    else if (!x[246]) cleared <= x[214:210];
  end
  assign y[368:349] = sum;
  assign y[375:369] = counted;
  assign y[390:376] = {set_value, kept, cleared};
  assign y[391] = x[136+x[250:247]];
  assign y[392] = signed'(x[219:200]) < signed'(x[239:220]);
  assign y[396:393] = 4'($countones(x[112:100]));
  assign y[511:397] = '0;
endmodule
