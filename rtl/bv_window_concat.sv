// SPDX-License-Identifier: MIT
// Windows of a map, each followed by the same merge tokens, one per pooling cell:
//   merge[cell] = sat(((ca[c]*max << KA) + cb[c]*sum + o[c]) >> SH), cells of WINDOW x WINDOW shifted by PADDING and clipped
// Streams: in0 HEIGHT x WIDTH tokens, first row = map row ROW0; out0 per window (row-major) WINDOW^2 tokens (row-major), then
// the merge tokens (row-major); SIMD elements of BITS bits a beat, channel-minor. Two frame banks; cells are pooled while
// the frame arrives. One beat per cycle, latency one frame + 5. Constants word: ca, cb, o. Checked: parameters at time 0.
module bv_window_concat #(
    parameter int HEIGHT    = 0,
    parameter int WIDTH     = 0,
    parameter int CHANNELS  = 0,
    parameter int WINDOW    = 0,
    parameter int PADDING   = 0,
    parameter int ROW0      = 0,
    parameter int BITS      = 0,
    parameter int COEF_BITS = 0,
    parameter int O_BITS    = 0,
    parameter int KA        = 0,
    parameter int SH        = 0,
    parameter int SIMD      = 1,
    parameter int SETS      = 1,
    parameter int REPEAT    = 1,
    parameter BLEND_FILE    = "",
    parameter BLEND_STYLE   = "auto"
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [63:0]          schedule = 64'd0,
    input  logic [SIMD*BITS-1:0] in0_data,
    input  logic                 in0_valid,
    output logic                 in0_ready,
    output logic [SIMD*BITS-1:0] out0_data,
    output logic                 out0_valid,
    input  logic                 out0_ready
);
  localparam int CF = CHANNELS / SIMD;
  localparam int ROW = WIDTH * CF;
  localparam int FRAME = HEIGHT * ROW;
  localparam int NH = HEIGHT / WINDOW;
  localparam int NW = WIDTH / WINDOW;
  localparam int RUN = WINDOW * CF;               // words of a window row
  localparam int CELLS = NH * NW * CF;            // words of the merge tokens
  localparam int FIRST = ((HEIGHT - ROW0) % HEIGHT) * ROW;  // address of map row 0
  localparam int CELL0 = (ROW0 + PADDING) / WINDOW;         // cell row of the first row that arrives
  localparam int PIXELS = WINDOW * WINDOW;
  localparam int SB = BITS + $clog2(PIXELS);
  localparam int WORD = SIMD * (2 * COEF_BITS + O_BITS);
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  localparam int XW = WIDTH > 1 ? $clog2(WIDTH) : 1;
  localparam int YW = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
  localparam int NB = $clog2(WINDOW + 1);
  localparam int IW = $clog2(NH + 2);
  localparam int JW = $clog2(NW + 2);
  localparam int AW = FRAME > 1 ? $clog2(FRAME) : 1;
  localparam int BW = $clog2(2 * FRAME);
  localparam int MW = CELLS > 1 ? $clog2(CELLS) : 1;
  localparam int KW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  initial if (HEIGHT < 1 || NH * WINDOW != HEIGHT || NW * WINDOW != WIDTH || CF * SIMD != CHANNELS || BITS < 1)
    $error("bv_window_concat: HEIGHT=%0d WIDTH=%0d CHANNELS=%0d WINDOW=%0d SIMD=%0d", HEIGHT, WIDTH, CHANNELS, WINDOW,
           SIMD);

  logic ce, take, release_bank;
  logic [1:0] used, full;  // banks as the writer and as the reader see them
  logic wbank, rbank, bank1;

  // ---- writer and pooling ----------------------------------------------------------------------------------------------
  logic [FW-1:0] wfold;
  logic [XW-1:0] wx;
  logic [YW-1:0] wrow, wy;  // arrival index and map row
  logic [NB-1:0] in_x, in_y;  // position in the cell
  logic [JW-1:0] cell_x;
  logic [IW-1:0] cell_y;
  logic [AW-1:0] waddr;
  logic [2:0] done, done_bank;  // end of a frame on its way through the pooling pipeline
  logic wlast_fold, wlast_x, wlast, first_row, first_col;
  assign in0_ready = !used[wbank];
  assign take = in0_valid && in0_ready;
  assign wlast_fold = int'(wfold) == CF - 1;
  assign wlast_x = wlast_fold && int'(wx) == WIDTH - 1;
  assign wlast = wlast_x && int'(wrow) == HEIGHT - 1;
  assign first_col = in_x == '0 || wx == '0;
  assign first_row = int'(cell_y) == CELL0 ? wrow == '0 : in_y == '0 || wy == '0;

  always_ff @(posedge clk) begin
    if (rst) begin
      wbank <= 1'b0;
      wfold <= '0;
      wx <= '0;
      wrow <= '0;
      wy <= YW'(ROW0);
      in_x <= NB'(PADDING % WINDOW);
      in_y <= NB'((ROW0 + PADDING) % WINDOW);
      cell_x <= '0;
      cell_y <= IW'(CELL0);
      waddr <= '0;
      done <= '0;
      used <= '0;
      full <= '0;
    end else begin
      done <= {done[1:0], take && wlast};
      done_bank <= {done_bank[1:0], wbank};
      if (done[2]) full[done_bank[2]] <= 1'b1;
      if (release_bank) begin
        full[bank1] <= 1'b0;
        used[bank1] <= 1'b0;
      end
      if (take) begin
        wfold <= wlast_fold ? '0 : FW'(wfold + 1'b1);
        waddr <= wlast ? '0 : AW'(waddr + 1'b1);
        if (wlast_fold) begin
          wx <= wlast_x ? '0 : XW'(wx + 1'b1);
          in_x <= wlast_x ? NB'(PADDING % WINDOW) : int'(in_x) == WINDOW - 1 ? '0 : in_x + 1'b1;
          cell_x <= wlast_x ? '0 : int'(in_x) == WINDOW - 1 ? cell_x + 1'b1 : cell_x;
        end
        if (wlast_x) begin
          wrow <= wlast ? '0 : YW'(wrow + 1'b1);
          wy <= int'(wy) == HEIGHT - 1 ? '0 : YW'(wy + 1'b1);
          in_y <= int'(wy) == HEIGHT - 1 ? NB'(PADDING % WINDOW) : int'(in_y) == WINDOW - 1 ? '0 : in_y + 1'b1;
          cell_y <= int'(wy) == HEIGHT - 1 ? '0 : int'(in_y) == WINDOW - 1 ? cell_y + 1'b1 : cell_y;
        end
        if (wlast) begin
          used[wbank] <= 1'b1;
          wbank <= !wbank;
        end
      end
    end
  end

  // ---- reader ----------------------------------------------------------------------------------------------------------
  logic [FW-1:0] fold;
  logic [AW-1:0] rowstart, band;  // first word of the current row and of the first row of the window
  logic [AW-1:0] next_row, off, off0;  // word in the row; its value at the first column of the window
  logic [NB-1:0] r;
  logic [MW-1:0] maddr;
  logic [JW-1:0] wc;
  logic [IW-1:0] wr;
  logic go, merging, last_run, last_r, last_cell, last_wc, last_wr, last;
  logic [AW-1:0] run;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  assign go = full[rbank];
  assign last_run = int'(run) == RUN - 1;
  assign last_r = int'(r) == WINDOW - 1;
  assign last_cell = merging && int'(maddr) == CELLS - 1;
  assign last_wc = int'(wc) == NW - 1;
  assign last_wr = int'(wr) == NH - 1;
  assign last = last_cell && last_wc && last_wr;
  assign next_row = AW'(int'(rowstart) >= FRAME - ROW ? int'(rowstart) - (FRAME - ROW) : int'(rowstart) + ROW);

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (.clk, .rst, .schedule, .frame_done(ce && go && last), .set);

  always_ff @(posedge clk) begin
    if (rst) begin
      rbank <= 1'b0;
      fold <= '0;
      rowstart <= AW'(FIRST);
      band <= AW'(FIRST);
      off <= '0;
      off0 <= '0;
      run <= '0;
      r <= '0;
      maddr <= '0;
      wc <= '0;
      wr <= '0;
      merging <= 1'b0;
    end else if (ce && go) begin
      fold <= int'(fold) == CF - 1 ? '0 : FW'(fold + 1'b1);
      if (!merging) begin
        run <= last_run ? '0 : AW'(run + 1'b1);
        off <= last_run ? off0 : AW'(off + 1'b1);
        if (last_run) begin
          r <= last_r ? '0 : r + 1'b1;
          merging <= last_r;
          if (!last_r) rowstart <= next_row;
        end
      end else begin
        maddr <= last_cell ? '0 : MW'(maddr + 1'b1);
        if (last_cell) begin
          merging <= 1'b0;
          wc <= last_wc ? '0 : wc + 1'b1;
          off0 <= last_wc ? '0 : AW'(int'(off0) + RUN);
          off <= last_wc ? '0 : AW'(int'(off0) + RUN);
          rowstart <= last_wc ? next_row : band;
          if (last_wc) begin
            band <= next_row;
            wr <= last_wr ? '0 : wr + 1'b1;
          end
        end
        if (last) rbank <= !rbank;
      end
    end
  end

  // ---- memories (stage 1), blend (2, 3), output (4) ---------------------------------------------------------------------
  logic v1, v2, v3, merge1, merge2, merge3, last1;
  logic [SIMD*BITS-1:0] x1, x2, x3, peak1, merged;
  logic [SIMD*SB-1:0] sum1;
  logic [WORD-1:0] word1;
  bv_ram #(.WIDTH(SIMD * BITS), .DEPTH(2 * FRAME)) u_frame (
      .clk, .we(take), .waddr(BW'(int'(waddr) + (wbank ? FRAME : 0))), .wdata(in0_data), .re(ce && go && !merging),
      .raddr(BW'(int'(rowstart) + int'(off) + (rbank ? FRAME : 0))), .rdata(x1));
  bv_cell_sums #(.DEPTH(CELLS), .SIMD(SIMD), .X_BITS(BITS), .SUM_BITS(SB)) u_cells (
      .clk, .rst, .add(take && int'(cell_x) < NW && int'(cell_y) < NH), .add_bank(wbank),
      .add_first(first_row && first_col), .add_addr(MW'((int'(cell_y) * NW + int'(cell_x)) * CF + int'(wfold))),
      .add_x(in0_data), .re(ce && go && merging), .rbank, .raddr(maddr), .sum(sum1), .peak(peak1));
  bv_rom #(.WIDTH(WORD), .DEPTH(SETS * CF), .FILE(BLEND_FILE), .STYLE(BLEND_STYLE)) u_rom (
      .clk, .en(ce && go && merging), .addr(KW'(int'(set) * CF + int'(fold))), .data(word1));
  bv_blend #(
      .SIMD(SIMD), .X_BITS(BITS), .S_BITS(SB), .COEF_BITS(COEF_BITS), .O_BITS(O_BITS), .KA(KA), .SH(SH), .OUT_BITS(BITS)
  ) u_blend (.clk, .en(ce && v1 && merge1), .en2(ce && v2 && merge2), .x(peak1), .s(sum1), .params(word1), .y(merged));

  assign ce = !out0_valid || out0_ready;
  assign release_bank = ce && v1 && last1;  // the last word has left the memories
  always_ff @(posedge clk) begin
    if (rst) begin
      v1 <= 1'b0;
      v2 <= 1'b0;
      v3 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      v1 <= go;
      v2 <= v1;
      v3 <= v2;
      out0_valid <= v3;
    end
    if (ce) begin
      merge1 <= merging;
      merge2 <= merge1;
      merge3 <= merge2;
      last1 <= last;
      bank1 <= rbank;
      if (v1) x2 <= x1;
      if (v2) x3 <= x2;
      if (v3) out0_data <= merge3 ? merged : x3;
    end
  end
endmodule
