"""The Verilog that Vitis HLS writes, in place of a node's RTL in a stitched design.

It is looked for where the tools put it: `<project>/<solution>/syn/verilog` (classic), `<work_dir>/hls/syn/verilog`
(unified), `project_<node>/sol1/impl/verilog` (FINN). Modules in `.v` files, memories in `.dat` files that `$readmemh`
finds in the folder of the simulation. The top has AXI-stream ports, `ap_clk`, `ap_rst_n` and, with `ap_ctrl_none`, no
others (UG1399, "Interfaces for Vivado IP Flow").

In an engine that blocks share, the sets of constants are a stream of the top function (`in_set`, `out_set`) and a
register of the design (`schedule`, see rtl/bv_loop.sv). The wrapper makes one of the other: RTL and HLS stand together.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhvit.errors import UserError

from ...layers.base import Layer
from ...streams import Stream
from ..generate import IN_SET, OUT_SET, SETS, ports

#: where Verilog lies below a project, in the order of preference; FINN's copy last
PLACES = ("prj/solution1/syn/verilog", "work/hls/syn/verilog", "**/syn/verilog", "**/impl/verilog")
#: what :mod:`.run` says of a project, in its folder
RESULT = "result.json"
_PORT = re.compile(r"\b(input|output)\s+(?:wire\s+|reg\s+|logic\s+)?(?:\[\s*(\d+)\s*:\s*0\s*\]\s*)?(\w+)")
#: a layer in an engine: the set of a frame goes ahead of its first beat, before which the gate has written it
_TAKE_SET = """
  reg [3:0] slot;  // frames begun
  reg told;        // the set of the next one is gone
  reg [{bits}-1:0] beat;
  wire first = beat == {bits}'d0;
  wire in_set_V_TVALID = in0_V_TVALID && first && !told;
  wire [7:0] in_set_V_TDATA = {{4'd0, schedule[4*slot+:4]}};
  wire in_set_V_TREADY;
  wire go = told || !first;
  wire core_TREADY;
  assign in0_V_TREADY = core_TREADY && go;
  always @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      slot <= 4'd0;
      told <= 1'b0;
      beat <= {bits}'d0;
    end else begin
      if (in_set_V_TVALID && in_set_V_TREADY) told <= 1'b1;
      if (in0_V_TVALID && in0_V_TREADY) begin
        beat <= beat == {bits}'d{last} ? {bits}'d0 : beat + 1'b1;
        if (first) told <= 1'b0;
        if (first) slot <= slot + 1'b1;
      end
    end
  end
"""
#: the gate: what it says is in the schedule before the frame's first beat leaves
_GIVE_SET = """
  reg [3:0] said, begun;  // frames
  reg [{bits}-1:0] beat;
  wire out_set_V_TVALID;
  wire [7:0] out_set_V_TDATA;
  wire first = beat == {bits}'d0;
  wire go = !first || said != begun;
  wire core_TVALID;
  assign out0_V_TVALID = core_TVALID && go;
  always @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      schedule <= 64'd0;
      said <= 4'd0;
      begun <= 4'd0;
      beat <= {bits}'d0;
    end else begin
      if (out_set_V_TVALID) begin
        schedule[4*said+:4] <= out_set_V_TDATA[3:0];
        said <= said + 1'b1;
      end
      if (out0_V_TVALID && out0_V_TREADY) begin
        beat <= beat == {bits}'d{last} ? {bits}'d0 : beat + 1'b1;
        if (first) begun <= begun + 1'b1;
      end
    end
  end
"""
_CONTROL = {"ap_start", "ap_done", "ap_idle", "ap_ready", "ap_continue"}


class HlsRtlError(UserError):
    """A folder does not hold Verilog that fits the node."""


def modules(text: str) -> dict[str, str]:
    """Bodies of the modules of a Verilog source, without comments and attributes."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/|\(\*[^)]*?\*\)", " ", text, flags=re.S)
    return {m[1]: m[2] for m in re.finditer(r"\bmodule\s+(\w+)(.*?)\bendmodule\b", text, re.S)}


def _folder(place: Path) -> Path:
    if not place.is_dir():
        raise HlsRtlError("The folder of an HLS node does not exist.", place, do="check `hls_rtl` in the build file")
    for candidate in (place, *(f for p in PLACES for f in sorted(place.glob(p)))):
        if any(candidate.glob("*.v")):
            return candidate
    raise HlsRtlError("The folder of an HLS node holds no Verilog.", place, "Vitis HLS writes it to syn/verilog",
                      "synthesize the node: `bhvit hls cosim NODE --build BUILD_DIR`")


def _failure(place: Path) -> str | None:
    """Why the last run of a project, whose folder or a folder in it this is, did not pass; None where it did, or where
    nothing says so."""
    place = place.resolve()
    for folder in (place, *list(place.parents)[:4]):  # as deep as PLACES are
        result: Any = None
        with suppress(OSError, ValueError):  # no project of ours, or none that was run here
            result = json.loads((folder / RESULT).read_text())
        if isinstance(result, dict) and "digest" in result and result.get("ok") is False:
            return result.get("why") or "see the logs there"
    return None


def digest(place: Path) -> str:
    """SHA-256 of the Verilog and the memories that :meth:`HlsRtl.load` takes from there, and of a failure."""
    folder = _folder(Path(place))
    files = sorted(f for f in folder.iterdir() if f.suffix in (".v", ".dat"))
    said = (_failure(Path(place)) or "").encode()
    return hashlib.sha256(b"".join(f.name.encode() + b"\0" + f.read_bytes() for f in files) + said).hexdigest()


@dataclass(frozen=True)
class HlsRtl:
    """Verilog of one instance. ports: (direction, bits) by name of the top module."""

    node: str
    top: str
    sources: list[Path]
    data: list[Path]
    ports: dict[str, tuple[str, int]]

    @classmethod
    def load(cls, place: Path, node: str) -> HlsRtl:
        """Find the Verilog of a node in a project folder, or in the folder that holds the `.v` files.

        Raises:
            HlsRtlError: there is none, or more than one module that no other uses; the project has failed.
        """
        if (why := _failure(Path(place))) is not None:  # its Verilog may be wrong
            raise HlsRtlError("An HLS node did not pass in Vitis.", place, why,
                              f"run `bhvit hls cosim` again, or delete {RESULT} there to take its Verilog as it is")
        folder = _folder(Path(place))
        if any(folder.glob("*_ip.tcl")):
            raise HlsRtlError("The Verilog of an HLS node uses the vendor's cores.", folder,
                              "a *_ip.tcl beside it makes Vivado generate them",
                              "they cannot be simulated with Verilator")
        sources = sorted(folder.glob("*.v"))
        found = {n: body for f in sources for n, body in modules(f.read_text()).items()}
        used = {n for n in found for other, body in found.items()
                if n != other and re.search(rf"\b{n}\b\s*[#\w]", body)}
        roots = [node] if node in found else sorted(found.keys() - used)
        if len(roots) != 1:
            raise HlsRtlError(f"It is not clear which module stands for `{node}`.", folder,
                              f"{', '.join(roots) or 'no module'} could be the top",
                              "name the top function after the node")
        ports = {m[3]: (m[1], int(m[2] or 0) + 1) for m in _PORT.finditer(found[roots[0]])}
        return cls(node, roots[0], sources, sorted(folder.glob("*.dat")), ports)

    @property
    def module(self) -> str:
        """Name of the module that :meth:`wrapper` makes."""
        return f"{self.node}_hls_wrapper"

    def _stream(self, port: str, stream: Stream, direction: str) -> dict[str, str]:
        """Connections of a stream."""
        name = next((p for p in (f"{port}_V", port, f"{port}_V_V") if f"{p}_TDATA" in self.ports), None)
        if name is None:
            raise HlsRtlError(f"The HLS module `{self.top}` has no port for {port}.", self.sources[0].parent,
                              f"it has {', '.join(self.ports)}; {port}_V_TDATA or {port}_TDATA is expected")
        got = self.ports[f"{name}_TDATA"]
        if got != (direction, stream.padded_width):
            raise HlsRtlError(f"The HLS module `{self.top}` does not fit the node `{self.node}`.", f"{name}_TDATA",
                              f"it is an {got[0]} of {got[1]} bits, not an {direction} of {stream.padded_width} bits",
                              "synthesize the node again: foldings or widths have changed")
        return {f"{name}_{s}": f"{port}_V_{s}" for s in ("TDATA", "TVALID", "TREADY")}

    def wrapper(self, layer: Layer) -> str:
        """Verilog of a module with the ports of :func:`...wrapper.wrapper` around the HLS module.

        Raises:
            HlsRtlError: a port is missing, has another width, or is not known.
        """
        lines, connections = ["input wire ap_clk", "input wire ap_rst_n"], {"ap_clk": "ap_clk"}
        connections |= {"ap_rst": "!ap_rst_n"} if "ap_rst" in self.ports else {"ap_rst_n": "ap_rst_n"}
        body = ""
        for p, st in ports(layer):
            direction, back = ("input", "output") if p.startswith("in") else ("output", "input")
            stream = self._stream(p, st, direction)
            connections |= stream
            if st is SETS:
                register, text = ("output reg", _GIVE_SET) if p == OUT_SET else ("input wire", _TAKE_SET)
                lines.append(f"{register} [63:0] schedule")
                other = "out0" if p == OUT_SET else "in0"
                beats = dict(ports(layer))[other].beats
                body = text.format(bits=max(1, (beats - 1).bit_length()), last=beats - 1)
                continue
            lines += [f"{direction} wire [{st.padded_width - 1}:0] {p}_V_TDATA", f"{direction} wire {p}_V_TVALID",
                      f"{back} wire {p}_V_TREADY"]
        inner = dict(zip(connections.values(), connections))
        if OUT_SET in dict(ports(layer)):
            connections |= {inner["out0_V_TVALID"]: "core_TVALID", inner["out0_V_TREADY"]: "out0_V_TREADY && go",
                            inner["out_set_V_TREADY"]: "1'b1"}
        if IN_SET in dict(ports(layer)):
            connections |= {inner["in0_V_TVALID"]: "in0_V_TVALID && go", inner["in0_V_TREADY"]: "core_TREADY"}
        if control := sorted(_CONTROL & self.ports.keys()):
            raise HlsRtlError(f"The HLS module `{self.top}` waits to be started.", ", ".join(control),
                              "its top function has a block-level protocol", "synthesize it with ap_ctrl_none")
        if other := sorted(self.ports.keys() - connections.keys()):
            raise HlsRtlError(f"The HLS module `{self.top}` has ports that the node does not have.", ", ".join(other))
        if missing := sorted(connections.keys() - self.ports.keys()):
            raise HlsRtlError(f"The HLS module `{self.top}` lacks ports.", ", ".join(missing))
        nl = ",\n    "
        return (f"// Generated: the Verilog of Vitis HLS for {self.node}, under the ports of a stitched design.\n"
                f"`default_nettype none\nmodule {self.module} (\n    {nl.join(lines)}\n);\n{body}"
                f"  {self.top} core (\n    " + nl.join(f".{k}({v})" for k, v in connections.items())
                + "\n  );\nendmodule\n`default_nettype wire\n")


def check_names(instances: list[HlsRtl], kernels: list[Path]) -> None:
    """Raise HlsRtlError when two sources define a module, or write a memory, differently under one name."""
    seen: dict[str, tuple[str, str]] = {m: ("this project's RTL", "") for f in kernels for m in modules(f.read_text())}
    for r in instances:
        entries = [(m, body) for f in r.sources for m, body in modules(f.read_text()).items()]
        for name, text in [*entries, *((f.name, f.read_text()) for f in r.data)]:
            owner, other = seen.setdefault(name, (r.node, text))
            if owner != r.node and other != text:
                raise HlsRtlError(f"Two HLS nodes define `{name}` differently.", f"{owner}, {r.node}",
                                  "a stitched design has one name space",
                                  "give the top functions the names of their nodes, which Vitis HLS puts before others")
