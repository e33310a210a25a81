// SPDX-License-Identifier: MIT
// Line buffer and window of a dilated 3x3 convolution: holds all taps of one output position for every dilation.
// Streams: in0 (HEIGHT + EXT) x WIDTH pixels, SIMD bits a beat. A ring of RING rows keeps whole pixels; per output position
// each of the 2*BRANCHES + 1 tap rows is read once, at the column where its newest tap lies, into a chain of registers.
// taps[d] = nine CHANNELS-bit pixels of dilation d in (kh, kw) order, kh = kw = 0 in the low bits; mask[d] = taps inside the
// map. They stand until `next`; a new position follows after 2*BRANCHES + 2 cycles at the earliest, and before each
// row max(dilation) more columns are read. Row order: output row j is map row (ROW0 + ROT + j) mod HEIGHT, its centre
// input row j + ROT.
module bv_conv_window #(
    parameter int HEIGHT    = 0,
    parameter int WIDTH     = 0,
    parameter int CHANNELS  = 0,
    parameter int EXT       = 0,
    parameter int ROW0      = 0,
    parameter int ROT       = 0,
    parameter int BRANCHES  = 1,
    parameter int DILATIONS = 0,
    parameter int SIMD      = 1
) (
    input  logic                                        clk,
    input  logic                                        rst,
    input  logic [SIMD-1:0]                             in0_data,
    input  logic                                        in0_valid,
    output logic                                        in0_ready,
    output logic [BRANCHES-1:0][8:0][CHANNELS-1:0]      taps,
    output logic [BRANCHES-1:0][8:0]                    mask,
    output logic                                        valid,
    input  logic                                        next,
    output logic                                        last  // last position of the frame
);
  function automatic int dilation(input int i);
    return (DILATIONS >> (8 * i)) & 255;
  endfunction
  function automatic int reach_of();
    int r;
    r = 0;
    for (int i = 0; i < BRANCHES; i++) if (dilation(i) > r) r = dilation(i);
    return r;
  endfunction
  localparam int REACH = reach_of();
  localparam int TOTAL = HEIGHT + EXT;
  localparam int WANTED = 2 * REACH + 3 + EXT;
  localparam int RING = WANTED < 2 * TOTAL ? WANTED : 2 * TOTAL;
  localparam int DEPTH = RING * WIDTH;
  localparam int NR = 2 * BRANCHES + 1;  // tap rows: the centre, then -d, +d of each dilation
  localparam int CI = CHANNELS / SIMD;
  // rows freed after an output row: one as soon as the window's first row is past row 0; the rest after the last row
  localparam int KEEP = REACH > ROT ? REACH - ROT : 0;
  localparam int FREED = HEIGHT - 1 > KEEP ? HEIGHT - 1 - KEEP : 0;
  localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam int RW = $clog2(RING + 1) > $clog2(TOTAL + 1) ? $clog2(RING + 1) : $clog2(TOTAL + 1);
  localparam int SW = $clog2(WIDTH + REACH);
  localparam int XW = WIDTH > 1 ? $clog2(WIDTH) : 1;
  localparam int YW = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
  localparam int KW = $clog2(NR);
  localparam int IW = CI > 1 ? $clog2(CI) : 1;
  // rows that must have arrived: the window of the first output row; for the last one the whole frame
  localparam int TOP0 = HEIGHT > 1 && ROT + REACH + 1 < TOTAL ? ROT + REACH + 1 : TOTAL;
  localparam int Y0 = (ROW0 + ROT) % HEIGHT;
  localparam int CENTRE0 = (ROT % RING) * WIDTH;
  initial if (HEIGHT < 1 || WIDTH < 1 || CI * SIMD != CHANNELS || BRANCHES < 1 || BRANCHES > 4 || REACH < 1)
    $error("bv_conv_window: HEIGHT=%0d WIDTH=%0d CHANNELS=%0d SIMD=%0d DILATIONS=%0h", HEIGHT, WIDTH, CHANNELS, SIMD,
           DILATIONS);

  // ---- writer ----------------------------------------------------------------------------------------------------------
  logic take, write_pixel, write_row, free;
  logic [RW-1:0] rows;  // complete rows that are still needed
  logic [RW-1:0] freeing;
  logic [IW-1:0] wpart;
  logic [XW-1:0] wcol;
  logic [AW-1:0] waddr;
  logic [CHANNELS-1:0] pixel;
  assign in0_ready = rows < RW'(RING);
  assign take = in0_valid && in0_ready;
  assign write_pixel = take && int'(wpart) == CI - 1;
  assign write_row = write_pixel && int'(wcol) == WIDTH - 1;
  if (CI == 1) begin : g_whole
    assign pixel = in0_data;
  end else begin : g_parts
    logic [CHANNELS-SIMD-1:0] part;
    assign pixel = {in0_data, part};
    always_ff @(posedge clk) if (take) part <= pixel[CHANNELS-1:SIMD];
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      rows <= '0;
      wpart <= '0;
      wcol <= '0;
      waddr <= '0;
    end else begin
      rows <= rows + RW'(write_row) - (free ? freeing : '0);
      if (take) wpart <= write_pixel ? '0 : IW'(wpart + 1'b1);
      if (write_pixel) begin
        wcol <= write_row ? '0 : XW'(wcol + 1'b1);
        waddr <= int'(waddr) == DEPTH - 1 ? '0 : AW'(waddr + 1'b1);
      end
    end
  end

  // ---- reader: step s brings the column x = s - REACH; steps below REACH only fill the chains ----------------------------
  logic issue, row_ok, last_k, last_s, last_row, busy, full, got;
  (* max_fanout = 512 *) logic shift;  // enables every chain
  logic [KW-1:0] k, got_k;
  logic [SW-1:0] step;
  logic [YW-1:0] row, y;
  logic [RW-1:0] top, freed;
  logic [AW-1:0] centre, base, raddr;
  logic [CHANNELS-1:0] rdata, stage[NR];
  logic [SW-1:0] stage_step;
  logic [YW-1:0] stage_y;
  logic stage_last;
  assign row_ok = rows >= top - freed;
  assign issue = row_ok && (k != '0 || !busy || shift);
  assign last_k = int'(k) == NR - 1;
  assign last_s = int'(step) == WIDTH + REACH - 1;
  assign last_row = int'(row) == HEIGHT - 1;
  assign free = issue && last_k && last_s;
  assign freeing = last_row ? RW'(TOTAL - FREED) : RW'(int'(row) >= KEEP ? 1 : 0);
  assign shift = full && (!valid || next);

  bv_ram #(.WIDTH(CHANNELS), .DEPTH(DEPTH)) u_ring (
      .clk, .we(write_pixel), .waddr, .wdata(pixel), .re(issue), .raddr, .rdata);

  // The ring address of a tap row's first column is formed one read ahead, from that of the centre row: centre + offset.
  // The column of tap row r at step s is s - REACH + d: its chain reaches from there 2d columns back.
  function automatic int reach_at(input int r);
    return r == 0 ? REACH : dilation((r - 1) / 2);
  endfunction
  function automatic int row_offset(input int r);  // of the row that follows tap row r - 1; NR: of the next centre row
    automatic int n = r == NR ? 1 : r == 0 ? 0 : r % 2 == 1 ? -reach_at(r) : reach_at(r);
    return ((n % RING + RING) % RING) * WIDTH;
  endfunction
  logic [AW-1:0] offset, moved, column[NR];
  logic [AW:0] wrapped;
  always_comb begin
    offset = AW'(last_row ? ((EXT + 1) % RING) * WIDTH : row_offset(NR));
    for (int r = 0; r < NR; r++) begin
      if (r > 0 && int'(k) == r - 1) offset = AW'(row_offset(r));
      column[r] = AW'(reach_at(r) - REACH);
    end
  end
  assign wrapped = (AW + 1)'(int'(centre) + int'(offset) - DEPTH);
  assign moved = wrapped[AW] ? centre + offset : wrapped[AW-1:0];
  assign raddr = base + AW'(step) + column[k];
  always_ff @(posedge clk) begin
    if (rst) begin
      centre <= AW'(CENTRE0);
      base <= AW'(CENTRE0);
    end else if (issue) begin
      base <= last_k && !last_s ? centre : moved;
      if (free) centre <= moved;
    end
  end

  for (genvar r = 0; r < NR; r++) begin : g_row
    localparam int D = reach_at(r);
    logic [CHANNELS-1:0] chain[2*D+1];  // with a reset, so that it is built of registers: LUTs are scarcer
    always_ff @(posedge clk) begin
      if (rst) for (int i = 0; i <= 2 * D; i++) chain[i] <= '0;
      else if (shift) begin
        chain[0] <= stage[r];
        for (int i = 1; i <= 2 * D; i++) chain[i] <= chain[i-1];
      end
    end
    for (genvar d = 0; d < BRANCHES; d++) begin : g_taps
      localparam int E = dilation(d);
      if (r == 0) begin : g_centre
        assign taps[d][3] = chain[D+E];
        assign taps[d][4] = chain[D];
        assign taps[d][5] = chain[D-E];
      end else if ((r - 1) / 2 == d) begin : g_side
        localparam int T = r % 2 == 1 ? 0 : 6;
        assign taps[d][T] = chain[2*D];
        assign taps[d][T+1] = chain[D];
        assign taps[d][T+2] = chain[0];
      end
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      k <= '0;
      step <= '0;
      row <= '0;
      y <= YW'(Y0);
      top <= RW'(TOP0);
      freed <= '0;
      busy <= 1'b0;
      full <= 1'b0;
      got <= 1'b0;
      valid <= 1'b0;
    end else begin
      got <= issue;
      if (issue) begin
        k <= last_k ? '0 : KW'(k + 1'b1);
        if (last_k) step <= last_s ? '0 : SW'(step + 1'b1);
      end
      if (free) begin
        row <= last_row ? '0 : YW'(row + 1'b1);
        y <= last_row ? YW'(Y0) : int'(y) == HEIGHT - 1 ? '0 : YW'(y + 1'b1);
        top <= last_row ? RW'(TOP0) : int'(row) == HEIGHT - 2 || int'(top) == TOTAL ? RW'(TOTAL) : top + 1'b1;
        freed <= last_row ? '0 : freed + freeing;
      end
      busy <= issue || (busy && !shift);
      full <= (got && int'(got_k) == NR - 1) || (full && !shift);
      if (shift) valid <= stage_step >= SW'(REACH);
      else if (next) valid <= 1'b0;
    end
    if (issue) begin
      got_k <= k;
      if (last_k) begin
        stage_step <= step;
        stage_y <= y;
        stage_last <= last_s && last_row;
      end
    end
    if (got) stage[got_k] <= rdata;
  end

  // ---- position of the window: which taps lie inside the map -----------------------------------------------------------
  for (genvar d = 0; d < BRANCHES; d++) begin : g_mask
    localparam int E = dilation(d);
    logic left, right, up, down;
    always_ff @(posedge clk) if (shift) begin
      left <= int'(stage_step) >= REACH + E;
      right <= int'(stage_step) < WIDTH + REACH - E;
      up <= int'(stage_y) >= E;
      down <= int'(stage_y) < HEIGHT - E;
    end
    logic [2:0] across;
    assign across = {right, 1'b1, left};
    assign mask[d] = {across & {3{down}}, across, across & {3{up}}};
  end
  always_ff @(posedge clk) if (shift) last <= stage_last;
endmodule
