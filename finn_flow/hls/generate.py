"""The HLS top function of one layer instance, generated from its declaration (docs/decisions/0004-hls-conventions.md).

A node becomes three things in C++: a struct with the RTL parameters, the streams and the sizes of the memories; one
constant array per memory image, with the words of the RTL's ``$readmemh`` file; a function with AXI-stream ports that
runs the kernel template ``bhvit::<stem>`` for one frame. The kernel is all that is written by hand.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from ..layers.base import Constants, Layer, Memory
from ..layers.loop import Loop
from ..layers.width_converter import WidthConverter
from ..streams import Stream, u
from ..wrapper import follows_schedule

HLS = Path(__file__).resolve().parents[2] / "hls"
INCLUDE, SIM = HLS / "include", HLS / "sim"
#: widest ap_uint without asking for more (the vendor's default)
AP_INT_MAX_W = 1024
#: of every frame in an engine that blocks share, the set of constants that it uses: from the gate to the layers
SETS = Stream((1, 1), u(4))
OUT_SET, IN_SET = "out_set", "in_set"


def kernel(layer: type[Layer]) -> Path:
    """The layer's header; one beside the declaration (a layer outside this tree) is taken before hls/include/bhvit."""
    beside = Path(inspect.getfile(layer)).parent / f"{layer.stem}.hpp"
    return beside if beside.exists() else INCLUDE / "bhvit" / f"{layer.stem}.hpp"


def has_kernel(layer: type[Layer]) -> bool:
    """Whether the layer exists in HLS."""
    return kernel(layer).exists()


def ports(layer: Layer) -> list[tuple[str, Stream]]:
    """Stream ports in the order of the top function: outputs, then inputs.

    ``out_set`` of a gate and ``in_set`` of a layer in its engine are what the RTL has as ``schedule``
    (docs/decisions/0004-hls-conventions.md).
    """
    found = [(f"out{i}", s) for i, s in enumerate(layer.outputs())]
    if isinstance(layer, Loop):
        found.append((OUT_SET, SETS))
    found += [(f"in{i}", s) for i, s in enumerate(layer.inputs())]
    return [*found, (IN_SET, SETS)] if follows_schedule(layer) else found


def beat(stream: Stream) -> str:
    return f"ap_uint<{stream.padded_width}>"


def _stream_type(stream: Stream) -> str:
    t = stream.dtype
    kind = "BIPOLAR" if t.bipolar else "SIGNED" if t.signed else "UNSIGNED"
    return (f"bhvit::Stream<{t.bits}, bhvit::{kind}, {stream.SIMD}, {stream.TP}, {stream.tokens}, {stream.channels}>")


def _constant(name: str, value: int) -> str:
    if -(2**31) < value < 2**31:
        return f"  static constexpr int {name} = {value};"
    return f"  static constexpr long long {name} = {value}LL;"


def _list(name: str, values: list[int]) -> str:
    body = "int i) { return " + "".join(f"i == {i} ? {v}LL : " for i, v in enumerate(values)) if values else \
        "int) { return "
    return (f"  static constexpr int {name.upper()}_COUNT = {len(values)};\n"
            f"  static constexpr long long {name}({body}0LL; }}")


def parameters(layer: Layer, name: str, memories: dict[str, Memory]) -> str:
    """The struct ``<name>_p``: everything that the kernel template knows at compile time."""
    values = dict(layer.rtl_parameters())
    for k, m in memories.items():
        values |= {f"{k}_WIDTH": m.width, f"{k}_DEPTH": m.depth}
    # numbers that the RTL packs into more bits than a C++ constant has come as functions of their lists, below
    lines = [_constant(k, v) for k, v in values.items() if v.bit_length() < 64]
    lines += [_list(k, v) for k, v in layer if isinstance(v, list)]
    lines += [f"  typedef {_stream_type(s)} {p.capitalize()};" for p, s in ports(layer) if p not in (OUT_SET, IN_SET)]
    return f"struct {name}_p {{\n" + "\n".join(lines) + "\n};\n"


def memory(name: str, image: Memory) -> str:
    """A constant array with the words of the memory image.

    The prefix matters: ap_uint reads a text that begins with 0b, 0o or 0d as another base.
    """
    w = image.width
    words = [f"0x{x}ULL" if w <= 64 else f'ap_uint<{w}>("0x{x}", 16)' for x in image.hex_lines()]
    rows = [", ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    return f"static const ap_uint<{w}> {name}[{image.depth}] = {{\n    " + ",\n    ".join(rows) + "};\n"


def prototype(layer: Layer, name: str) -> str:
    """Head of the top function. Its arguments are called ``in0_V``, so that the ports of the synthesized module are
    those of FINN's stitched designs (``in0_V_TDATA``) and of :mod:`..wrapper`.
    """
    return f"void {name}(" + ", ".join(f"hls::stream<{beat(s)}>& {p}_V" for p, s in ports(layer)) + ")"


def instance(layer: Layer, name: str, constants: Constants) -> str:
    """Parameters, memories and top function of one instance (what follows :func:`preamble`)."""
    memories = layer.memories(constants)
    arguments = [f"{p}_V" for p, _ in ports(layer)]
    overlaps = "#pragma HLS DATAFLOW" in kernel(type(layer)).read_text()
    body = [f"#pragma HLS INTERFACE axis port={p}" for p in arguments]
    body.append("#pragma HLS INTERFACE ap_ctrl_none port=return")
    helpers = []
    if overlaps:  # frames overlap only where the top function is a dataflow region, which holds nothing but calls
        body.append("#pragma HLS DATAFLOW")
    # by default a reset leaves statics as they are
    counter = (f"  static bhvit::SetCounter<{layer.sets}, {layer.repeat}> sets;\n"
               "#pragma HLS RESET variable=sets")
    source = f"{IN_SET}_V" if follows_schedule(layer) else ""
    parameter = f", hls::stream<{beat(SETS)}>& {source}" if source else ""
    if memories and overlaps:
        helpers.append(f"static void {name}_set(int& set{parameter}) {{\n{counter}\n  set = sets.next({source});\n}}\n")
        body += ["  int set;", f"  {name}_set(set{source and ', ' + source});"]
    elif memories:
        body += [counter, f"  const int set = sets.next({source});"]
    arguments = [a for a in arguments if a != source]
    if memories:
        arguments = ["set", *(f"{name}_{k.lower()}" for k in memories), *arguments]
    body.append(f"  bhvit::{layer.stem}<{name}_p>({', '.join(arguments)});")
    arrays = [memory(f"{name}_{k.lower()}", m) for k, m in memories.items()]
    return "\n".join([parameters(layer, name, memories), *arrays, *helpers, f"{prototype(layer, name)} {{", *body,
                      "}"]) + "\n"


def max_width(layer: Layer, constants: Constants) -> int:
    """Widest word that the instance declares: a beat, a word of a memory, or what a converter collects."""
    streams = [s for _, s in ports(layer)]
    widths = [s.padded_width for s in streams] + [m.width for m in layer.memories(constants).values()]
    if isinstance(layer, WidthConverter):
        widths.append(layer.middle() * max(s.TP for s in streams) * streams[0].dtype.bits)
    return max(widths)


def preamble(stems: list[str], width: int = 0) -> str:
    """Head of a source file with instances of these layers."""
    lines = ["// Generated."]
    if width > AP_INT_MAX_W:
        lines.append(f"#ifndef AP_INT_MAX_W\n#define AP_INT_MAX_W {-(-width // 1024) * 1024}\n#endif")
    inside = {f.stem for f in (INCLUDE / "bhvit").glob("*.hpp")}
    return "\n".join([*lines, *(f'#include "{"bhvit/" * (s in inside)}{s}.hpp"' for s in stems)]) + "\n\n"


def source(layer: Layer, name: str, constants: Constants) -> str:
    """Complete source file of the instance ``name``: the top function that is synthesized."""
    return preamble([layer.stem], max_width(layer, constants)) + instance(layer, name, constants)
