"""The toy accelerator of toy.sv as a design, and what it computes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bhvit.finn_flow.stitch import TOP, Design, stream_dict
from bhvit.finn_flow.streams import Stream, u
from bhvit.finn_flow.wrapper import RTL


@dataclass(frozen=True)
class Toy:
    """Bytes per input and output beat, input beats per frame, input beats per output beat, depth of its FIFO."""

    ib: int = 3
    ob: int = 5
    beats: int = 6
    keep: int = 2
    depth: int = 4

    def design(self, folder: Path) -> Design:
        """Write it like a stitched design."""
        for d in ("rtl", "mem"):
            (folder / d).mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("toy.sv"), folder / "rtl" / "toy.sv")
        for f in ("bv_util.sv", "bv_fifo.sv"):
            shutil.copyfile(RTL / f, folder / "rtl" / f)
        streams = (("in0", "input", "output", self.ib), ("out0", "output", "input", self.ob))
        ports = ["input wire ap_clk", "input wire ap_rst_n"]
        for n, there, back, b in streams:
            ports += [f"{there} wire [{8 * b - 1}:0] {n}_V_TDATA", f"{there} wire {n}_V_TVALID",
                      f"{back} wire {n}_V_TREADY"]
        names = ", ".join(f".{p.split()[-1]}({p.split()[-1]})" for p in ports)
        values = f".IB({self.ib}), .OB({self.ob}), .BEATS({self.beats}), .KEEP({self.keep}), .DEPTH({self.depth})"
        (folder / f"{TOP}.v").write_text(f"module {TOP} ({', '.join(ports)});\n  toy #({values}) t ({names});\n"
                                         "endmodule\n")
        (folder / "all_verilog_srcs.txt").write_text(f"rtl/bv_util.sv\nrtl/bv_fifo.sv\nrtl/toy.sv\n{TOP}.v\n")
        ins = [Stream((self.beats, self.ib), u(8), self.ib)]
        outs = [Stream((self.beats // self.keep, self.ob), u(8), self.ob)]
        (folder / "design.json").write_text(json.dumps({
            "top": TOP, "inputs": list(map(stream_dict, ins)), "outputs": list(map(stream_dict, outs)), "fifos": [],
            "nodes": {"toy": {"stem": "toy", "op_type": "Toy", "cycles": self.beats}}}))
        return Design.load(folder)

    def compute(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (F, beats, ib) -> uint8 (F, beats // keep, ob)."""
        j = np.arange(self.ob)
        x = frames[:, :, j % self.ib] ^ ((np.arange(self.beats)[:, None] + j) & 255).astype(np.uint8)
        return x.reshape(len(frames), -1, self.keep, self.ob).sum(axis=2, dtype=np.uint64).astype(np.uint8)
