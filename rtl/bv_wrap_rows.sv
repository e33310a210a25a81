// SPDX-License-Identifier: MIT
// Row order of a map: output row k = input row (START + k) mod HEIGHT, k < COUNT (COUNT may exceed HEIGHT).
// Streams: in0 HEIGHT x WIDTH tokens, out0 COUNT x WIDTH tokens, SIMD elements of BITS bits a beat, channel-minor.
// FRAME = 0: rows from START on pass through, the first STORE rows are kept and emitted after the last row (the input waits
// meanwhile). FRAME = 1: two frame banks, any order at full rate. One beat per cycle, latency 2 (FRAME = 0).
// Checked: parameters at time 0.
module bv_wrap_rows #(
    parameter int HEIGHT   = 0,
    parameter int WIDTH    = 0,
    parameter int CHANNELS = 0,
    parameter int BITS     = 0,
    parameter int START    = 0,
    parameter int COUNT    = 0,
    parameter int FRAME    = 0,
    parameter int SIMD     = 1,
    parameter RAM_STYLE    = "auto"
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [SIMD*BITS-1:0] in0_data,
    input  logic                 in0_valid,
    output logic                 in0_ready,
    output logic [SIMD*BITS-1:0] out0_data,
    output logic                 out0_valid,
    input  logic                 out0_ready
);
  localparam int ROW = WIDTH * (CHANNELS / SIMD);
  localparam int BEATS = HEIGHT * ROW;
  localparam int AGAIN = START + COUNT > HEIGHT ? START + COUNT - HEIGHT : 0;
  localparam int STORE = FRAME != 0 ? 2 * HEIGHT : AGAIN == 0 ? 1 : AGAIN < HEIGHT ? AGAIN : HEIGHT;
  localparam int DEPTH = STORE * ROW;
  localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam int IW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int LAST = (START + COUNT) * ROW;  // beats from here on are not passed through
  initial if (HEIGHT < 1 || WIDTH < 1 || BITS < 1 || COUNT < 1 || START < 0 || START >= HEIGHT || CHANNELS % SIMD != 0)
    $error("bv_wrap_rows: HEIGHT=%0d WIDTH=%0d CHANNELS=%0d BITS=%0d START=%0d COUNT=%0d SIMD=%0d",
           HEIGHT, WIDTH, CHANNELS, BITS, START, COUNT, SIMD);

  logic ce, we, take, emit, emit_ram, v1, ram1;
  logic [AW-1:0] waddr, raddr;
  logic [IW-1:0] wbeat;  // beat of the arriving frame
  logic wlast;
  logic [SIMD*BITS-1:0] x1, ram_data, next;

  assign ce = !out0_valid || out0_ready;
  assign take = in0_valid && in0_ready;
  assign wlast = int'(wbeat) == BEATS - 1;

  bv_ram #(.WIDTH(SIMD * BITS), .DEPTH(DEPTH), .STYLE(RAM_STYLE)) u_ram (
      .clk, .we, .waddr, .wdata(in0_data), .re(ce), .raddr, .rdata(ram_data));
  if (FRAME == 0 && AGAIN > 0) begin : gen_pick
    bv_mux2 #(.WIDTH(SIMD * BITS)) u_next (.pick(ram1), .a(ram_data), .b(x1), .y(next));
  end else begin : gen_fixed
    assign next = FRAME != 0 ? ram_data : x1;
    logic unused;
    assign unused = &{1'b0, ram1, x1, ram_data};
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      wbeat <= '0;
      v1 <= 1'b0;
      out0_valid <= 1'b0;
    end else begin
      if (take) wbeat <= wlast ? '0 : IW'(wbeat + 1'b1);
      if (ce) begin
        v1 <= emit;
        out0_valid <= v1;
      end
    end
    if (ce) begin
      x1 <= in0_data;
      ram1 <= emit_ram;
      out0_data <= next;
    end
  end

  if (FRAME == 0) begin : g_rotate
    localparam int EB = AGAIN > 0 ? AGAIN * ROW : 1;
    localparam int EW = EB > 1 ? $clog2(EB) : 1;
    logic again;  // the input waits, stored rows are emitted
    logic [EW-1:0] ebeat;
    logic pass, elast;
    assign in0_ready = ce && !again;
    assign we = take && int'(wbeat) < DEPTH;
    assign waddr = AW'(wbeat);
    assign pass = int'(wbeat) >= START * ROW && int'(wbeat) < LAST;
    assign emit = again || (take && pass);
    assign emit_ram = again;
    assign elast = int'(ebeat) == EB - 1;
    always_ff @(posedge clk) begin
      if (rst) begin
        again <= 1'b0;
        ebeat <= '0;
        raddr <= '0;
      end else if (!again) begin
        again <= AGAIN > 0 && take && wlast;
      end else if (ce) begin
        again <= !elast;
        ebeat <= elast ? '0 : EW'(ebeat + 1'b1);
        raddr <= elast || int'(raddr) == DEPTH - 1 ? '0 : AW'(raddr + 1'b1);
      end
    end
  end else begin : g_frame
    localparam int OB = COUNT * ROW;
    localparam int OW = OB > 1 ? $clog2(OB) : 1;
    logic wbank, rbank, olast;
    logic [1:0] full;
    logic [OW-1:0] obeat;
    logic [IW-1:0] rbeat;
    assign in0_ready = !full[wbank];
    assign we = take;
    assign waddr = AW'(int'(wbeat) + (wbank ? BEATS : 0));
    assign raddr = AW'(int'(rbeat) + (rbank ? BEATS : 0));
    assign emit = full[rbank];
    assign emit_ram = 1'b1;
    assign olast = int'(obeat) == OB - 1;
    always_ff @(posedge clk) begin
      if (rst) begin
        wbank <= 1'b0;
        rbank <= 1'b0;
        full <= '0;
        obeat <= '0;
        rbeat <= IW'(START * ROW);
      end else begin
        if (take && wlast) begin
          full[wbank] <= 1'b1;
          wbank <= !wbank;
        end
        if (ce && emit) begin
          obeat <= olast ? '0 : OW'(obeat + 1'b1);
          rbeat <= olast ? IW'(START * ROW) : int'(rbeat) == BEATS - 1 ? '0 : IW'(rbeat + 1'b1);
          if (olast) begin
            full[rbank] <= 1'b0;
            rbank <= !rbank;
          end
        end
      end
    end
  end
endmodule
