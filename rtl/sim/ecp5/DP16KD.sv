// SPDX-License-Identifier: MIT
// Simulation model of an ECP5 block RAM as Yosys uses it: 1024 words of 18 bits, each of two 9-bit bytes, that two ports
// see as words of 1, 2 or 4 bits (of the lower 8 bits of a byte), 9, 18, or, as writing port A and reading port B, 36 bits.
// Reading bits that the other port writes in the same cycle gives neither the old nor the new ones but the inverted old
// ones: the device promises nothing there, so a netlist must not rely on it. Output registers (REGMODE) add a cycle.
// Where both clocks run they are the same rising edge; chip selects are 0, an asynchronous reset is not used (checked).
module DP16KD #(
    parameter int DATA_WIDTH_A = 18, DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "AUTO",
    parameter bit [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
  INITVAL_06 = 0, INITVAL_07 = 0,
    parameter bit [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0,
  INITVAL_0E = 0, INITVAL_0F = 0,
    parameter bit [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0,
  INITVAL_16 = 0, INITVAL_17 = 0,
    parameter bit [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
  INITVAL_1E = 0, INITVAL_1F = 0,
    parameter bit [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0,
  INITVAL_26 = 0, INITVAL_27 = 0,
    parameter bit [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0,
  INITVAL_2E = 0, INITVAL_2F = 0,
    parameter bit [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
  INITVAL_36 = 0, INITVAL_37 = 0,
    parameter bit [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0,
  INITVAL_3E = 0, INITVAL_3F = 0
) (
    input logic DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16,
      DIA17,
    input logic ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input logic CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
    input logic DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16,
      DIB17,
    input logic ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input logic CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
    output logic DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16,
      DOA17,
    output logic DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16,
      DOB17
);
  initial if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
    $fatal(1, "DP16KD: an option that this model does not know");
  always_comb if (RESETMODE != "SYNC" && (RSTA || RSTB)) $fatal(1, "DP16KD: this model has no asynchronous reset");

  logic [35:0] mem[512];
  function automatic void load(input int row, input bit [319:0] value);
    for (int i = 0; i < 16; i++) mem[8*row+i/2][i%2*18+:18] = value[20*i+:18];
  endfunction
  initial begin
    load(0, INITVAL_00); load(1, INITVAL_01); load(2, INITVAL_02); load(3, INITVAL_03);
    load(4, INITVAL_04); load(5, INITVAL_05); load(6, INITVAL_06); load(7, INITVAL_07);
    load(8, INITVAL_08); load(9, INITVAL_09); load(10, INITVAL_0A); load(11, INITVAL_0B);
    load(12, INITVAL_0C); load(13, INITVAL_0D); load(14, INITVAL_0E); load(15, INITVAL_0F);
    load(16, INITVAL_10); load(17, INITVAL_11); load(18, INITVAL_12); load(19, INITVAL_13);
    load(20, INITVAL_14); load(21, INITVAL_15); load(22, INITVAL_16); load(23, INITVAL_17);
    load(24, INITVAL_18); load(25, INITVAL_19); load(26, INITVAL_1A); load(27, INITVAL_1B);
    load(28, INITVAL_1C); load(29, INITVAL_1D); load(30, INITVAL_1E); load(31, INITVAL_1F);
    load(32, INITVAL_20); load(33, INITVAL_21); load(34, INITVAL_22); load(35, INITVAL_23);
    load(36, INITVAL_24); load(37, INITVAL_25); load(38, INITVAL_26); load(39, INITVAL_27);
    load(40, INITVAL_28); load(41, INITVAL_29); load(42, INITVAL_2A); load(43, INITVAL_2B);
    load(44, INITVAL_2C); load(45, INITVAL_2D); load(46, INITVAL_2E); load(47, INITVAL_2F);
    load(48, INITVAL_30); load(49, INITVAL_31); load(50, INITVAL_32); load(51, INITVAL_33);
    load(52, INITVAL_34); load(53, INITVAL_35); load(54, INITVAL_36); load(55, INITVAL_37);
    load(56, INITVAL_38); load(57, INITVAL_39); load(58, INITVAL_3A); load(59, INITVAL_3B);
    load(60, INITVAL_3C); load(61, INITVAL_3D); load(62, INITVAL_3E); load(63, INITVAL_3F);
  end

  logic [35:0] di[2], stored[2], reads[2], writes[2], out[2], behind[2];
  logic [13:0] address[2];
  logic we[2], ce[2], rst[2], oce[2];
  int place[2];                                          // of the word in the 36 bits
  assign di[0] = {{DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
    DIB1, DIB0}, {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
    DIA1, DIA0}};
  assign di[1] = {18'd0, {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3,
    DIB2, DIB1, DIB0}};
  assign address[0] = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  assign address[1] = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  assign {we[0], ce[0], rst[0], oce[0]} = {WEA && CEA, CEA, RSTA, OCEA};
  assign {we[1], ce[1], rst[1], oce[1]} = {WEB && CEB, CEB, RSTB, OCEB};

  for (genvar i = 0; i < 2; i++) begin : gen_port
    localparam int WIDTH = i == 0 ? DATA_WIDTH_A : DATA_WIDTH_B;
    localparam bit THROUGH = (i == 0 ? WRITEMODE_A : WRITEMODE_B) == "WRITETHROUGH";
    localparam bit OLD = (i == 0 ? WRITEMODE_A : WRITEMODE_B) == "READBEFOREWRITE";
    logic [35:0] bytes, next, clash;
    always_comb begin
      place[i] = WIDTH == 36 ? 0 : 18 * int'(address[i][4]);
      if (WIDTH < 18) place[i] += 9 * int'(address[i][3]);
      if (WIDTH < 9) place[i] += int'(address[i][2:0]) & ~(WIDTH - 1);
      bytes = '1;
      if (WIDTH >= 18) for (int k = 0; k < WIDTH / 9; k++) bytes[9*k+:9] = {9{address[i][k]}};
      reads[i] = 36'hfffffffff >> 36 - WIDTH << place[i];
      writes[i] = we[i] ? reads[i] & bytes << place[i] : '0;
      stored[i] = mem[address[i][13:5]];
      clash = address[0][13:5] == address[1][13:5] ? writes[1-i] & reads[i] : '0;
      next = (stored[i] & ~writes[i]) | (di[i] << place[i] & writes[i]);
    end
    logic clk;
    assign clk = i == 0 ? CLKA : CLKB;
    always_ff @(posedge clk) begin
      if (ce[i] && (!we[i] || OLD)) out[i] <= (stored[i] & reads[i] ^ clash) >> place[i];
      else if (ce[i] && THROUGH) out[i] <= (next & reads[i]) >> place[i];
      if (rst[i]) out[i] <= '0;
      if (rst[i]) behind[i] <= '0;
      else if (oce[i]) behind[i] <= out[i];
      if (we[i]) mem[address[i][13:5]] <= next;
    end
  end
  always_comb
    if (we[0] && we[1] && address[0][13:5] == address[1][13:5]) $fatal(1, "DP16KD: this model has one write port at a time");
  logic [35:0] a, b;
  assign a = REGMODE_A == "OUTREG" ? behind[0] : out[0];
  assign b = REGMODE_B == "OUTREG" ? behind[1] : out[1];
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0}
    = DATA_WIDTH_B == 36 ? b[17:0] : a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0}
    = DATA_WIDTH_B == 36 ? b[35:18] : b[17:0];
  logic unused;
  assign unused = &{1'b0, CSA0, CSA1, CSA2, CSB0, CSB1, CSB2};
endmodule
