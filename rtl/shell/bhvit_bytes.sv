// SPDX-License-Identifier: MIT
// Byte gearbox: beats of 1 to IB bytes become beats of 1 to OB bytes, order unchanged, byte 0 in the LSBs.
// `in_bytes` says how many bytes of the input beat count, `out_bytes` how many the output wants next (0: none). Both
// sides move a beat per cycle where the other keeps up. Bytes stay inside until they are wanted. Checked: IB and OB.
module bhvit_bytes #(
    parameter int IB = 0,
    parameter int OB = 0
) (
    input  logic                    clk, rst,
    input  logic [IB*8-1:0]         in_data,
    input  logic [$clog2(IB+1)-1:0] in_bytes,
    input  logic                    in_valid,
    output logic                    in_ready,
    output logic [OB*8-1:0]         out_data,
    input  logic [$clog2(OB+1)-1:0] out_bytes,
    output logic                    out_valid,
    input  logic                    out_ready
);
  localparam int CAP = IB + OB + (IB < OB ? IB : OB) - 1;  // bytes: neither side waits for the other's remainder
  localparam int CW = $clog2(CAP + 1);
  initial if (IB < 1 || OB < 1) $error("bhvit_bytes: IB=%0d OB=%0d", IB, OB);

  logic [CW-1:0] count, gone, left;
  logic [CAP*8-1:0] store, kept, fresh;
  logic push, pop;
  assign in_ready = int'(count) <= CAP - IB;
  assign out_valid = out_bytes != '0 && count >= CW'(out_bytes);
  assign out_data = store[OB*8-1:0];
  assign push = in_valid && in_ready;
  assign pop = out_valid && out_ready;
  assign gone = pop ? CW'(out_bytes) : '0;
  assign left = CW'(count - gone);
  assign kept = store >> {gone, 3'b000};
  always_comb begin
    fresh = '0;
    for (int i = 0; i < IB; i++) if (i < int'(in_bytes)) fresh[i*8+:8] = in_data[i*8+:8];
  end
  always_ff @(posedge clk) begin
    if (rst) begin
      count <= '0;
      store <= '0;
    end else begin
      count <= CW'(left + (push ? CW'(in_bytes) : '0));
      store <= push ? kept | fresh << {left, 3'b000} : kept;
    end
  end
endmodule
