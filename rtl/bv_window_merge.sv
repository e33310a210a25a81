// SPDX-License-Identifier: MIT
// Window tokens back to a map, blended with the merge tokens summed over all windows:
//   R = sat(((pa[c]*L << KA) + pb[c]*Msum[cell] + o[c]) >> SH), cell = the window that the token lies in
// Streams: in0 per window (row-major) WINDOW^2 tokens, then one merge token per cell; out0 HEIGHT x WIDTH tokens in raster
// order starting at map row ROW0; SIMD elements of BITS bits a beat, channel-minor. The buffer holds a frame and two window
// rows (bv_slots). One beat per cycle, latency one frame + 5. Constants word: pa, pb, o. Checked: parameters at time 0.
module bv_window_merge #(
    parameter int HEIGHT    = 0,
    parameter int WIDTH     = 0,
    parameter int CHANNELS  = 0,
    parameter int WINDOW    = 0,
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
  localparam int RUN = WINDOW * CF;      // words of a window row
  localparam int CELLS = NH * NW * CF;   // words of the merge tokens of a window
  localparam int CELL0 = (ROW0 / WINDOW) * NW * CF;  // first cell word of the first output row
  localparam int WINDOWS = NH * NW;
  localparam int SEGMENTS = HEIGHT * NW;  // window rows of a frame; segment of map row y, window column x: y*NW + x
  localparam int SLOTS = SEGMENTS > 1 ? SEGMENTS + 2 : 2;
  localparam int SB = BITS + $clog2(WINDOWS);
  localparam int WORD = SIMD * (2 * COEF_BITS + O_BITS);
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  localparam int XW = WIDTH > 1 ? $clog2(WIDTH) : 1;
  localparam int YW = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
  localparam int NB = $clog2(WINDOW + 1);
  localparam int IW = $clog2(NH + 1);
  localparam int JW = $clog2(NW + 1);
  localparam int AW = SLOTS * RUN > 1 ? $clog2(SLOTS * RUN) : 1;
  localparam int RW = $clog2(RUN + 1);
  localparam int TW = SEGMENTS > 1 ? $clog2(SEGMENTS) : 1;
  localparam int MW = CELLS > 1 ? $clog2(CELLS) : 1;
  localparam int KW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  initial if (HEIGHT < 1 || NH * WINDOW != HEIGHT || NW * WINDOW != WIDTH || CF * SIMD != CHANNELS || BITS < 1)
    $error("bv_window_merge: HEIGHT=%0d WIDTH=%0d CHANNELS=%0d WINDOW=%0d SIMD=%0d", HEIGHT, WIDTH, CHANNELS, WINDOW,
           SIMD);

  logic ce, take, release_bank;
  logic [1:0] used, full;  // banks as the writer and as the reader see them
  logic wbank, rbank, bank1;

  // ---- writer ----------------------------------------------------------------------------------------------------------
  logic [TW-1:0] wseg, window, band;  // segment, first one of its window and of its row of windows
  logic [AW-1:0] wbase;
  logic wvalid, wdone;
  logic [RW-1:0] run;
  logic [NB-1:0] r;
  logic [MW-1:0] maddr;
  logic [JW-1:0] wc;
  logic [IW-1:0] wr;
  logic [2:0] done, done_bank;  // end of a frame on its way through the sums
  logic merging, last_run, last_r, last_cell, last_wc, last_wr, wlast;
  assign in0_ready = !used[wbank] && (merging || wvalid);
  assign wdone = take && !merging && last_run;
  assign take = in0_valid && in0_ready;
  assign last_run = int'(run) == RUN - 1;
  assign last_r = int'(r) == WINDOW - 1;
  assign last_cell = merging && int'(maddr) == CELLS - 1;
  assign last_wc = int'(wc) == NW - 1;
  assign last_wr = int'(wr) == NH - 1;
  assign wlast = last_cell && last_wc && last_wr;

  always_ff @(posedge clk) begin
    if (rst) begin
      wbank <= 1'b0;
      {wseg, window, band} <= '0;
      run <= '0;
      r <= '0;
      maddr <= '0;
      wc <= '0;
      wr <= '0;
      merging <= 1'b0;
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
      if (take && !merging) begin
        run <= last_run ? '0 : RW'(run + 1'b1);
        if (last_run) begin
          r <= last_r ? '0 : r + 1'b1;
          merging <= last_r;
          if (!last_r) wseg <= TW'(int'(wseg) + NW);
        end
      end
      if (take && merging) begin
        maddr <= last_cell ? '0 : MW'(maddr + 1'b1);
        if (last_cell) begin
          merging <= 1'b0;
          wc <= last_wc ? '0 : wc + 1'b1;
          window <= TW'(window + 1'b1);
          wseg <= TW'(window + 1'b1);
          if (last_wc) begin
            band <= wlast ? '0 : TW'(int'(band) + WINDOW * NW);
            window <= wlast ? '0 : TW'(int'(band) + WINDOW * NW);
            wseg <= wlast ? '0 : TW'(int'(band) + WINDOW * NW);
            wr <= last_wr ? '0 : wr + 1'b1;
          end
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
  logic [XW-1:0] x;
  logic [YW-1:0] y;  // map row
  logic [NB-1:0] in_x, in_y;  // position in the window
  logic [MW-1:0] cell_row, cell_col;  // word of the cell: cell_row + cell_col + fold
  logic [YW-1:0] row;
  logic go, last_fold, last_x, last_y, last;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  assign last_fold = int'(fold) == CF - 1;
  assign last_x = last_fold && int'(x) == WIDTH - 1;
  assign last_y = int'(y) == HEIGHT - 1;
  assign last = last_x && int'(row) == HEIGHT - 1;

  // the place of the next segment is looked up while the current one is read
  logic loaded, load, nbank, free;
  assign go = loaded;
  logic [AW-1:0] addr, base, nbase;  // word to read, first word of its segment and of the next one
  logic [TW-1:0] nseg, ncount;       // next segment and how many of its frame come before it
  assign free = ce && go && last_fold && int'(in_x) == WINDOW - 1;
  assign load = (!loaded || free) && full[nbank];
  bv_slots #(.SEGMENTS(SEGMENTS), .SLOTS(SLOTS), .RUN(RUN)) u_slots (
      .clk, .rst, .wbase, .wvalid, .wdone, .wbank, .wseg, .rbank(nbank), .rseg(nseg), .rbase(nbase), .free, .fbase(base));
  always_ff @(posedge clk) begin
    if (rst) begin
      loaded <= 1'b0;
      nbank <= 1'b0;
      nseg <= TW'(ROW0 * NW);
      {ncount, addr, base} <= '0;
    end else begin
      if (load) loaded <= 1'b1;
      else if (free) loaded <= 1'b0;
      if (load) begin
        addr <= nbase;
        base <= nbase;
        nseg <= int'(nseg) == SEGMENTS - 1 ? '0 : TW'(nseg + 1'b1);
        ncount <= int'(ncount) == SEGMENTS - 1 ? '0 : TW'(ncount + 1'b1);
        if (int'(ncount) == SEGMENTS - 1) nbank <= !nbank;
      end else if (ce && go) addr <= AW'(addr + 1'b1);
    end
  end

  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (.clk, .rst, .schedule, .frame_done(ce && go && last), .set);

  always_ff @(posedge clk) begin
    if (rst) begin
      rbank <= 1'b0;
      fold <= '0;
      x <= '0;
      y <= YW'(ROW0);
      in_x <= '0;
      in_y <= NB'(ROW0 % WINDOW);
      cell_row <= MW'(CELL0);
      cell_col <= '0;
      row <= '0;
    end else if (ce && go) begin
      fold <= last_fold ? '0 : FW'(fold + 1'b1);
      if (last_fold) begin
        x <= last_x ? '0 : XW'(x + 1'b1);
        in_x <= int'(in_x) == WINDOW - 1 ? '0 : in_x + 1'b1;
        cell_col <= last_x ? '0 : int'(in_x) == WINDOW - 1 ? MW'(int'(cell_col) + CF) : cell_col;
      end
      if (last_x) begin
        row <= last ? '0 : YW'(row + 1'b1);
        y <= last_y ? '0 : YW'(y + 1'b1);
        in_y <= int'(in_y) == WINDOW - 1 ? '0 : in_y + 1'b1;
        cell_row <= last_y ? '0 : int'(in_y) == WINDOW - 1 ? MW'(int'(cell_row) + NW * CF) : cell_row;
      end
      if (last) rbank <= !rbank;
    end
  end

  // ---- memories (stage 1), blend (2, 3), output (4) ---------------------------------------------------------------------
  logic v1, v2, v3, v4, last1;
  logic [SIMD*BITS-1:0] x1, merged, unused_peak;
  logic [SIMD*SB-1:0] sum1;
  logic [WORD-1:0] word1;
  bv_ram #(.WIDTH(SIMD * BITS), .DEPTH(SLOTS * RUN), .STYLE(FRAME_STYLE)) u_frame (
      .clk, .we(take && !merging), .waddr(AW'(wbase + AW'(run))), .wdata(in0_data), .re(ce && go), .raddr(addr), .rdata(x1));
  bv_cell_sums #(.STYLE(CELLS_STYLE), .DEPTH(CELLS), .SIMD(SIMD), .X_BITS(BITS), .SUM_BITS(SB), .MAX(0)) u_cells (
      .clk, .rst, .add(take && merging), .add_bank(wbank), .add_first(wc == '0 && wr == '0), .add_addr(maddr),
      .add_x(in0_data), .re(ce && go), .rbank, .raddr(MW'(int'(cell_row) + int'(cell_col) + int'(fold))), .sum(sum1),
      .peak(unused_peak));
  bv_rom #(.WIDTH(WORD), .DEPTH(SETS * CF), .FILE(BLEND_FILE), .STYLE(BLEND_STYLE)) u_rom (
      .clk, .en(ce && go), .addr(KW'(int'(set) * CF + int'(fold))), .data(word1));
  bv_blend #(
      .SIMD(SIMD), .X_BITS(BITS), .S_BITS(SB), .COEF_BITS(COEF_BITS), .O_BITS(O_BITS), .KA(KA), .SH(SH), .OUT_BITS(BITS)
  ) u_blend (.clk, .en(ce && v1), .en2(ce && v2), .en3(ce && v3), .x(x1), .s(sum1), .params(word1), .y(merged));

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
      last1 <= last;
      bank1 <= rbank;
      if (v4) out0_data <= merged;
    end
  end
  logic unused;
  assign unused = &{1'b0, unused_peak};
endmodule
