// SPDX-License-Identifier: MIT
// An accelerator behind a serial line. Bytes, lowest first in every number (docs/ulx3s.md describes the protocol):
//   to the board   "I" and an input frame; "?" asks who is there; a break, or the button, resets; others are ignored
//   from the board "R", an output frame, 32 bits of cycles (first input beat to last output beat)
//                  "BHVT", version, reason of the last reset (0 power-up, 1 broken byte or break, 2 overrun, 3 button),
//                  bytes per input and output frame (32 bits each), clock in kHz (32 bits), build hash (128 bits)
// Whatever resets clears the accelerator too and is answered with "BHVT", so a half frame never stays inside. The input
// FIFO holds a frame: who sends the next frame after the answer cannot cause an overrun.
// leds: 0 heartbeat, 1 a frame arrives, 2 the accelerator is at work, 3 the last reset was an error, 7:4 frames
// answered.
module bhvit_serial #(
    parameter int DIVISOR            = 0,
    parameter int IN_BYTES           = 0,  // per beat
    parameter int OUT_BYTES          = 0,
    parameter int IN_BEATS           = 0,  // per frame
    parameter int OUT_BEATS          = 0,
    parameter int IN_DEPTH           = 0,  // bytes of the input FIFO
    parameter int CLOCK_KHZ          = 0,
    parameter bit [127:0] BUILD_HASH = 128'd0
) (
    input  logic                   clk,
    input  logic                   rx,
    output logic                   tx,
    input  logic                   button,
    output logic [7:0]             leds,
    output logic                   accelerator_rst_n,
    output logic [IN_BYTES*8-1:0]  m_tdata,
    output logic                   m_tvalid,
    input  logic                   m_tready,
    input  logic [OUT_BYTES*8-1:0] s_tdata,
    input  logic                   s_tvalid,
    output logic                   s_tready
);
  localparam int FRAME = IN_BYTES * IN_BEATS;
  localparam int FW = $clog2(FRAME + 1);
  localparam int BW = $clog2(IN_BEATS + 1);
  localparam int OW = $clog2(OUT_BEATS + 1);
  localparam int HELLO = 34;
  localparam int LONGEST = HELLO > OUT_BYTES ? HELLO : OUT_BYTES;
  localparam int NW = $clog2(LONGEST + 1);
  localparam bit [7:0] VERSION = 8'd1;
  initial if (IN_BYTES < 1 || OUT_BYTES < 1 || IN_BEATS < 1 || OUT_BEATS < 1 || IN_DEPTH < 2)
    $error("bhvit_serial: IN_BYTES=%0d OUT_BYTES=%0d IN_BEATS=%0d OUT_BEATS=%0d IN_DEPTH=%0d", IN_BYTES, OUT_BYTES,
           IN_BEATS, OUT_BEATS, IN_DEPTH);

  // ---- resets: power-up, button, broken byte, overrun
  logic [4:0] resetting;     // cycles of reset that are still to come
  logic [1:0] pressed, reason;
  logic rst, power_up, broken, overrun;
  initial begin              // from configuration on
    resetting = '1;
    pressed = '0;
    reason = '0;
    rst = 1'b1;
    power_up = 1'b1;
  end
  always_ff @(posedge clk) begin
    pressed <= {pressed[0], button};
    rst <= resetting != '0;
    accelerator_rst_n <= resetting == '0;
    if (broken || overrun || pressed[1]) begin
      resetting <= '1;
      reason <= broken ? 2'd1 : overrun ? 2'd2 : 2'd3;
      power_up <= 1'b0;
    end else if (resetting != '0) resetting <= resetting - 1'b1;
  end

  // ---- bytes to beats
  logic [7:0] byte_in, stored;
  logic byte_valid, in_frame, push, fits, stored_valid, stored_ready, ask;
  logic [FW-1:0] to_come;
  assign in_frame = to_come != '0;
  assign push = byte_valid && in_frame;
  assign overrun = push && !fits;
  assign ask = byte_valid && !in_frame && byte_in == "?";
  // receiver and sender are not reset: they stay in step with the other end
  bhvit_uart_rx #(.DIVISOR(DIVISOR)) u_rx (
      .clk, .rst(power_up && rst), .rx, .data(byte_in), .valid(byte_valid), .broken);
  bv_fifo #(.WIDTH(8), .DEPTH(IN_DEPTH)) u_in (
      .clk, .rst, .in0_data(byte_in), .in0_valid(push), .in0_ready(fits), .out0_data(stored), .out0_valid(stored_valid),
      .out0_ready(stored_ready));
  always_ff @(posedge clk) begin
    if (rst) to_come <= '0;
    else if (push) to_come <= to_come - 1'b1;
    else if (byte_valid && byte_in == "I") to_come <= FW'(FRAME);
  end

  localparam int GW = $clog2(IN_BYTES + 1);
  logic [GW-1:0] gathered;
  assign m_tvalid = gathered == GW'(IN_BYTES);
  assign stored_ready = !m_tvalid || m_tready;
  always_ff @(posedge clk) begin
    if (rst) gathered <= '0;
    else if (stored_valid && stored_ready) gathered <= m_tvalid ? GW'(1) : gathered + 1'b1;
    else if (m_tready && m_tvalid) gathered <= '0;
    if (stored_valid && stored_ready) m_tdata <= (IN_BYTES * 8)'({stored, m_tdata} >> 8);
  end

  // ---- cycles of the last frame
  logic [31:0] clock, begun, taken;
  logic [BW-1:0] in_beat;
  logic [OW-1:0] out_beat;
  logic m_move, s_move, out_last;
  assign m_move = m_tvalid && m_tready;
  assign s_move = s_tvalid && s_tready;
  assign out_last = out_beat == OW'(OUT_BEATS - 1);
  always_ff @(posedge clk) begin
    clock <= clock + 1'b1;
    if (rst) begin
      clock <= '0;
      in_beat <= '0;
      out_beat <= '0;
    end else begin
      if (m_move) in_beat <= in_beat == BW'(IN_BEATS - 1) ? '0 : in_beat + 1'b1;
      if (s_move) out_beat <= out_last ? '0 : out_beat + 1'b1;
    end
    if (m_move && in_beat == '0) begun <= clock;
    if (s_move && out_last) taken <= clock - begun + 1'b1;
  end

  // ---- answers
  logic [OUT_BYTES*8-1:0] beat;
  logic beat_valid, beat_ready;
  bv_fifo #(.WIDTH(OUT_BYTES * 8), .DEPTH(OUT_BEATS < 2 ? 2 : OUT_BEATS)) u_out (
      .clk, .rst, .in0_data(s_tdata), .in0_valid(s_tvalid), .in0_ready(s_tready), .out0_data(beat),
      .out0_valid(beat_valid),
      .out0_ready(beat_ready));

  typedef enum logic [2:0] {IDLE, GREET, MARK, BEAT, CYCLES} state_t;
  state_t state;
  logic [NW-1:0] index;      // byte of what is being sent
  logic [OW-1:0] sent;       // beats
  logic wanted, tx_valid, tx_ready, tx_move, last_byte;
  logic [HELLO*8-1:0] greeting;
  logic [7:0] tx_data;
  logic [3:0] answered;
  always_comb begin
    greeting = {BUILD_HASH, 32'(CLOCK_KHZ), 32'(OUT_BYTES * OUT_BEATS), 32'(FRAME), 6'd0, reason, VERSION, "TVHB"};
    case (state)
      GREET:   tx_data = greeting[8*index+:8];
      MARK:    tx_data = "R";
      BEAT:    tx_data = beat[8*index+:8];
      default: tx_data = taken[8*index[1:0]+:8];
    endcase
  end
  assign tx_valid = state == BEAT ? beat_valid : state != IDLE;
  assign tx_move = tx_valid && tx_ready;
  assign last_byte = index == NW'(state == GREET ? HELLO - 1 : state == BEAT ? OUT_BYTES - 1 : state == CYCLES ? 3 : 0);
  assign beat_ready = state == BEAT && tx_move && last_byte;
  always_ff @(posedge clk) begin
    if (rst) begin
      state <= IDLE;
      wanted <= !power_up;
      index <= '0;
    end else begin
      if (ask) wanted <= 1'b1;
      if (tx_move) index <= last_byte ? '0 : index + 1'b1;
      case (state)
        IDLE: begin
          sent <= '0;
          if (wanted) begin
            state <= GREET;
            wanted <= ask;
          end else if (beat_valid) state <= MARK;
        end
        MARK: if (tx_move) state <= BEAT;
        BEAT: if (tx_move && last_byte) begin
          sent <= sent + 1'b1;
          if (sent == OW'(OUT_BEATS - 1)) state <= CYCLES;
        end
        default: if (tx_move && last_byte) state <= IDLE;
      endcase
    end
  end
  bhvit_uart_tx #(.DIVISOR(DIVISOR)) u_tx (
      .clk, .rst(power_up && rst), .data(tx_data), .valid(tx_valid), .ready(tx_ready), .tx);

  // ---- lights
  logic busy, failed;
  logic [23:0] beating;
  initial beating = '0;
  always_ff @(posedge clk) begin
    beating <= beating + 1'b1;
    if (rst) begin
      busy <= 1'b0;
      answered <= '0;
      failed <= reason == 2'd1 || reason == 2'd2;
    end else begin
      if (m_move) busy <= 1'b1;
      else if (s_move && out_last) busy <= 1'b0;
      if (state == CYCLES && tx_move && last_byte) begin
        answered <= answered + 1'b1;
        failed <= 1'b0;
      end
    end
  end
  assign leds = {answered, failed, busy, in_frame, beating[23]};
endmodule
