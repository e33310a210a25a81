// SPDX-License-Identifier: MIT
// Layer norm of every token in exact integer arithmetic (S = sum x, Q = sum x^2 over the CHANNELS of a token):
//   v = CHANNELS*Q - S^2 + EPS_INT        r = floor(2^K / sqrt(v) + 1/2)
//   n = sat_N_BITS(((CHANNELS*x - S) * r) >> S1)        y = sat_OUT_BITS((m[c]*n + o[c]) >> SH)
// Streams: SIMD signed elements a beat, token-major, channel-minor, element 0 in the LSBs. 4*ROOTS tokens are buffered, so
// that summing, the roots of ROOTS (1 or 2) tokens (two cycles a bit) and the output of another overlap:
// max(CHANNELS/SIMD, (2*R_BITS + 2) / ROOTS) cycles a token; first out of one CHANNELS/SIMD + 2*R_BITS + 23 after
// its first in.
// Constants word: SIMD multipliers m (M_BITS), then SIMD offsets o (O_BITS), signed. SIMD is at most 64.
module bv_layer_norm #(
    parameter int TOKENS   = 0,
    parameter int CHANNELS = 0,
    parameter int IN_BITS  = 0,
    parameter int K        = 0,
    parameter int S1       = 0,
    parameter int N_BITS   = 0,
    parameter int EPS_INT  = 0,
    parameter logic [511:0] EPS_SETS = '0,               // 32 bits a set; 0: EPS_INT for all
    parameter int S1_SETS  = 0,                          // 2 bits a set: how much smaller than S1 the shift is,
    parameter int S1_SPREAD = 0,                         // at most this
    parameter int M_BITS   = 0,
    parameter int O_BITS   = 0,
    parameter int SH       = 0,
    parameter int OUT_BITS = 0,
    parameter int V_BITS   = 0,                        // bits of the largest v, given by the range of x
    parameter int R_BITS   = 0,                        // bits of r at v = EPS_INT
    parameter int SIMD     = 1,
    parameter int ROOTS    = 1,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    parameter SCALE_FILE   = "",
    parameter SCALE_STYLE  = "auto"
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic [63:0]              schedule = 64'd0,
    input  logic [SIMD*IN_BITS-1:0]  in0_data,
    input  logic                     in0_valid,
    output logic                     in0_ready,
    output logic [SIMD*OUT_BITS-1:0] out0_data,
    output logic                     out0_valid,
    input  logic                     out0_ready
);
  localparam int CF = CHANNELS / SIMD;
  localparam int FW = CF > 1 ? $clog2(CF) : 1;
  localparam int SB = IN_BITS + $clog2(CHANNELS);      // bits of S and of CHANNELS*x
  localparam int SLOTS = 4 * ROOTS;                    // tokens in the buffer
  localparam int LW = $clog2(SLOTS);
  localparam int AW = $clog2(SLOTS * CF);
  localparam int PB = SB + R_BITS + 2;                 // bits of (CHANNELS*x - S) * r
  localparam int YB = (M_BITS + N_BITS > O_BITS ? M_BITS + N_BITS : O_BITS) + 1;
  localparam int TW = TOKENS > 1 ? $clog2(TOKENS) : 1;
  localparam int CW = SETS * CF > 1 ? $clog2(SETS * CF) : 1;
  initial if (TOKENS < 1 || CF < 1 || CF * SIMD != CHANNELS || SIMD > 64 || IN_BITS < 2 || EPS_INT < 1 || V_BITS < 1
              || ROOTS < 1 || ROOTS > 2)
    $error("bv_layer_norm: TOKENS=%0d CHANNELS=%0d SIMD=%0d IN_BITS=%0d EPS_INT=%0d V_BITS=%0d ROOTS=%0d",
           TOKENS, CHANNELS, SIMD, IN_BITS, EPS_INT, V_BITS, ROOTS);

  // ---- tokens in; sums, stored by buffer slot ---------------------------------------------------------------------
  logic take, last_in, token_out, sum_valid, fetch;
  logic [LW:0] loaded, summed;                         // tokens in the buffer; with sums, root not begun
  logic [LW-1:0] slot_sum, slot_root;
  logic [FW-1:0] fold_in, fold_out;
  logic [AW-1:0] waddr, raddr;
  logic signed [SB-1:0] s_new, s_root, s_done;
  logic [V_BITS-1:0] v_new, v_root;
  logic [SIMD*IN_BITS-1:0] x1;
  logic ce;

  assign in0_ready = int'(loaded) != SLOTS;
  assign take = in0_valid && in0_ready;
  assign last_in = int'(fold_in) == CF - 1;
  bv_ram #(.WIDTH(SIMD * IN_BITS), .DEPTH(SLOTS * CF)) u_tokens (
      .clk, .we(take), .waddr, .wdata(in0_data), .re(ce), .raddr, .rdata(x1));
  bv_layer_norm_sums #(
      .CHANNELS(CHANNELS), .SIMD(SIMD), .IN_BITS(IN_BITS), .EPS_INT(EPS_INT), .EPS_SETS(EPS_SETS), .V_BITS(V_BITS),
      .TOKENS(TOKENS), .SETS(SETS), .REPEAT(REPEAT)
  ) u_sums (
      .clk, .rst, .schedule, .in_data(in0_data), .in_valid(take), .in_first(fold_in == '0), .in_last(last_in),
      .s(s_new), .v(v_new), .out_valid(sum_valid));
  bv_ram #(.WIDTH(SB + V_BITS), .DEPTH(SLOTS)) u_sum_store (
      .clk, .we(sum_valid), .waddr(slot_sum), .wdata({s_new, v_new}),
      .re(fetch), .raddr(slot_root), .rdata({s_root, v_root}));
  always_ff @(posedge clk) begin
    if (rst) begin
      {loaded, summed, slot_sum, slot_root} <= '0;
      fold_in <= '0;
      waddr <= '0;
    end else begin
      loaded <= loaded + (LW + 1)'(take && last_in) - (LW + 1)'(token_out);
      summed <= summed + (LW + 1)'(sum_valid) - (LW + 1)'(fetch);
      slot_sum <= slot_sum + LW'(sum_valid);
      slot_root <= slot_root + LW'(fetch);
      if (take) begin
        fold_in <= last_in ? '0 : FW'(fold_in + 1'b1);
        waddr <= int'(waddr) == SLOTS * CF - 1 ? '0 : AW'(waddr + 1'b1);
      end
    end
  end

  // ---- roots in turn: fetch the sums, run, hand over to the output stage --------------------------------------------
  logic hand_over, norm_valid, last_out, turn_in, turn_out;
  logic [ROOTS-1:0] fetched, running, root_done;
  logic [R_BITS-1:0] root[ROOTS];
  logic signed [SB-1:0] s_of[ROOTS];
  assign hand_over = running[turn_out] && root_done[turn_out] && (!norm_valid || token_out);
  assign fetch = summed != '0 && !fetched[turn_in] && (!running[turn_in] || (hand_over && turn_out == turn_in));
  assign s_done = s_of[turn_out];
  for (genvar i = 0; i < ROOTS; i++) begin : gen_root
    bv_rsqrt #(.V_BITS(V_BITS), .R_BITS(R_BITS), .K(K)) u_root (
        .clk, .rst, .start(fetched[i]), .v(v_root), .done(root_done[i]), .r(root[i]));
    always_ff @(posedge clk) begin
      if (rst) begin
        fetched[i] <= 1'b0;
        running[i] <= 1'b0;
      end else begin
        fetched[i] <= fetch && int'(turn_in) == i;
        running[i] <= fetched[i] || (running[i] && !(hand_over && int'(turn_out) == i));
      end
      if (fetched[i]) s_of[i] <= s_root;
    end
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      norm_valid <= 1'b0;
      {turn_in, turn_out} <= '0;
    end else begin
      norm_valid <= hand_over || (norm_valid && !token_out);
      if (ROOTS > 1) begin
        turn_in <= turn_in ^ fetch;
        turn_out <= turn_out ^ hand_over;
      end
    end
  end

  // ---- output: scale by r, then by the channel's constants; numbers are register stages ----------------------------
  logic [10:1] v_o;
  logic [FW-1:0] fold5, fold6;
  logic [TW-1:0] token5;
  logic last_fold5, last_token5;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set5, set6;
  logic signed [SB-1:0] s0, s1, s2, s3;
  logic signed [R_BITS:0] r0, r1, r2, r3, r4;
  logic [SIMD*(M_BITS+O_BITS)-1:0] word7, word8;
  logic [1:0] up6;
  if (S1_SPREAD == 0) begin : gen_one_shift
    assign up6 = 2'd0;
  end else begin : gen_shifts
    assign up6 = S1_SETS[2*set6+:2];
  end

  assign ce = !out0_valid || out0_ready;
  assign last_out = int'(fold_out) == CF - 1;
  assign token_out = ce && norm_valid && last_out;
  assign last_fold5 = int'(fold5) == CF - 1;
  assign last_token5 = int'(token5) == TOKENS - 1;
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set (
      .clk, .rst, .schedule, .frame_done(ce && v_o[5] && last_fold5 && last_token5), .set(set5));
  bv_rom #(.WIDTH(SIMD * (M_BITS + O_BITS)), .DEPTH(SETS * CF), .FILE(SCALE_FILE), .STYLE(SCALE_STYLE)) u_scale (
      .clk, .en(ce), .addr(CW'(int'(set6) * CF + int'(fold6))), .data(word7));
  always_ff @(posedge clk) begin
    if (rst) begin
      v_o <= '0;
      out0_valid <= 1'b0;
      {fold_out, fold5} <= '0;
      token5 <= '0;
      raddr <= '0;
    end else if (ce) begin
      {out0_valid, v_o} <= {v_o, norm_valid};
      if (norm_valid) begin
        fold_out <= last_out ? '0 : FW'(fold_out + 1'b1);
        raddr <= int'(raddr) == SLOTS * CF - 1 ? '0 : AW'(raddr + 1'b1);
      end
      if (v_o[5]) begin
        fold5 <= last_fold5 ? '0 : FW'(fold5 + 1'b1);
        if (last_fold5) token5 <= last_token5 ? '0 : TW'(token5 + 1'b1);
      end
    end
    if (hand_over) begin
      s0 <= s_done;
      r0 <= signed'({1'b0, root[turn_out]});
    end
    if (ce) begin
      {s3, s2, s1} <= {s2, s1, s0};
      {r4, r3, r2, r1} <= {r3, r2, r1, r0};
      fold6 <= fold5;
      set6 <= set5;
      word8 <= word7;
    end
  end
  for (genvar i = 0; i < SIMD; i++) begin : gen_lane
    logic signed [IN_BITS-1:0] x2;
    logic signed [SB-1:0] cx3;
    logic signed [SB:0] d4;
    logic signed [PB-1:0] p5, p6;
    logic signed [N_BITS-1:0] n_sat, n7, n8;
    logic signed [M_BITS+N_BITS-1:0] p9;
    logic signed [O_BITS-1:0] o9;
    logic signed [YB-1:0] y10;
    logic signed [OUT_BITS-1:0] y_sat;
    bv_saturate #(.IN_BITS(PB + S1_SPREAD), .SHIFT(S1), .OUT_BITS(N_BITS)) u_n (
        .x((PB + S1_SPREAD)'(p6) <<< up6), .y(n_sat));
    bv_saturate #(.IN_BITS(YB), .SHIFT(SH), .OUT_BITS(OUT_BITS)) u_y (.x(y10), .y(y_sat));
    always_ff @(posedge clk) begin
      if (ce) begin
        x2 <= signed'(x1[i*IN_BITS+:IN_BITS]);
        cx3 <= SB'(x2) * SB'(CHANNELS);
        d4 <= (SB + 1)'(cx3) - (SB + 1)'(s3);
        p5 <= d4 * r4;
        p6 <= p5;
        n7 <= n_sat;
        n8 <= n7;
        p9 <= signed'(word8[i*M_BITS+:M_BITS]) * n8;
        o9 <= signed'(word8[SIMD*M_BITS+i*O_BITS+:O_BITS]);
        y10 <= YB'(p9) + YB'(o9);
        out0_data[i*OUT_BITS+:OUT_BITS] <= y_sat;
      end
    end
  end
endmodule
