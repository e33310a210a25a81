// SPDX-License-Identifier: MIT
// Cuts a map into PATCH x PATCH patches, one output token each, with channels in the order (kh, kw, c).
// Two strips of PATCH rows are buffered: one is written in raster order while the other is read patch by patch.
// A pixel is FOLDS opaque beats of BITS bits, or a beat is PIXELS neighbours of a row (FOLDS 1; they are never in two patches);
// COLUMNS is the width of the map in pixels, whose height needs no counter because it is a multiple of PATCH. One beat per
// cycle, latency one strip. Checked: divisibility.
module bv_patchify #(
    parameter int COLUMNS = 0,
    parameter int PATCH   = 0,
    parameter int FOLDS   = 0,
    parameter int PIXELS  = 1,
    parameter int BITS    = 0,
    parameter RAM_STYLE   = "auto"
) (
    input  logic            clk,
    input  logic            rst,
    input  logic [BITS-1:0] in0_data,
    input  logic            in0_valid,
    output logic            in0_ready,
    output logic [BITS-1:0] out0_data,
    output logic            out0_valid,
    input  logic            out0_ready
);
  localparam int ROW = COLUMNS * FOLDS / PIXELS;  // beats of a row
  localparam int RUN = PATCH * FOLDS / PIXELS;    // beats of one row of a patch
  localparam int STRIP = PATCH * ROW;
  localparam int PATCHES = COLUMNS / PATCH;
  localparam int AW = $clog2(2 * STRIP);
  localparam int RW = RUN > 1 ? $clog2(RUN) : 1;
  localparam int HW = PATCH > 1 ? $clog2(PATCH) : 1;
  localparam int PW = PATCHES > 1 ? $clog2(PATCHES) : 1;
  initial if (PATCH < 1 || FOLDS < 1 || BITS < 1 || PATCHES < 1 || PATCHES * PATCH != COLUMNS || PIXELS < 1
              || PATCH % PIXELS != 0 || (PIXELS > 1 && FOLDS > 1))
    $error("bv_patchify: COLUMNS=%0d PATCH=%0d FOLDS=%0d PIXELS=%0d BITS=%0d", COLUMNS, PATCH, FOLDS, PIXELS, BITS);

  logic [1:0] full;
  logic wbank, rbank, push, re, ce, valid1, end_strip0, end_strip1, last_k, last_h, last_patch, end_read;
  logic [AW-1:0] waddr, raddr;
  logic [RW-1:0] k;      // beat in the run
  logic [HW-1:0] h;      // row of the patch
  logic [PW-1:0] patch;  // patch of the strip
  logic [BITS-1:0] word;

  assign in0_ready = !full[wbank];
  assign push = in0_valid && in0_ready;
  assign end_strip0 = waddr == AW'(STRIP - 1);
  assign end_strip1 = waddr == AW'(2 * STRIP - 1);
  assign ce = !out0_valid || out0_ready;
  assign re = ce && full[rbank];
  assign last_k = k == RW'(RUN - 1);
  assign last_h = h == HW'(PATCH - 1);
  assign last_patch = patch == PW'(PATCHES - 1);
  assign end_read = re && last_k && last_h && last_patch;

  bv_ram #(.WIDTH(BITS), .DEPTH(2 * STRIP), .STYLE(RAM_STYLE)) u_ram (
      .clk, .we(push), .waddr, .wdata(in0_data), .re, .raddr, .rdata(word));

  always_ff @(posedge clk) begin
    if (rst) begin
      full <= '0;
      {wbank, rbank, valid1, out0_valid} <= '0;
      waddr <= '0;
      raddr <= '0;
      k <= '0;
      h <= '0;
      patch <= '0;
    end else begin
      if (push) begin
        waddr <= end_strip1 ? '0 : AW'(waddr + 1'b1);
        if (end_strip0 || end_strip1) begin
          full[wbank] <= 1'b1;
          wbank <= !wbank;
        end
      end
      if (re) begin
        k <= last_k ? '0 : RW'(k + 1'b1);
        if (last_k) h <= last_h ? '0 : HW'(h + 1'b1);
        if (last_k && last_h) patch <= last_patch ? '0 : PW'(patch + 1'b1);
        if (!last_k) raddr <= AW'(raddr + 1'b1);
        else if (!last_h) raddr <= AW'(raddr + AW'(ROW - RUN + 1));             // same patch, next row
        else if (!last_patch) raddr <= AW'(raddr + AW'(1 - (PATCH - 1) * ROW));  // next patch, first row
        else raddr <= rbank ? '0 : AW'(STRIP);
      end
      if (end_read) begin
        full[rbank] <= 1'b0;
        rbank <= !rbank;
      end
      if (ce) begin
        valid1 <= re;
        out0_valid <= valid1;
      end
    end
    if (ce) out0_data <= word;
  end
endmodule
