// SPDX-License-Identifier: MIT
// Grouped 3x3 binary convolutions at up to four dilations, an epilogue each, and the exact sum of the branches:
//   acc_d = 2*popcount(~(x ^ w_d) & inside) - number of inside bits (bv_conv_sum);  out = sum_d epilogue_d(acc_d)
// Streams: in0 (HEIGHT + EXT) x WIDTH x IN_CHANNELS bits, SIMD a beat; out0 HEIGHT x WIDTH x OUT_CHANNELS, PE a beat.
// Lists (DILATIONS, SH1, SH2): eight bits an entry, first entry lowest. Row order: see bv_conv_window.
// Weight word: per lane, per branch nine taps (kh, kw) of IN_CHANNELS/GROUPS bits. Epilogue word: branch after branch.
// A position takes max(OUT_CHANNELS/PE, 2*BRANCHES + 2) cycles; latency from the window 13 cycles.
// Checked: parameters at time 0.
module bv_binary_conv #(
    parameter int HEIGHT       = 0,
    parameter int WIDTH        = 0,
    parameter int IN_CHANNELS  = 0,
    parameter int OUT_CHANNELS = 0,
    parameter int GROUPS       = 1,
    parameter int EXT          = 0,
    parameter int ROW0         = 0,
    parameter int ROT          = 0,
    parameter int BRANCHES     = 1,
    parameter int DILATIONS    = 0,
    parameter int SH1          = 0,
    parameter int SH2          = 0,
    parameter int M_BITS       = 12,
    parameter int O_BITS       = 24,
    parameter int Z_BITS       = 10,
    parameter int SLOPE_BITS   = 8,
    parameter int O2_BITS      = 24,
    parameter int OUT_BITS     = 8,
    parameter int PE           = 1,
    parameter int SIMD         = 1,
    parameter int SETS         = 1,
    parameter int REPEAT       = 1,
    parameter WEIGHT_FILE      = "",
    parameter WEIGHT_STYLE     = "auto",
    parameter int WEIGHT_TARGET = -1,
    parameter EPILOGUE_FILE    = "",
    parameter EPILOGUE_STYLE   = "auto",
    localparam int SUM_BITS = OUT_BITS + $clog2(BRANCHES)
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic [63:0]            schedule = 64'd0,
    input  logic [65:0]            load = 66'd0,
    input  logic [SIMD-1:0]        in0_data,
    input  logic                   in0_valid,
    output logic                   in0_ready,
    output logic [PE*SUM_BITS-1:0] out0_data,
    output logic                   out0_valid,
    input  logic                   out0_ready
);
  localparam int CG = IN_CHANNELS / GROUPS;    // input channels of a group
  localparam int OG = OUT_CHANNELS / GROUPS;   // output channels of a group
  localparam int OF = OUT_CHANNELS / PE;       // folds per position
  localparam int GB = PE > OG ? PE / OG : 1;   // groups per beat
  localparam int GF = OG > PE ? OG / PE : 1;   // folds per group
  localparam int AB = $clog2(18 * CG + 1) + 1;
  localparam int WW = PE * BRANCHES * 9 * CG;
  localparam int EB = PE * (M_BITS + O_BITS + 2 * SLOPE_BITS + O2_BITS);
  localparam int AW = SETS * OF > 1 ? $clog2(SETS * OF) : 1;
  localparam int FW = OF > 1 ? $clog2(OF) : 1;
  localparam int GW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int HW = GF > 1 ? $clog2(GF) : 1;
  initial if (CG * GROUPS != IN_CHANNELS || OG * GROUPS != OUT_CHANNELS || OF * PE != OUT_CHANNELS
              || (GB * OG != PE && GF * PE != OG))
    $error("bv_binary_conv: IN_CHANNELS=%0d OUT_CHANNELS=%0d GROUPS=%0d PE=%0d", IN_CHANNELS, OUT_CHANNELS, GROUPS, PE);

  // ---- window and fold counters ----------------------------------------------------------------------------------------
  logic ce, valid, next, last, last_fold, last_group_fold;
  logic [BRANCHES-1:0][8:0][IN_CHANNELS-1:0] taps;
  logic [BRANCHES-1:0][8:0] mask;
  logic [FW-1:0] fold;
  logic [GW-1:0] group;  // first group of the beat
  logic [HW-1:0] group_fold;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  logic [AW-1:0] addr, addr1, addr2, addr3;
  assign last_fold = int'(fold) == OF - 1;
  assign last_group_fold = int'(group_fold) == GF - 1;
  assign next = ce && valid && last_fold;
  assign addr = AW'(int'(set) * OF + int'(fold));

  bv_conv_window #(
      .HEIGHT(HEIGHT), .WIDTH(WIDTH), .CHANNELS(IN_CHANNELS), .EXT(EXT), .ROW0(ROW0), .ROT(ROT), .BRANCHES(BRANCHES),
      .DILATIONS(DILATIONS), .SIMD(SIMD)
  ) u_window (.clk, .rst, .in0_data, .in0_valid, .in0_ready, .taps, .mask, .valid, .next, .last);
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (.clk, .rst, .schedule, .frame_done(next && last), .set);

  logic [4:1] v;  // stages: 1 selected groups and weights, 2 to 4 sums (bv_conv_sum)
  logic out_valid;
  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      group <= '0;
      group_fold <= '0;
      v <= '0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      v <= {v[3:1], valid};
      out0_valid <= out_valid;
      if (valid) begin
        fold <= last_fold ? '0 : FW'(fold + 1'b1);
        group_fold <= last_group_fold ? '0 : HW'(group_fold + 1'b1);
        if (last_fold) group <= '0;
        else if (last_group_fold) group <= GW'(int'(group) + GB);
      end
    end
    if (ce) begin
      addr1 <= addr;
      addr2 <= addr1;
      addr3 <= addr2;
    end
  end

  // ---- selected groups, weights, sums ------------------------------------------------------------------------------------
  logic [WW-1:0] weights1;
  logic [BRANCHES*EB-1:0] params4;
  logic [BRANCHES-1:0][GB-1:0][8:0][CG-1:0] x1;
  logic [BRANCHES-1:0][8:0] mask1;
  logic [BRANCHES-1:0][PE*AB-1:0] acc4;
  bv_rom #(.WIDTH(WW), .DEPTH(SETS * OF), .FILE(WEIGHT_FILE), .STYLE(WEIGHT_STYLE), .TARGET(WEIGHT_TARGET)) u_weights (
      .clk, .en(ce && valid), .addr, .data(weights1), .load);
  bv_rom #(.WIDTH(BRANCHES * EB), .DEPTH(SETS * OF), .FILE(EPILOGUE_FILE), .STYLE(EPILOGUE_STYLE)) u_params (
      .clk, .en(ce && v[3]), .addr(addr3), .data(params4));

  always_ff @(posedge clk) if (ce && valid) mask1 <= mask;
  for (genvar d = 0; d < BRANCHES; d++) begin : g_branch
    for (genvar t = 0; t < 9; t++) begin : g_tap
      logic [IN_CHANNELS-1:0] tap;
      assign tap = taps[d][t];
      for (genvar g = 0; g < GB; g++) begin : g_select
        always_ff @(posedge clk) if (ce && valid) x1[d][g][t] <= tap[(int'(group)+g)*CG+:CG];
      end
    end
    for (genvar i = 0; i < PE; i++) begin : g_lane
      assign acc4[d][i*AB+AB-1] = 1'b0;
      bv_conv_sum #(.CHANNELS(CG)) u_sum (
          .clk, .en({3{ce}} & v[3:1]), .x(x1[d][GB == 1 ? 0 : i / OG]), .w(weights1[(i*BRANCHES+d)*9*CG+:9*CG]),
          .mask(mask1[d]), .count(acc4[d][i*AB+:AB-1]));
    end
  end

  // ---- epilogues and their sum -----------------------------------------------------------------------------------------
  logic [BRANCHES-1:0] branch_valid;
  logic [BRANCHES-1:0][PE*OUT_BITS-1:0] y;
  for (genvar d = 0; d < BRANCHES; d++) begin : g_epilogue
    bv_epilogue #(
        .PE(PE), .ACC_BITS(AB), .ACC_BIAS(-9 * CG), .ACT(1), .M_BITS(M_BITS), .O_BITS(O_BITS),
        .SH1((SH1 >> (8 * d)) & 255), .Z_BITS(Z_BITS), .SLOPE_BITS(SLOPE_BITS), .O2_BITS(O2_BITS),
        .SH2((SH2 >> (8 * d)) & 255), .OUT_BITS(OUT_BITS)
    ) u_epilogue (
        .clk, .rst, .ce, .in_valid(v[4]), .acc(acc4[d]), .params(params4[d*EB+:EB]), .res1('0), .res2('0),
        .out_valid(branch_valid[d]), .out_data(y[d]));
  end
  assign out_valid = branch_valid[0];
  assign ce = !out0_valid || out0_ready;
  for (genvar i = 0; i < PE; i++) begin : g_sum
    logic signed [SUM_BITS-1:0] total;
    always_comb begin
      total = '0;
      for (int d = 0; d < BRANCHES; d++) total += SUM_BITS'(signed'(y[d][i*OUT_BITS+:OUT_BITS]));
    end
    always_ff @(posedge clk) if (ce && out_valid) out0_data[i*SUM_BITS+:SUM_BITS] <= total;
  end
  if (BRANCHES > 1) begin : g_unused
    logic unused;
    assign unused = &{1'b0, branch_valid[BRANCHES-1:1]};
  end
endmodule
