// SPDX-License-Identifier: MIT
// FIFO of exactly DEPTH beats (>= 1), one between every two kernels; out0_* and in0_ready are registers.
// One beat per cycle. DEPTH = 1: a register, one beat every other cycle; 2: two registers, latency 1 when empty;
// up to 64: distributed RAM read into the output register, latency 2; deeper: bv_ram with a second register behind it,
// latency 3. SLOW with DEPTH 2: two registers in a row, latency 2, one beat every other cycle, no multiplexer for the data.
// Simulation only: BV_STATS prints, at the end of the run,
//   BV_FIFO <ID> <depth> <max_count> <count> <in_valid> <in_ready> <out_valid> <out_ready> <beats_in>
// and BV_TRACE writes every beat that leaves as a hexadecimal line of trace_<ID>.hex.
// RAM_STYLE: what a deeper FIFO is made of; it changes no cycle. Checked: DEPTH and WIDTH.
module bv_fifo #(
    parameter int WIDTH = 0,
    parameter int DEPTH = 0,
    parameter int ID    = 0,
    parameter bit SLOW  = 1'b0,
    parameter RAM_STYLE = "auto"
) (
    input  logic             clk,
    input  logic             rst,
    input  logic [WIDTH-1:0] in0_data,
    input  logic             in0_valid,
    output logic             in0_ready,
    output logic [WIDTH-1:0] out0_data,
    output logic             out0_valid,
    input  logic             out0_ready
);
  localparam int CW = $clog2(DEPTH + 1);
  localparam bit CHAIN = SLOW && DEPTH == 2;
  initial if (WIDTH < 1 || DEPTH < 1) $error("bv_fifo %0d: WIDTH=%0d DEPTH=%0d", ID, WIDTH, DEPTH);

  logic push, pop;
  logic [CW-1:0] count, count_next;  // beats inside, the output register included
  assign push = in0_valid && in0_ready;
  assign pop = out0_valid && out0_ready;
  assign count_next = CW'(count + CW'(push) - CW'(pop));

  always_ff @(posedge clk) begin
    if (rst) begin
      count <= '0;
      in0_ready <= 1'b0;
    end else begin
      count <= count_next;
      in0_ready <= count_next != CW'(DEPTH);
    end
  end

  if (DEPTH == 1) begin : gen_register
    always_ff @(posedge clk) begin
      if (rst) out0_valid <= 1'b0;
      else out0_valid <= count_next != '0;
      if (push) out0_data <= in0_data;
    end
  end else if (CHAIN) begin : gen_chain
    logic [WIDTH-1:0] first;
    logic waits, move;  // a beat is in the first register; it goes on
    assign move = waits && !out0_valid;
    always_ff @(posedge clk) begin
      if (rst) begin
        waits <= 1'b0;
        out0_valid <= 1'b0;
      end else begin
        waits <= push || (waits && !move);
        out0_valid <= move || (out0_valid && !out0_ready);
      end
      if (push) first <= in0_data;
      if (move) out0_data <= first;
    end
  end else if (DEPTH == 2) begin : gen_registers
    logic [WIDTH-1:0] behind, next;
    bv_mux2 #(.WIDTH(WIDTH)) u_next (.pick(count[1]), .a(behind), .b(in0_data), .y(next));
    always_ff @(posedge clk) begin
      if (rst) out0_valid <= 1'b0;
      else out0_valid <= count_next != '0;
      if (push) behind <= in0_data;
      if (pop || count == '0) out0_data <= next;
    end
  end else if (DEPTH <= 64) begin : gen_shallow
    localparam int N = DEPTH - 1;
    localparam int AW = $clog2(N);
    logic [WIDTH-1:0] mem[N];
    logic [AW-1:0] wptr, rptr;
    logic stored, load;  // a beat is in the memory; it moves to the output register
    assign stored = count != CW'(out0_valid);
    assign load = stored && (!out0_valid || out0_ready);
    always_ff @(posedge clk) begin
      if (rst) begin
        wptr <= '0;
        rptr <= '0;
        out0_valid <= 1'b0;
      end else begin
        out0_valid <= load || (out0_valid && !out0_ready);
        if (push) wptr <= wptr == AW'(N - 1) ? '0 : AW'(wptr + 1'b1);
        if (load) rptr <= rptr == AW'(N - 1) ? '0 : AW'(rptr + 1'b1);
      end
      if (push) mem[wptr] <= in0_data;
      if (load) out0_data <= mem[rptr];
    end
  end else begin : gen_deep
    localparam int AW = $clog2(DEPTH);
    logic [AW-1:0] wptr, rptr;
    logic [CW-1:0] stored;  // beats in the RAM that are not yet read
    logic [WIDTH-1:0] rdata;
    logic re, rvalid, advance;
    assign advance = !out0_valid || out0_ready;
    assign re = stored != '0 && (!rvalid || advance);
    bv_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH), .STYLE(RAM_STYLE)) u_ram (
        .clk, .we(push), .waddr(wptr), .wdata(in0_data), .re, .raddr(rptr), .rdata);
    always_ff @(posedge clk) begin
      if (rst) begin
        wptr <= '0;
        rptr <= '0;
        stored <= '0;
        rvalid <= 1'b0;
        out0_valid <= 1'b0;
      end else begin
        stored <= CW'(stored + CW'(push) - CW'(re));
        rvalid <= re || (rvalid && !advance);
        if (advance) out0_valid <= rvalid;
        if (push) wptr <= wptr == AW'(DEPTH - 1) ? '0 : AW'(wptr + 1'b1);
        if (re) rptr <= rptr == AW'(DEPTH - 1) ? '0 : AW'(rptr + 1'b1);
      end
      if (advance) out0_data <= rdata;
    end
  end

`ifdef BV_STATS
  logic [CW-1:0] max_count;
  longint unsigned beats_in;
  always_ff @(posedge clk) begin
    if (rst) begin
      max_count <= '0;
      beats_in <= 0;
    end else begin
      if (count_next > max_count) max_count <= count_next;
      if (push) beats_in <= beats_in + 1;
    end
  end
  final $display("BV_FIFO %0d %0d %0d %0d %0d %0d %0d %0d %0d", ID, DEPTH, max_count, count, in0_valid, in0_ready,
                 out0_valid, out0_ready, beats_in);
`endif
`ifdef BV_TRACE
  int trace_file;
  initial trace_file = $fopen($sformatf("trace_%0d.hex", ID), "w");
  always_ff @(posedge clk) if (!rst && pop) $fwrite(trace_file, "%h\n", out0_data);
  final $fclose(trace_file);
`endif
endmodule
