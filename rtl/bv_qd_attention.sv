// SPDX-License-Identifier: MIT
// Window attention of binary q, k, v with probabilities of four levels, without a division.
//   pc[j] = popcount(q xnor k_j)                                  (logit = 2 pc - HEAD_DIM)
//   e[j]  = table[max pc - pc[j]],  S = sum_j e[j]
//   level[j] = sum over the three thresholds of head h: neg ? (e[j] << ES) <= t*S : (e[j] << ES) >= t*S
//   G[c]  = sum_j level[j] * v_j[c] = 2 * (sum of level[j] where v_j[c] = +1) - sum_j level[j]
// Streams: in0 q, in1 k, in2 v: SIMD bits; out0 G: PE signed elements; token-major, heads in order, channel 0 in the LSBs.
// Rows (one head of one token) pass three stages at fixed latencies under one clock enable: logits and row maximum |
// exponentials and row sum | compare and accumulate. LP keys per cycle: max(ceil(TOKENS/LP), HEAD_DIM/PE) cycles a row.
// The next window loads meanwhile. Latency: one window and 2*ceil(TOKENS/LP) + 18 + max(clog2(LP), 1) cycles.
module bv_qd_attention #(
    parameter int WINDOWS  = 0,
    parameter int TOKENS   = 0,
    parameter int HEADS    = 0,
    parameter int HEAD_DIM = 0,
    parameter int ES       = 0,
    parameter int E_BITS   = 0,
    parameter int T_BITS   = 0,
    parameter int PE       = 1,
    parameter int SIMD     = 1,
    parameter int LP       = 1,
    parameter int SETS     = 1,
    parameter int REPEAT   = 1,
    parameter Q_STYLE      = "auto",
    parameter K_STYLE      = "auto",
    parameter V_STYLE      = "auto",
    parameter TABLE_FILE   = "",
    parameter TABLE_STYLE  = "auto",
    parameter THRESH_FILE  = "",
    parameter THRESH_STYLE = "auto",
    localparam int AW      = $clog2(3 * TOKENS + 1),   // bits of a row's sum of levels
    localparam int GW      = AW + 1
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [63:0]      schedule = 64'd0,
    input  logic [SIMD-1:0]  in0_data,
    input  logic             in0_valid,
    output logic             in0_ready,
    input  logic [SIMD-1:0]  in1_data,
    input  logic             in1_valid,
    output logic             in1_ready,
    input  logic [SIMD-1:0]  in2_data,
    input  logic             in2_valid,
    output logic             in2_ready,
    output logic [PE*GW-1:0] out0_data,
    output logic             out0_valid,
    input  logic             out0_ready
);
  localparam int TG = (TOKENS + LP - 1) / LP;          // groups of keys in a row
  localparam int TAIL = TOKENS - (TG - 1) * LP;        // keys in the last group
  localparam int ROWS = TOKENS * HEADS;                // rows of a window
  localparam int SB = $clog2(TOKENS + 1) + E_BITS;     // bits of S
  localparam int KA = $clog2(2 * HEADS * TG);
  localparam int QA = $clog2(2 * ROWS);
  localparam int OUTS = HEAD_DIM / PE;
  localparam int PW = $clog2(HEAD_DIM + 1);
  localparam int OW = OUTS > 1 ? $clog2(OUTS) : 1;
  localparam int WB = $clog2(3 * LP + 1);              // bits of the sum of a group's levels
  localparam int MS = LP > 1 ? $clog2(LP) : 1;         // register stages of the maximum of LP lanes
  initial if (WINDOWS < 1 || TOKENS < 2 || HEADS < 1 || PE < 1 || OUTS * PE != HEAD_DIM || LP < 1 || LP > TOKENS
              || E_BITS < 1 || T_BITS < 2)
    $error("bv_qd_attention: WINDOWS=%0d TOKENS=%0d HEADS=%0d HEAD_DIM=%0d PE=%0d LP=%0d E_BITS=%0d T_BITS=%0d",
           WINDOWS, TOKENS, HEADS, HEAD_DIM, PE, LP, E_BITS, T_BITS);

  // ---- windows in, rows issued ------------------------------------------------------------------------------------
  logic ce, q_avail, k_avail, v_avail, issue, first0, last0, claim, v_free;
  logic [KA-1:0] k_addr, v_addr;
  logic [QA-1:0] q_addr;
  logic [HEAD_DIM-1:0] q1, q2;
  logic [LP*HEAD_DIM-1:0] k1, k2, v4, v5;

  assign issue = ce && q_avail && k_avail && v_avail;
  bv_window_buffer #(.TOKENS(TOKENS), .HEADS(HEADS), .HEAD_DIM(HEAD_DIM), .SIMD(SIMD), .LANES(1), .STYLE(Q_STYLE)) u_q (
      .clk, .rst, .in_data(in0_data), .in_valid(in0_valid), .in_ready(in0_ready),
      .avail(q_avail), .claim, .free(claim), .re(ce), .raddr(q_addr), .rdata(q1));
  bv_window_buffer #(.TOKENS(TOKENS), .HEADS(HEADS), .HEAD_DIM(HEAD_DIM), .SIMD(SIMD), .LANES(LP), .STYLE(K_STYLE)) u_k (
      .clk, .rst, .in_data(in1_data), .in_valid(in1_valid), .in_ready(in1_ready),
      .avail(k_avail), .claim, .free(claim), .re(ce), .raddr(k_addr), .rdata(k1));
  bv_window_buffer #(.TOKENS(TOKENS), .HEADS(HEADS), .HEAD_DIM(HEAD_DIM), .SIMD(SIMD), .LANES(LP), .STYLE(V_STYLE)) u_v (
      .clk, .rst, .in_data(in2_data), .in_valid(in2_valid), .in_ready(in2_ready),
      .avail(v_avail), .claim, .free(v_free), .re(ce), .raddr(v_addr), .rdata(v4));
  bv_qd_rows #(.TOKENS(TOKENS), .HEADS(HEADS), .GROUPS(TG)) u_rows_k (
      .clk, .rst, .step(issue), .addr(k_addr), .first(first0), .last(last0), .window_done(claim));
  always_ff @(posedge clk) begin
    if (rst) q_addr <= '0;
    else if (issue && last0) q_addr <= int'(q_addr) == 2 * ROWS - 1 ? '0 : QA'(q_addr + 1'b1);
  end

  // ---- stage 1: logits and row maximum: that of each lane, then, once a row, that of the lanes ---------------------
  logic [LP*PW-1:0] pc4, pc_s1;
  logic [4:1] v_a, f_a, l_a;                           // valid, first, last of a row; index = register stage
  logic [LP*PW-1:0] max5;                              // of the lanes
  logic [PW-1:0] max_row;                              // MS stages later
  logic [MS:0] end_a;                                  // last of a row, from stage 5 on
  logic row_end;

  bv_qd_count_ones #(.DIM(HEAD_DIM), .LANES(LP)) u_logits (.clk, .ce, .q(q2), .k(k2), .count(pc4));
  bv_qd_max #(.N(LP), .BITS(PW)) u_max (.clk, .ce, .x(max5), .max(max_row));
  assign row_end = end_a[MS];
  for (genvar l = 0; l < LP; l++) begin : gen_max
    logic [PW-1:0] pc;
    assign pc = l_a[4] && l >= TAIL ? '0 : pc4[l*PW+:PW];  // no key there
    always_ff @(posedge clk)
      if (ce && v_a[4] && (f_a[4] || pc > max5[l*PW+:PW])) max5[l*PW+:PW] <= pc;
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      v_a <= '0;
      end_a <= '0;
    end else if (ce) begin
      v_a <= {v_a[3:1], issue};
      end_a <= {end_a[MS-1:0], v_a[4] && l_a[4]};
    end
    if (ce) begin
      f_a <= {f_a[3:1], first0};
      l_a <= {l_a[3:1], last0};
      q2 <= q1;
      k2 <= k1;
    end
  end

  // ---- stage 2: exponentials and row sum; starts when the maximum is there ----------------------------------------
  localparam int TD = SETS * (HEAD_DIM + 1);           // words of the table
  localparam int EA = TD > 1 ? $clog2(TD) : 1;
  localparam int RW = WINDOWS * ROWS > 1 ? $clog2(WINDOWS * ROWS) : 1;
  logic run2, f_s0, l_s0;
  logic [4:1] v_b, f_b, l_b;
  logic [EA-1:0] base2;                                // table position of this row's maximum
  logic [EA-1:0] addr2[LP];
  logic [LP*E_BITS-1:0] e3;
  logic [SB-1:0] sum4, sum5;
  logic sum_end, last_row;
  logic [RW-1:0] row2;
  logic [(SETS > 1 ? $clog2(SETS) : 1)-1:0] set2;

  bv_qd_count #(.GROUPS(TG)) u_count2 (.clk, .rst, .ce, .start(row_end), .run(run2), .first(f_s0), .last(l_s0));
  bv_qd_store #(.WIDTH(LP * PW), .DEPTH(TG + 3 + MS)) u_pc (
      .clk, .rst, .we(ce && v_a[4]), .wdata(pc4), .re(ce && run2), .rdata(pc_s1));
  bv_set_counter #(.SETS(SETS), .REPEAT(REPEAT)) u_set2 (
      .clk, .rst, .schedule, .frame_done(ce && row_end && last_row), .set(set2));
  assign last_row = int'(row2) == WINDOWS * ROWS - 1;
  for (genvar l = 0; l < LP; l++) begin : gen_exp
    bv_rom #(.WIDTH(E_BITS), .DEPTH(TD), .FILE(TABLE_FILE), .STYLE(TABLE_STYLE)) u_table (
        .clk, .en(ce), .addr(addr2[l]), .data(e3[l*E_BITS+:E_BITS]));
  end
  function automatic logic [SB-1:0] group_sum(input logic [LP*E_BITS-1:0] x, input logic tail);
    group_sum = '0;  // masked, not skipped: one sum of LP numbers and no chain of choices
    for (int l = 0; l < LP; l++) group_sum = group_sum + SB'(x[l*E_BITS+:E_BITS] & {E_BITS{!(tail && l >= TAIL)}});
  endfunction
  always_ff @(posedge clk) begin
    if (rst) begin
      v_b <= '0;
      sum_end <= 1'b0;
      row2 <= '0;
    end else if (ce) begin
      v_b <= {v_b[3:1], run2};
      sum_end <= v_b[4] && l_b[4];
      if (row_end) row2 <= last_row ? '0 : RW'(row2 + 1'b1);
    end
    if (ce) begin
      f_b <= {f_b[3:1], f_s0};
      l_b <= {l_b[3:1], l_s0};
      if (row_end) base2 <= EA'(int'(set2) * (HEAD_DIM + 1)) + EA'(max_row);
      for (int l = 0; l < LP; l++) addr2[l] <= base2 - EA'(pc_s1[l*PW+:PW]);
      sum4 <= group_sum(e3, l_b[3]);
      if (v_b[4]) sum5 <= f_b[4] ? sum4 : sum5 + sum4;
    end
  end

  // ---- stage 3: thresholds of the row, levels, accumulation -------------------------------------------------------
  logic start_t3, run3, f_t3, l_t3, neg4, row_done;
  logic [6:4] v_c, f_c, l_c;
  logic [3*(E_BITS+1)-1:0] thr4;
  logic [LP*E_BITS-1:0] e4;
  logic [LP*2-1:0] level5;
  logic [AW-1:0] acc7[HEAD_DIM];                       // sum of the levels where v is +1
  logic [AW-1:0] rowsum7;
  logic [WB-1:0] weight6;                              // sum of a group's levels

  bv_qd_thresholds #(.ROWS(WINDOWS * TOKENS), .HEADS(HEADS), .S_BITS(SB), .E_BITS(E_BITS), .T_BITS(T_BITS), .ES(ES),
                     .SETS(SETS), .REPEAT(REPEAT), .FILE(THRESH_FILE), .STYLE(THRESH_STYLE)) u_thresholds (
      .clk, .rst, .schedule, .ce, .start(sum_end), .sum(sum5), .start_last(start_t3), .thr(thr4), .neg(neg4));
  bv_qd_count #(.GROUPS(TG)) u_count3 (.clk, .rst, .ce, .start(start_t3), .run(run3), .first(f_t3), .last(l_t3));
  bv_qd_store #(.WIDTH(LP * E_BITS), .DEPTH(TG + 6)) u_e (
      .clk, .rst, .we(ce && v_b[3]), .wdata(e3), .re(ce && run3), .rdata(e4));
  bv_qd_rows #(.TOKENS(TOKENS), .HEADS(HEADS), .GROUPS(TG)) u_rows_v (
      .clk, .rst, .step(ce && run3), .addr(v_addr), .first(), .last(), .window_done(v_free));

  function automatic logic [WB-1:0] weigh(input logic [LP*2-1:0] level, input logic [LP-1:0] use_it);
    weigh = '0;
    for (int l = 0; l < LP; l++) weigh = weigh + WB'(level[l*2+:2] & {2{use_it[l]}});
  endfunction
  always_ff @(posedge clk) begin
    if (rst) begin
      v_c <= '0;
      row_done <= 1'b0;
    end else if (ce) begin
      v_c <= {v_c[5:4], run3};
      row_done <= v_c[6] && l_c[6];
    end
    if (ce) begin
      f_c <= {f_c[5:4], f_t3};
      l_c <= {l_c[5:4], l_t3};
      v5 <= v4;
      for (int l = 0; l < LP; l++) begin
        level5[l*2+:2] <= l_c[4] && l >= TAIL ? 2'd0
            : 2'((E_BITS+1)'(e4[l*E_BITS+:E_BITS]) >= thr4[0+:E_BITS+1] ^ neg4)
            + 2'((E_BITS+1)'(e4[l*E_BITS+:E_BITS]) >= thr4[E_BITS+1+:E_BITS+1] ^ neg4)
            + 2'((E_BITS+1)'(e4[l*E_BITS+:E_BITS]) >= thr4[2*E_BITS+2+:E_BITS+1] ^ neg4);
      end
      weight6 <= weigh(level5, '1);
      if (v_c[6]) rowsum7 <= (f_c[6] ? '0 : rowsum7) + AW'(weight6);
    end
  end
  for (genvar c = 0; c < HEAD_DIM; c++) begin : gen_acc
    logic [LP-1:0] sign;
    logic [WB-1:0] part6;
    for (genvar l = 0; l < LP; l++) begin : gen_sign
      assign sign[l] = v5[l*HEAD_DIM+c];
    end
    always_ff @(posedge clk)
      if (ce) begin
        part6 <= weigh(level5, sign);
        if (v_c[6]) acc7[c] <= (f_c[6] ? '0 : acc7[c]) + AW'(part6);
      end
  end

  // ---- finished row out, PE channels a beat -----------------------------------------------------------------------
  logic busy, out_ce, hold_free;
  logic [OW-1:0] sent;
  logic [HEAD_DIM*AW-1:0] hold, finished;
  logic [AW-1:0] hold_sum;
  assign out_ce = !out0_valid || out0_ready;
  assign hold_free = !busy || (out_ce && int'(sent) == OUTS - 1);
  assign ce = !row_done || hold_free;
  for (genvar c = 0; c < HEAD_DIM; c++) begin : gen_finished
    assign finished[c*AW+:AW] = acc7[c];
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      busy <= 1'b0;
      sent <= '0;
      out0_valid <= 1'b0;
    end else begin
      if (out_ce) out0_valid <= busy;
      if (hold_free) busy <= row_done;
      if (out_ce && busy) sent <= int'(sent) == OUTS - 1 ? '0 : OW'(sent + 1'b1);
    end
    if (row_done && hold_free) begin
      hold <= finished;
      hold_sum <= rowsum7;
    end else if (out_ce) hold <= hold >> (PE * AW);
    if (out_ce)
      for (int p = 0; p < PE; p++) out0_data[p*GW+:GW] <= {hold[p*AW+:AW], 1'b0} - GW'(hold_sum);
  end
endmodule
