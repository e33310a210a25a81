// SPDX-License-Identifier: MIT
// Control part of a matrix-vector unit: holds the KF input beats of one token group and replays them for each of the MF
// output folds, while the next group is being filled (double buffer; a single beat waits in a register). With one output
// fold a buffer is taken for 2*KF + 1 cycles, which two cannot cover: there are four then, up to KF = 8.
//   for group: for mf < MF: for kf < KF:  x = beat kf of the group,  weight address = set*MF*KF + mf*KF + kf
// Weights are to be read with mem_en at mem_addr; x, valid, first (kf = 0), last (kf = KF-1) and eaddr = set*MF + mf are
// aligned with the data of that read. ce stalls all but the input side. No bubbles: MF*KF cycles a group (MF = 1, KF > 8:
// half a cycle more). mem_want: a read waits for ce.
module bv_linear_front #(
    parameter int GROUPS = 0,
    parameter int KF     = 0,
    parameter int MF     = 0,
    parameter int WIDTH  = 0,
    parameter int SETS   = 1,
    parameter int REPEAT = 1,
    localparam int AW = SETS * MF * KF > 1 ? $clog2(SETS * MF * KF) : 1,
    localparam int EW = SETS * MF > 1 ? $clog2(SETS * MF) : 1
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [63:0]      schedule = 64'd0,
    input  logic [WIDTH-1:0] in_data,
    input  logic             in_valid,
    output logic             in_ready,
    input  logic             ce,
    output logic             mem_want,
    output logic             mem_en,
    output logic [AW-1:0]    mem_addr,
    output logic             valid,
    output logic             first,
    output logic             last,
    output logic [EW-1:0]    eaddr,
    output logic [WIDTH-1:0] x
);
  localparam int KW = KF > 1 ? $clog2(KF) : 1;
  localparam int MW = MF > 1 ? $clog2(MF) : 1;
  localparam int GW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int WW = MF * KF > 1 ? $clog2(MF * KF) : 1;
  localparam int BUFFERS = MF == 1 && KF <= 8 ? 4 : 2;
  localparam int NW = $clog2(BUFFERS);
  localparam int BW = $clog2(BUFFERS * KF);
  initial if (GROUPS < 1 || KF < 1 || MF < 1 || WIDTH < 1)
    $error("bv_linear_front: GROUPS=%0d KF=%0d MF=%0d WIDTH=%0d", GROUPS, KF, MF, WIDTH);

  // KF = 1: one beat waits in a register until its first read; else see gen_buffer
  localparam bit HOLD = KF == 1 && MF > 2;
  logic take, pending, last_go;
  assign take = in_valid && in_ready;

  // Issue
  logic go, last_k, last_m, last_g;
  logic [KW-1:0] kf;
  logic [MW-1:0] mf;
  logic [GW-1:0] group;
  logic [WW-1:0] wf;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set;
  assign go = ce && pending;
  assign last_go = go && last_k && last_m;
  assign last_k = int'(kf) == KF - 1;
  assign last_m = int'(mf) == MF - 1;
  assign last_g = int'(group) == GROUPS - 1;
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(last_go && last_g), .set);
  always_ff @(posedge clk) begin
    if (rst) begin
      kf <= '0;
      mf <= '0;
      wf <= '0;
      group <= '0;
    end else if (go) begin
      kf <= last_k ? '0 : KW'(kf + 1'b1);
      wf <= last_k && last_m ? '0 : WW'(wf + 1'b1);
      if (last_k) mf <= last_m ? '0 : MW'(mf + 1'b1);
      if (last_k && last_m) group <= last_g ? '0 : GW'(group + 1'b1);
    end
  end

  // Addresses, then memory outputs
  logic v1, first1, last1;
  logic [EW-1:0] eaddr1;
  always_ff @(posedge clk) begin
    if (rst) begin
      v1 <= 1'b0;
      valid <= 1'b0;
    end else if (ce) begin
      v1 <= go;
      valid <= v1;
    end
    if (ce) begin
      mem_addr <= AW'(int'(set) * (MF * KF) + int'(wf));
      eaddr1 <= EW'(int'(set) * MF + int'(mf));
      first1 <= kf == '0;
      last1 <= last_k;
      first <= first1;
      last <= last1;
      eaddr <= eaddr1;
    end
  end
  assign mem_want = v1;
  assign mem_en = ce && v1;

  if (HOLD) begin : gen_hold
    logic held, start1;                // a beat waits; the read in the address stage is the first of its group
    logic [WIDTH-1:0] beat;
    assign in_ready = !held;
    assign pending = mf != '0 || (held && !(v1 && start1));
    always_ff @(posedge clk) begin
      if (rst) held <= 1'b0;
      else if (take) held <= 1'b1;
      else if (mem_en && start1) held <= 1'b0;
      if (ce) start1 <= mf == '0;
      if (take) beat <= in_data;
      if (mem_en && start1) x <= beat;
    end
    logic unused;
    assign unused = last_go;
  end else begin : gen_buffer
    // Numbers of token groups (modulo 2*BUFFERS) that are completely filled, whose replay is issued, whose buffer is free
    // again.
    logic [NW:0] filled, issued, freed;
    logic [NW:0] occupied;
    logic [KW-1:0] wk;
    logic [BW-1:0] raddr1;
    logic done1;
    assign occupied = filled - freed;
    assign in_ready = int'(occupied) != BUFFERS;
    assign pending = filled != issued;
    always_ff @(posedge clk) begin
      if (rst) begin
        wk <= '0;
        filled <= '0;
        issued <= '0;
        freed <= '0;
      end else begin
        if (take) wk <= int'(wk) == KF - 1 ? '0 : KW'(wk + 1'b1);
        if (take && int'(wk) == KF - 1) filled <= filled + 1'b1;
        if (last_go) issued <= issued + 1'b1;
        if (mem_en && done1) freed <= freed + 1'b1;
      end
      if (ce) begin
        raddr1 <= BW'(int'(issued[NW-1:0]) * KF + int'(kf));
        done1 <= last_k && last_m;
      end
    end
    bv_ram #(.WIDTH(WIDTH), .DEPTH(BUFFERS * KF)) u_buffer (
        .clk, .we(take), .waddr(BW'(int'(filled[NW-1:0]) * KF + int'(wk))), .wdata(in_data), .re(mem_en),
        .raddr(raddr1), .rdata(x));
  end
endmodule
