// SPDX-License-Identifier: MIT
// Windows of a map, each followed by the same merge tokens, one per pooling cell:
//   merge[cell] = sat(((ca[c]*max << KA) + cb[c]*sum + o[c]) >> SH), cells of WINDOW x WINDOW shifted by PADDING and clipped
// Streams: in0 HEIGHT x WIDTH tokens, first row = map row ROW0; out0 per window (row-major) WINDOW^2 tokens (row-major), then
// the merge tokens (row-major); SIMD elements of BITS bits a beat, channel-minor. The buffer holds a frame and two window
// rows (bv_slots); cells are pooled while the frame arrives. One beat per cycle, latency one frame + 5.
// Constants word: ca, cb, o. Checked: parameters at time 0.
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
    parameter FRAME_STYLE   = "auto",
    parameter CELLS_STYLE   = "auto",
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
  localparam int NH = HEIGHT / WINDOW;
  localparam int NW = WIDTH / WINDOW;
  localparam int RUN = WINDOW * CF;               // words of a window row
  localparam int CELLS = NH * NW * CF;            // words of the merge tokens
  localparam int SEGMENTS = HEIGHT * NW;          // window rows of a frame; segment of map row y, window column x: y*NW + x
  localparam int SLOTS = SEGMENTS > 1 ? SEGMENTS + 2 : 2;
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
  localparam int AW = SLOTS * RUN > 1 ? $clog2(SLOTS * RUN) : 1;
  localparam int RW = $clog2(RUN + 1);
  localparam int TW = SEGMENTS > 1 ? $clog2(SEGMENTS) : 1;
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
  logic [RW-1:0] wrun;  // word of the window row
  logic [TW-1:0] wseg;
  logic [AW-1:0] wbase;
  logic wvalid, wdone;
  logic [2:0] done, done_bank;  // end of a frame on its way through the pooling pipeline
  logic wlast_fold, wlast_x, wlast, first_row, first_col;
  assign in0_ready = !used[wbank] && wvalid;
  assign wdone = take && int'(wrun) == RUN - 1;
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
      wrun <= '0;
      wseg <= TW'(ROW0 * NW);
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
        wrun <= wdone ? '0 : RW'(wrun + 1'b1);
        if (wdone) wseg <= int'(wseg) == SEGMENTS - 1 ? '0 : TW'(wseg + 1'b1);
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
  logic [RW-1:0] run;
  logic [NB-1:0] r;
  logic [MW-1:0] maddr;
  logic [JW-1:0] wc;
  logic [IW-1:0] wr;
  logic go, merging, last_run, last_r, last_cell, last_wc, last_wr, last;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  assign last_run = int'(run) == RUN - 1;
  assign last_r = int'(r) == WINDOW - 1;
  assign last_cell = merging && int'(maddr) == CELLS - 1;
  assign last_wc = int'(wc) == NW - 1;
  assign last_wr = int'(wr) == NH - 1;
  assign last = last_cell && last_wc && last_wr;

  // the place of the next segment is looked up while the current one is read
  logic loaded, load, nbank, free, nlast_r, nlast_wc;
  assign go = merging || loaded;
  logic [AW-1:0] addr, base, nbase;  // word to read, first word of its segment and of the next one
  logic [TW-1:0] nseg, nwindow, nband;  // next segment, first one of its window and of its row of windows
  logic [NB-1:0] nr;
  logic [JW-1:0] nwc;
  assign free = ce && go && !merging && last_run;
  assign load = (!loaded || free) && full[nbank];
  assign nlast_r = int'(nr) == WINDOW - 1;
  assign nlast_wc = int'(nwc) == NW - 1;
  bv_slots #(.SEGMENTS(SEGMENTS), .SLOTS(SLOTS), .RUN(RUN)) u_slots (
      .clk, .rst, .wbase, .wvalid, .wdone, .wbank, .wseg, .rbank(nbank), .rseg(nseg), .rbase(nbase), .free, .fbase(base));
  always_ff @(posedge clk) begin
    if (rst) begin
      loaded <= 1'b0;
      nbank <= 1'b0;
      {nseg, nwindow, nband, nr, nwc, addr, base} <= '0;
    end else begin
      if (load) loaded <= 1'b1;
      else if (free) loaded <= 1'b0;
      if (load) begin
        addr <= nbase;
        base <= nbase;
        nr <= nlast_r ? '0 : nr + 1'b1;
        nseg <= TW'(int'(nseg) + NW);
        if (nlast_r) begin
          nwc <= nlast_wc ? '0 : nwc + 1'b1;
          nwindow <= TW'(nwindow + 1'b1);
          nseg <= TW'(nwindow + 1'b1);
          if (nlast_wc) begin
            nband <= int'(nband) == (HEIGHT - WINDOW) * NW ? '0 : TW'(int'(nband) + WINDOW * NW);
            nwindow <= int'(nband) == (HEIGHT - WINDOW) * NW ? '0 : TW'(int'(nband) + WINDOW * NW);
            nseg <= int'(nband) == (HEIGHT - WINDOW) * NW ? '0 : TW'(int'(nband) + WINDOW * NW);
            if (int'(nband) == (HEIGHT - WINDOW) * NW) nbank <= !nbank;
          end
        end
      end else if (ce && go && !merging) addr <= AW'(addr + 1'b1);
    end
  end

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (.clk, .rst, .schedule, .frame_done(ce && go && last), .set);

  always_ff @(posedge clk) begin
    if (rst) begin
      rbank <= 1'b0;
      fold <= '0;
      run <= '0;
      r <= '0;
      maddr <= '0;
      wc <= '0;
      wr <= '0;
      merging <= 1'b0;
    end else if (ce && go) begin
      fold <= int'(fold) == CF - 1 ? '0 : FW'(fold + 1'b1);
      if (!merging) begin
        run <= last_run ? '0 : RW'(run + 1'b1);
        if (last_run) begin
          r <= last_r ? '0 : r + 1'b1;
          merging <= last_r;
        end
      end else begin
        maddr <= last_cell ? '0 : MW'(maddr + 1'b1);
        if (last_cell) begin
          merging <= 1'b0;
          wc <= last_wc ? '0 : wc + 1'b1;
          if (last_wc) wr <= last_wr ? '0 : wr + 1'b1;
        end
        if (last) rbank <= !rbank;
      end
    end
  end

  // ---- memories (stage 1), blend (2, 3), output (4) ---------------------------------------------------------------------
  logic v1, v2, v3, v4, merge1, merge2, merge3, merge4, last1;
  logic [SIMD*BITS-1:0] x1, x2, x3, x4, peak1, merged;
  logic [SIMD*SB-1:0] sum1;
  logic [WORD-1:0] word1;
  bv_ram #(.WIDTH(SIMD * BITS), .DEPTH(SLOTS * RUN), .STYLE(FRAME_STYLE)) u_frame (
      .clk, .we(take), .waddr(AW'(wbase + AW'(wrun))), .wdata(in0_data), .re(ce && go && !merging), .raddr(addr), .rdata(x1));
  bv_cell_sums #(.STYLE(CELLS_STYLE), .DEPTH(CELLS), .SIMD(SIMD), .X_BITS(BITS), .SUM_BITS(SB)) u_cells (
      .clk, .rst, .add(take && int'(cell_x) < NW && int'(cell_y) < NH), .add_bank(wbank),
      .add_first(first_row && first_col), .add_addr(MW'((int'(cell_y) * NW + int'(cell_x)) * CF + int'(wfold))),
      .add_x(in0_data), .re(ce && go && merging), .rbank, .raddr(maddr), .sum(sum1), .peak(peak1));
  bv_rom #(.WIDTH(WORD), .DEPTH(SETS * CF), .FILE(BLEND_FILE), .STYLE(BLEND_STYLE)) u_rom (
      .clk, .en(ce && go && merging), .addr(KW'(int'(set) * CF + int'(fold))), .data(word1));
  bv_blend #(
      .SIMD(SIMD), .X_BITS(BITS), .S_BITS(SB), .COEF_BITS(COEF_BITS), .O_BITS(O_BITS), .KA(KA), .SH(SH), .OUT_BITS(BITS)
  ) u_blend (.clk, .en(ce && v1 && merge1), .en2(ce && v2 && merge2), .en3(ce && v3 && merge3),
            .x(peak1), .s(sum1), .params(word1), .y(merged));

  assign ce = !out0_valid || out0_ready;
  assign release_bank = ce && v1 && last1;  // the last word has left the memories
  always_ff @(posedge clk) begin
    if (rst) begin
      v1 <= 1'b0;
      v2 <= 1'b0;
      v3 <= 1'b0;
      v4 <= 1'b0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      v1 <= go;
      v2 <= v1;
      v3 <= v2;
      v4 <= v3;
      out0_valid <= v4;
    end
    if (ce) begin
      merge1 <= merging;
      merge2 <= merge1;
      merge3 <= merge2;
      merge4 <= merge3;
      last1 <= last;
      bank1 <= rbank;
      if (v1) x2 <= x1;
      if (v2) x3 <= x2;
      if (v3) x4 <= x3;
      if (v4) out0_data <= merge4 ? merged : x4;
    end
  end
endmodule
