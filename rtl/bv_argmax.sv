// SPDX-License-Identifier: MIT
// Index of the largest of CLASSES signed BITS-bit values, the first one on ties. SIMD values per beat go through a
// pipelined comparison tree, its winner meets the best of the earlier beats. One input beat per cycle, one result
// per frame, latency 2 + ceil(log2 SIMD) after the last beat. Checked: divisibility.
module bv_argmax #(
    parameter int CLASSES = 0,
    parameter int BITS    = 0,
    parameter int SIMD    = 1,
    localparam int INDEX  = CLASSES > 2 ? $clog2(CLASSES) : 1
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [SIMD*BITS-1:0] in0_data,
    input  logic                 in0_valid,
    output logic                 in0_ready,
    output logic [INDEX-1:0]     out0_data,
    output logic                 out0_valid,
    input  logic                 out0_ready
);
  localparam int FOLDS = CLASSES / SIMD;
  localparam int LEVELS = $clog2(SIMD);
  localparam int LEAVES = 1 << LEVELS;
  localparam int FW = FOLDS > 1 ? $clog2(FOLDS) : 1;
  initial if (CLASSES < 2 || FOLDS * SIMD != CLASSES)
    $error("bv_argmax: CLASSES=%0d SIMD=%0d", CLASSES, SIMD);

  logic ce;
  logic [FW-1:0] fold;
  logic [INDEX-1:0] base;                  // class of element 0 of the beat
  logic [LEVELS:0] valid, first, last;     // of the beat in each stage
  logic signed [BITS-1:0] value[LEVELS+1][LEAVES];
  logic [INDEX-1:0] index[LEVELS+1][LEAVES];
  logic signed [BITS-1:0] best;
  logic [INDEX-1:0] best_index, winner;
  logic better;

  assign ce = !out0_valid || out0_ready;
  assign in0_ready = ce;
  assign better = first[LEVELS] || value[LEVELS][0] > best;
  assign winner = better ? index[LEVELS][0] : best_index;

  always_ff @(posedge clk) begin
    if (rst) begin
      fold <= '0;
      base <= '0;
      valid <= '0;
      out0_valid <= 1'b0;
    end else if (ce) begin
      valid <= (LEVELS + 1)'({valid, in0_valid});
      out0_valid <= valid[LEVELS] && last[LEVELS];
      if (in0_valid) begin
        fold <= fold == FW'(FOLDS - 1) ? '0 : FW'(fold + 1'b1);
        base <= fold == FW'(FOLDS - 1) ? '0 : INDEX'(base + INDEX'(SIMD));
      end
    end
    if (ce) begin
      first <= (LEVELS + 1)'({first, fold == '0});
      last <= (LEVELS + 1)'({last, fold == FW'(FOLDS - 1)});
      for (int i = 0; i < LEAVES; i++) begin  // missing leaves hold the minimum: as later ones they never win
        value[0][i] <= i < SIMD ? in0_data[(i<SIMD?i:0)*BITS+:BITS] : {1'b1, {BITS - 1{1'b0}}};
        index[0][i] <= INDEX'(base + INDEX'(i));
      end
      for (int l = 0; l < LEVELS; l++)
        for (int i = 0; i < LEAVES >> (l + 1); i++) begin
          value[l+1][i] <= value[l][2*i+1] > value[l][2*i] ? value[l][2*i+1] : value[l][2*i];
          index[l+1][i] <= value[l][2*i+1] > value[l][2*i] ? index[l][2*i+1] : index[l][2*i];
        end
      if (valid[LEVELS]) begin
        if (better) best <= value[LEVELS][0];
        best_index <= winner;
      end
      out0_data <= winner;
    end
  end
endmodule
