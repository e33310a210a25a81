// SPDX-License-Identifier: MIT
// Nine-tap circular cross stencil per channel plus residual (the merged shift branches of the MLP):
//   V[j,x] = sat((sum_k coef[k,c]*U[tap k] + (Y[j+2,x] << KY) + o[c]) >> SH), centre U[j+2,x]; columns wrap modulo WIDTH.
// Taps: centre, up 1, down 1, up 2, down 2, left 1, right 1, left 2, right 2.
// Streams: in0 U, in1 Y: (HEIGHT + 4) x WIDTH tokens (consumed together); out0 V, out1 U at the centre: HEIGHT x WIDTH;
// SIMD elements a beat, channel-minor. Constants word: 9 coefficients per lane (lane-major), then the offsets.
// Rows go to a ring of RING rows in banks, so that five adjacent rows are read at once (10: row r in bank r mod 5; 6 to 9:
// a bank each). With 10 the next frame loads while this one is computed, with fewer it waits for the last row at the end:
// frame = max((H+4)*W, H*(W+4))*C/SIMD cycles with 10. A row is read in WIDTH + 4 columns (-2 .. WIDTH + 1).
// Latency: five rows. Nine multipliers per lane and their sum (bv_dot9). Checked: parameters at time 0.
module bv_shift #(
    parameter int HEIGHT    = 0,
    parameter int WIDTH     = 0,
    parameter int CHANNELS  = 0,
    parameter int EXT       = 0,
    parameter int U_BITS    = 0,
    parameter int Y_BITS    = 0,
    parameter int COEF_BITS = 0,
    parameter int O_BITS    = 0,
    parameter int OUT_BITS  = 0,
    parameter int KY        = 0,
    parameter int KS_MAX    = 0,                         // largest further shift of Y, by set
    parameter int SH        = 0,
    parameter int SIMD      = 1,
    parameter int SETS      = 1,
    parameter int REPEAT    = 1,
    parameter int RING      = 10,
    parameter U_STYLE       = "auto",
    parameter Y_STYLE       = "auto",
    parameter COEF_FILE     = "",
    parameter COEF_STYLE    = "auto",
    parameter int COEF_TARGET = -1
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic [63:0]              schedule = 64'd0,
    input  logic [65:0]              load = 66'd0,
    input  logic [SIMD*U_BITS-1:0]   in0_data,
    input  logic                     in0_valid,
    output logic                     in0_ready,
    input  logic [SIMD*Y_BITS-1:0]   in1_data,
    input  logic                     in1_valid,
    output logic                     in1_ready,
    output logic [SIMD*OUT_BITS-1:0] out0_data,
    output logic                     out0_valid,
    input  logic                     out0_ready,
    output logic [SIMD*U_BITS-1:0]   out1_data,
    output logic                     out1_valid,
    input  logic                     out1_ready
);
  localparam int CF = CHANNELS / SIMD;
  localparam int ROW = WIDTH * CF;  // words per row
  localparam int UW = SIMD * U_BITS;
  localparam int YW = SIMD * Y_BITS;
  localparam int BANKS = RING == 10 ? 5 : RING;
  localparam int SLOTS = RING == 10 ? 2 : 1;
  localparam int YROWS = RING - 2;  // a row of Y is read between two and RING - 1 rows after it is written
  localparam int PB = U_BITS + COEF_BITS;
  localparam int KSB = $clog2(KS_MAX + 1);
  localparam int KSW = KSB > 0 ? KSB : 1;
  localparam int YB = Y_BITS + KY + KS_MAX;
  localparam int AB = (PB + 4 > (YB > O_BITS ? YB : O_BITS) ? PB + 4 : (YB > O_BITS ? YB : O_BITS)) + 2;
  localparam int KEEP = SH + OUT_BITS - 1 < AB ? SH + OUT_BITS - 1 : AB - 1;
  localparam int WORD = SIMD * (9 * COEF_BITS + O_BITS) + KSB;  // the shift of Y uppermost
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  localparam int CW = $clog2(WIDTH + 4);
  localparam int XW = WIDTH > 1 ? $clog2(WIDTH) : 1;
  localparam int HW = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
  localparam int RW = ROW > 1 ? $clog2(ROW) : 1;
  localparam int BW = SLOTS * ROW > 1 ? $clog2(SLOTS * ROW) : 1;
  localparam int NW = $clog2(BANKS);
  localparam int YA = $clog2(YROWS * ROW);
  localparam int KW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  initial if (HEIGHT < 1 || WIDTH < 1 || EXT != 4 || CF * SIMD != CHANNELS || RING < 6 || RING > 10)
    $error("bv_shift: HEIGHT=%0d WIDTH=%0d CHANNELS=%0d EXT=%0d SIMD=%0d RING=%0d", HEIGHT, WIDTH, CHANNELS, EXT, SIMD,
           RING);

  // ---- rows in the ring ----------------------------------------------------------------------------------------------
  logic ce, take, write_row, read_row, read_frame, go;
  logic [3:0] rows;  // complete rows that are still needed
  logic [RW-1:0] wword;
  logic [NW-1:0] wbank;
  logic wslot;
  logic [YA-1:0] wy;
  assign take = in0_valid && in1_valid && rows < 4'(RING);
  assign in0_ready = take;
  assign in1_ready = take;
  assign write_row = take && int'(wword) == ROW - 1;
  assign go = rows >= 4'd5;

  always_ff @(posedge clk) begin
    if (rst) begin
      rows <= '0;
      wword <= '0;
      wbank <= '0;
      wslot <= 1'b0;
      wy <= '0;
    end else begin
      rows <= rows + 4'(write_row) - (ce && read_frame ? 4'd5 : ce && read_row ? 4'd1 : 4'd0);
      if (take) begin
        wword <= write_row ? '0 : RW'(wword + 1'b1);
        wy <= int'(wy) == YROWS * ROW - 1 ? '0 : YA'(wy + 1'b1);
      end
      if (write_row) begin
        wbank <= bank_add(wbank, 1);
        if (int'(wbank) == BANKS - 1) wslot <= SLOTS > 1 && !wslot;
      end
    end
  end

  // ---- reader: column `col` (0 .. WIDTH+3) stands for x = col - 2 of the centre row, x = col - 4 of the other rows ------
  logic [FW-1:0] fold;
  logic [CW-1:0] col;
  logic [XW-1:0] cx;     // (col - 2) mod WIDTH
  logic [RW-1:0] cword;  // cx * CF + fold
  logic [RW-1:0] vword;  // (col - 4) * CF + fold
  logic [HW-1:0] row;
  logic [NW-1:0] base;   // bank of the top row
  logic base_slot;
  logic [YA-1:0] ybase, yword;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  logic last_fold, last_col, last_row;
  assign last_fold = int'(fold) == CF - 1;
  assign last_col = int'(col) == WIDTH + 3;
  assign last_row = int'(row) == HEIGHT - 1;
  assign read_row = go && last_fold && last_col;
  assign read_frame = read_row && last_row;

  function automatic logic [YA-1:0] y_row(input logic [YA-1:0] a, input int n);  // a + n rows, cyclic
    return YA'(int'(a) >= (YROWS - n % YROWS) * ROW ? int'(a) - (YROWS - n % YROWS) * ROW : int'(a) + n % YROWS * ROW);
  endfunction
  function automatic logic [NW-1:0] bank_add(input logic [NW-1:0] b, input int n);  // n <= BANKS
    return NW'(int'(b) >= BANKS - n ? int'(b) - (BANKS - n) : int'(b) + n);
  endfunction

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (.clk, .rst, .schedule, .frame_done(ce && read_frame), .set);

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      col <= '0;
      cx <= XW'((2 * WIDTH - 2) % WIDTH);
      cword <= RW'(((2 * WIDTH - 2) % WIDTH) * CF);
      vword <= '0;
      row <= '0;
      base <= '0;
      base_slot <= 1'b0;
      ybase <= YA'(2 * ROW);
      yword <= YA'(2 * ROW);
    end else if (ce && go) begin
      fold <= last_fold ? '0 : FW'(fold + 1'b1);
      if (last_fold) begin
        col <= last_col ? '0 : CW'(col + 1'b1);
        cx <= last_col ? XW'((2 * WIDTH - 2) % WIDTH) : int'(cx) == WIDTH - 1 ? '0 : XW'(cx + 1'b1);
      end
      if (read_row) cword <= RW'(((2 * WIDTH - 2) % WIDTH) * CF);
      else cword <= last_fold && int'(cx) == WIDTH - 1 ? '0 : RW'(cword + 1'b1);
      if (col >= CW'(4)) begin
        vword <= read_row ? '0 : RW'(vword + 1'b1);
        yword <= int'(yword) == YROWS * ROW - 1 ? '0 : YA'(yword + 1'b1);
      end
      if (read_row) begin
        row <= last_row ? '0 : HW'(row + 1'b1);
        base <= last_row ? bank_add(base, 5) : bank_add(base, 1);  // a frame ends with five rows
        if (last_row || int'(base) == BANKS - 1) base_slot <= SLOTS > 1 && !base_slot;
        ybase <= last_row ? y_row(ybase, 5) : y_row(ybase, 1);
        yword <= last_row ? y_row(ybase, 5) : y_row(ybase, 1);
      end
    end
  end

  // ---- stage 1: memories ---------------------------------------------------------------------------------------------
  logic [UW-1:0] bank_data[BANKS];
  logic [YW-1:0] y1;
  logic [WORD-1:0] word1;
  logic [NW-1:0] base1;
  logic [FW-1:0] fold1;
  logic use1;
  logic [8:1] v;  // pipeline stages
  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    logic slot;
    logic [RW-1:0] at;
    assign at = bank_add(base, 2) == NW'(b) ? cword : vword;
    assign slot = SLOTS > 1 && (base_slot ^ (NW'(b) < base));
    bv_ram #(.WIDTH(UW), .DEPTH(SLOTS * ROW), .STYLE(U_STYLE)) u_ram (
        .clk, .we(take && wbank == NW'(b)), .waddr(BW'(int'(wword) + (wslot ? ROW : 0))), .wdata(in0_data),
        .re(ce && go), .raddr(BW'(int'(at) + (slot ? ROW : 0))), .rdata(bank_data[b]));
  end
  bv_ram #(.WIDTH(YW), .DEPTH(YROWS * ROW), .STYLE(Y_STYLE)) u_y (
      .clk, .we(take), .waddr(wy), .wdata(in1_data), .re(ce && go), .raddr(yword), .rdata(y1));
  bv_rom #(.WIDTH(WORD), .DEPTH(SETS * CF), .FILE(COEF_FILE), .STYLE(COEF_STYLE),
           .TARGET(COEF_TARGET)) u_rom (
      .clk, .en(ce && go), .addr(KW'(int'(set) * CF + int'(fold))), .data(word1), .load);

  // ---- stage 2: taps in order; the centre row through four column delays -----------------------------------------------
  logic [UW-1:0] tap1[5];  // up 2, up 1, centre row, down 1, down 2
  logic [4*UW-1:0] late1;  // the centre row one to four columns ago
  logic [9*UW-1:0] taps1;
  logic [YW-1:0] y2;
  logic [SIMD*O_BITS-1:0] o2;
  logic [KSW-1:0] ks2;
  always_comb for (int t = 0; t < 5; t++) tap1[t] = bank_data[bank_add(base1, t)];
  assign taps1 = {tap1[2], late1[3*UW+:UW], late1[0+:UW], late1[2*UW+:UW], tap1[4], tap1[0], tap1[3], tap1[1],
                  late1[UW+:UW]};
  if (CF == 1) begin : g_late
    always_ff @(posedge clk) if (ce && v[1]) late1 <= {late1[3*UW-1:0], tap1[2]};
    logic unused;
    assign unused = &{1'b0, fold1};
  end else begin : g_late
    bv_ram #(.WIDTH(4 * UW), .DEPTH(CF)) u_late (
        .clk, .we(ce && v[1]), .waddr(fold1), .wdata({late1[3*UW-1:0], tap1[2]}), .re(ce && go), .raddr(fold),
        .rdata(late1));
  end

  logic [SIMD*(Y_BITS+KS_MAX)-1:0] y2s;
  bv_rescale #(.LANES(SIMD), .BITS(Y_BITS), .MAX(KS_MAX)) u_scale (
      .x(y2), .scale(ks2), .y(y2s));

  // ---- stages 2 to 8: products and sum, saturation ----------------------------------------------------------------------
  logic [UW-1:0] centre[2:8];
  logic [SIMD*OUT_BITS-1:0] sat8;
  for (genvar i = 0; i < SIMD; i++) begin : g_lane
    logic [9*U_BITS-1:0] tap;
    logic signed [AB-1:0] plus2, sum8;
    logic signed [OUT_BITS-1:0] y;
    logic zeros, ones;
    for (genvar k = 0; k < 9; k++) begin : g_tap
      assign tap[k*U_BITS+:U_BITS] = taps1[k*UW+i*U_BITS+:U_BITS];
    end
    assign plus2 = (AB'(signed'(y2s[i*(Y_BITS+KS_MAX)+:Y_BITS+KS_MAX])) <<< KY) + AB'(signed'(o2[i*O_BITS+:O_BITS]));
    bv_dot9 #(.A_BITS(U_BITS), .B_BITS(COEF_BITS), .C_BITS(AB), .P_BITS(AB), .KEEP(KEEP)) u_dot (
        .clk, .en({7{ce}} & v[7:1]), .a(tap), .b(word1[i*9*COEF_BITS+:9*COEF_BITS]), .c(plus2), .p(sum8), .zeros, .ones);
    bv_clip #(.IN_BITS(AB), .SHIFT(SH), .OUT_BITS(OUT_BITS)) u_clip (.x(sum8), .zeros, .ones, .y);
    assign sat8[i*OUT_BITS+:OUT_BITS] = y;
  end

  assign ce = (!out0_valid || out0_ready) && (!out1_valid || out1_ready);
  always_ff @(posedge clk) begin
    if (rst) begin
      v <= '0;
      out0_valid <= 1'b0;
      out1_valid <= 1'b0;
    end else if (ce) begin
      v <= {v[7:2], v[1] && use1, go};
      out0_valid <= v[8];
      out1_valid <= v[8];
    end else begin
      if (out0_ready) out0_valid <= 1'b0;
      if (out1_ready) out1_valid <= 1'b0;
    end
    if (ce) begin
      use1 <= col >= CW'(4);
      base1 <= base;
      fold1 <= fold;
      if (v[1]) begin
        y2 <= y1;
        {ks2, o2} <= (KSW + SIMD * O_BITS)'(word1[WORD-1:SIMD*9*COEF_BITS]);
        centre[2] <= taps1[UW-1:0];
      end
      for (int i = 2; i < 8; i++) if (v[i]) centre[i+1] <= centre[i];
      if (v[8]) begin
        out0_data <= sat8;
        out1_data <= centre[8];
      end
    end
  end
endmodule
