// SPDX-License-Identifier: MIT
// Start-up loader: reads a table of segments from memory and sends their contents down a 64-bit load stream.
// All words have 64 bits, little endian; addresses and sizes are multiples of 8 bytes. The table at `table_addr`:
//   header   word 0: "BHVTLOAD", first letter in the lowest byte; 1: number of segments; 2: sum of all words behind the
//            header, entries and contents, modulo 2^64; 3: 0
//   segment  word 0: address of the contents; 1: bytes (31:0), target (47:32); 2: first word in the target (31:0); 3: 0
// In the load stream each segment is a head beat {16'd0, target, 32-bit first word} and its words, `load_last` with the
// last one; a memory to be loaded waits for its target number and counts from the first word.
// `start` begins; status: 0 not begun, 1 loading, 2 done, 3 failed (magic, size, sum or memory error). rst ends all.
module bhvit_loader #(
    parameter int BURST       = 16,
    parameter int OUTSTANDING = 4
) (
    input  logic        clk, rst,
    input  logic        start, halt,
    input  logic [63:0] table_addr,
    output logic [1:0]  status,
    output logic        quiet,
    output logic [63:0] load_data,
    output logic        load_head, load_last, load_valid,
    input  logic        load_ready,
    output logic [63:0] m_axi_araddr,
    output logic [7:0]  m_axi_arlen,
    output logic [2:0]  m_axi_arsize,
    output logic [1:0]  m_axi_arburst,
    output logic [3:0]  m_axi_arcache,
    output logic [2:0]  m_axi_arprot,
    output logic        m_axi_arvalid,
    input  logic        m_axi_arready,
    input  logic [63:0] m_axi_rdata,
    input  logic [1:0]  m_axi_rresp,
    input  logic        m_axi_rlast, m_axi_rvalid,
    output logic        m_axi_rready
);
  localparam logic [63:0] MAGIC = 64'h44414f4c_54564842;
  typedef enum logic [2:0] {IDLE, RECORD, CHECK, HEAD, CONTENTS, DONE, FAILED} state_t;
  state_t state;
  logic [63:0] record[4];  // header or segment as read
  logic [63:0] at, sum, want_sum, addr, word;
  logic [31:0] left, length;
  logic [1:0] index, error;
  logic head, go, busy, done, last, valid, ready, unused, bad;
  logic [3:0] bytes;
  assign unused = &{busy, bytes, record[3], record[2][63:32], record[1][63:48], m_axi_rlast};
  assign status = state == IDLE ? 2'd0 : state == DONE ? 2'd2 : state == FAILED ? 2'd3 : 2'd1;
  assign load_head = state == HEAD;
  assign load_valid = load_head || (state == CONTENTS && valid);
  assign load_data = load_head ? {16'd0, record[1][47:32], record[2][31:0]} : word;
  assign load_last = state == CONTENTS && last;
  assign ready = state == RECORD || (state == CONTENTS && load_ready);
  assign bad = record[1][31:0] == '0 || record[1][2:0] != '0 || record[0][2:0] != '0;
  bhvit_axi_read #(.DW(64), .BURST(BURST), .OUTSTANDING(OUTSTANDING), .LB(32)) u_read (
      .clk, .rst, .start(go), .halt, .addr, .length, .busy, .quiet, .done, .error, .out_data(word), .out_bytes(bytes),
      .out_last(last), .out_valid(valid), .out_ready(ready), .m_axi_araddr, .m_axi_arlen, .m_axi_arsize,
      .m_axi_arburst, .m_axi_arcache, .m_axi_arprot, .m_axi_arvalid, .m_axi_arready, .m_axi_rdata, .m_axi_rresp,
      .m_axi_rlast, .m_axi_rvalid, .m_axi_rready);

  always_ff @(posedge clk) begin
    go <= 1'b0;
    if (rst) begin
      state <= IDLE;
      index <= '0;
    end else begin
      case (state)
        IDLE: if (start) begin
          state <= RECORD;
          head <= 1'b1;
          go <= 1'b1;
          addr <= table_addr;
          at <= table_addr + 64'd32;
          length <= 32'd32;
          sum <= '0;
        end
        RECORD: begin
          if (valid) record[index] <= word;
          if (valid && !head) sum <= sum + word;
          if (valid) index <= index + 1'b1;
          if (done) state <= CHECK;
        end
        CHECK: begin
          head <= 1'b0;
          if (head) begin
            left <= record[1][31:0];
            want_sum <= record[2];
            state <= record[0] != MAGIC || record[1][63:32] != '0 ? FAILED : RECORD;
            if (record[1][31:0] == '0 && record[0] == MAGIC) state <= record[2] == '0 ? DONE : FAILED;
            go <= record[0] == MAGIC && record[1] != '0;
            addr <= at;
          end else begin
            state <= bad ? FAILED : HEAD;
            at <= at + 64'd32;
            left <= left - 1'b1;
          end
        end
        HEAD: if (load_ready) begin
          state <= CONTENTS;
          go <= 1'b1;
          addr <= record[0];
          length <= record[1][31:0];
        end
        CONTENTS: begin
          if (valid && load_ready) sum <= sum + word;
          if (done) begin
            addr <= at;
            length <= 32'd32;
            go <= left != '0;
            state <= left != '0 ? RECORD : sum + word == want_sum ? DONE : FAILED;
          end
        end
        default: ;
      endcase
      if (error != '0 && state != DONE) state <= FAILED;
    end
  end
endmodule
