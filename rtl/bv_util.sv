// SPDX-License-Identifier: MIT
// Small cells shared by all kernels: constant memory, buffer memory, frame-set counter, multiplexer, shifts of residuals.

// STYLE of a memory: "auto" (the tool chooses), "distributed", "block", "ultra" (UltraRAM, 4096 words of 72 bits).

// Constant memory: word `addr` appears on `data` after the next enabled clock edge (output register).
// TARGET < 0: a ROM with the contents of FILE. TARGET >= 0: a memory that the start-up loader fills (UltraRAM has no
// initial contents), as target number TARGET of the load bus {valid, head, 64 bits}: a head beat holds the target
// (47:32) and the first word to be written (31:0), the beats behind it the words, each in ceil(WIDTH / 64) beats, lowest
// bits first. The bus never waits, and reads see old and new words while it is busy.
module bv_rom #(
    parameter int WIDTH  = 0,
    parameter int DEPTH  = 0,
    parameter FILE = "",
    parameter STYLE = "auto",
    parameter int TARGET = -1
) (
    input  logic                                       clk,
    input  logic                                       en,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] addr,
    output logic [WIDTH-1:0]                           data,
    input  logic [65:0]                                load = 66'd0
);
  if (TARGET < 0) begin : gen_rom
`ifdef __slang__  // Yosys calls look-up tables "logic" where nothing is written; its "distributed" means LUT RAM
    localparam ROM_STYLE = STYLE == "distributed" ? "logic" : STYLE;
`else
    localparam ROM_STYLE = STYLE;
`endif
    (* rom_style = ROM_STYLE *) logic [WIDTH-1:0] mem[DEPTH];
    initial $readmemh(FILE, mem);
    always_ff @(posedge clk) if (en) data <= mem[addr];
`ifdef SYNTHESIS
    if (STYLE == "ultra") $error("bv_rom: UltraRAM has no initial contents; give it a TARGET of the loader");
`endif
    logic unused;
    assign unused = &{1'b0, load};
  end else begin : gen_loaded
    localparam int PARTS = (WIDTH + 63) / 64;
    localparam int PW = PARTS > 1 ? $clog2(PARTS) : 1;
    localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1;
    (* ram_style = STYLE *) logic [WIDTH-1:0] mem[DEPTH];
    logic mine, we;
    logic [PW-1:0] part;
    logic [AW-1:0] next, waddr;
    logic [PARTS*64-1:0] word;
    always_ff @(posedge clk) begin
      we <= 1'b0;
      if (load[65] && load[64]) begin
        mine <= load[47:32] == 16'(TARGET);
        next <= AW'(load[31:0]);
        part <= '0;
      end else if (load[65] && mine) begin
        word <= (PARTS * 64)'({load[63:0], word} >> 64);
        part <= int'(part) == PARTS - 1 ? '0 : PW'(part + 1'b1);
        if (int'(part) == PARTS - 1) begin
          we <= 1'b1;
          waddr <= next;
          next <= AW'(next + 1'b1);
        end
      end
      if (we) mem[waddr] <= word[WIDTH-1:0];
      if (en) data <= mem[addr];
    end
    if (PARTS * 64 > WIDTH) begin : gen_unused
      logic unused;
      assign unused = &{1'b0, word[PARTS*64-1:WIDTH]};
    end
  end
endmodule

// Buffer memory: one write port, one read port with output register. Reading the word being written gives the old one;
// in UltraRAM it gives neither (in simulation: the inverted word), so no kernel may rely on it there.
// UltraRAM: words of up to 36 bits share a 72-bit row, in columns of whole 9-bit bytes with write enables of their own
// (byte enables as UG901 writes them).
module bv_ram #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0,
    parameter STYLE = "auto"
) (
    input  logic                                       clk,
    input  logic                                       we,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] waddr,
    input  logic [WIDTH-1:0]                           wdata,
    input  logic                                       re,
    input  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] raddr,
    output logic [WIDTH-1:0]                           rdata
);
  if (STYLE != "ultra") begin : gen_word
    (* ram_style = STYLE *) logic [WIDTH-1:0] mem[DEPTH];
    always_ff @(posedge clk) begin
      if (we) mem[waddr] <= wdata;
      if (re) rdata <= mem[raddr];
    end
  end else begin : gen_ultra
    localparam int PACK = WIDTH <= 9 ? 8 : WIDTH <= 18 ? 4 : WIDTH <= 36 ? 2 : 1;  // words in a row
    localparam int COLUMN = PACK > 1 ? 72 / PACK : WIDTH;
    localparam int ROWS = (DEPTH + PACK - 1) / PACK;
    localparam int AW = DEPTH > 1 ? $clog2(DEPTH) : 1;
    localparam int RW = ROWS > 1 ? $clog2(ROWS) : 1;
    (* ram_style = STYLE *) logic [PACK*COLUMN-1:0] mem[ROWS];
    logic [PACK*COLUMN-1:0] row, din;
    logic [PACK-1:0] byte_we;
    logic [RW-1:0] wrow;
    logic [AW-1:0] at;
    assign din = {PACK{COLUMN'(wdata)}};
    assign byte_we = PACK'(we) << (int'(waddr) % PACK);
    assign wrow = RW'(int'(waddr) / PACK);
    always_ff @(posedge clk) begin
      for (int i = 0; i < PACK; i++)
        if (byte_we[i]) mem[wrow][i*COLUMN+:COLUMN] <= din[i*COLUMN+:COLUMN];
      if (re) begin
        row <= mem[RW'(int'(raddr) / PACK)];
        at <= raddr;
      end
    end
`ifdef SYNTHESIS
    if (PACK == 2) begin : gen_half
      bv_mux2 #(.WIDTH(WIDTH)) u_half (.pick(at[0]), .a(row[COLUMN+:WIDTH]), .b(row[WIDTH-1:0]), .y(rdata));
    end else begin : gen_slice
      assign rdata = WIDTH'(row >> (int'(at) % PACK * COLUMN));
    end
`else
    logic clash;
    always_ff @(posedge clk) if (re) clash <= we && waddr == raddr;
    assign rdata = WIDTH'(row >> (int'(at) % PACK * COLUMN)) ^ {WIDTH{clash}};
`endif
  end
endmodule

// Index of the constant set of the current frame. REPEAT >= 1: advances after every REPEAT frames, modulo SETS.
// REPEAT = 0, an engine that several blocks share: frames pass in the order in which bv_loop let them in, and bits
// 4n..4n+3 of `schedule` hold the set of the n-th of them, modulo 16. An entry is written before the frame's first beat, and
// that beat is a register behind it in a FIFO at least, so `set` is a register, too: gate and layer may be far apart.
module bv_set_counter #(
    parameter int SETS   = 1,
    parameter int REPEAT = 1
) (
    input  logic                                     clk,
    input  logic                                     rst,
    input  logic [63:0]                              schedule = 64'd0,
    input  logic                                     frame_done,
    output logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set
);
  localparam int SW = SETS > 1 ? $clog2(SETS) : 1;
  if (REPEAT == 0) begin : gen_scheduled
    initial if (SETS > 16) $error("bv_set_counter: SETS=%0d, a schedule has 16", SETS);
    logic [3:0] slot, next;
    assign next = slot + 4'(frame_done);
    always_ff @(posedge clk) begin
      slot <= rst ? '0 : next;
      set <= SW'(schedule[4*next+:4]);
    end
  end else begin : gen_counted
    localparam int RW = REPEAT > 1 ? $clog2(REPEAT) : 1;
    logic [RW-1:0] r;
    always_ff @(posedge clk) begin
      if (rst) begin
        r   <= '0;
        set <= '0;
      end else if (frame_done) begin
        if (int'(r) == REPEAT - 1) begin
          r   <= '0;
          set <= int'(set) == SETS - 1 ? '0 : SW'(set + 1'b1);
        end else r <= RW'(r + 1'b1);
      end
    end
    logic unused;
    assign unused = &{1'b0, schedule};
  end
endmodule

// Multiplexer of two words: y = pick ? a : b. Combinational.
// Synthesis: two bits share a LUT site, which has the five inputs that they need; Yosys takes a site for each.
module bv_mux2 #(
    parameter int WIDTH = 0
) (
    input  logic             pick,
    input  logic [WIDTH-1:0] a,
    input  logic [WIDTH-1:0] b,
    output logic [WIDTH-1:0] y
);
`ifdef SYNTHESIS
  localparam int PAIRS = WIDTH / 2;
  for (genvar i = 0; i < PAIRS; i++) begin : gen_pair
    LUT6_2 #(.INIT(64'hff00f0f0_ccccaaaa)) u_lut (
        .O6(y[2*i+1]), .O5(y[2*i]), .I0(b[2*i]), .I1(a[2*i]), .I2(b[2*i+1]), .I3(a[2*i+1]), .I4(pick), .I5(1'b1));
  end
  if (2 * PAIRS < WIDTH) begin : gen_single
    assign y[WIDTH-1] = pick ? a[WIDTH-1] : b[WIDTH-1];
  end
`else
  assign y = pick ? a : b;
`endif
endmodule

// Residuals of an engine whose blocks scale them differently: y = x << scale for each of LANES signed elements.
module bv_rescale #(
    parameter int LANES = 0,
    parameter int BITS  = 0,
    parameter int MAX   = 0,
    localparam int SB = MAX > 0 ? $clog2(MAX + 1) : 1
) (
    input  logic [LANES*BITS-1:0]       x,
    input  logic [SB-1:0]               scale,
    output logic [LANES*(BITS+MAX)-1:0] y
);
  for (genvar i = 0; i < LANES; i++) begin : gen_lane
    logic signed [BITS-1:0] xi;
    assign xi = x[i*BITS+:BITS];
    if (MAX > 0) begin : gen_scaled
      assign y[i*(BITS+MAX)+:BITS+MAX] = (BITS + MAX)'(xi) <<< scale;
    end else begin : gen_plain
      assign y[i*BITS+:BITS] = xi;
    end
  end
  if (MAX == 0) begin : gen_fixed
    logic unused;
    assign unused = &{1'b0, scale};
  end
endmodule
