"""Several HLS kernels as one dataflow simulation: a thread per node, bounded streams between them.

What a sequential C simulation cannot show, shows here: a FIFO that is too short ends the run with a deadlock that names
the stream and the processes that wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..layers.base import Constants, Layer
from ..streams import Stream
from .csim import CsimResult, compile_program, run_program
from .generate import beat, instance, max_width, preamble


@dataclass(frozen=True)
class HlsNode:
    """One layer instance and the names of the streams at its ports."""

    layer: Layer
    name: str
    constants: Constants
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass
class HlsDataflow:
    """A design: nodes, the depth of every inner stream, and the frames that go in and must come out."""

    nodes: list[HlsNode]
    depths: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def frames(self) -> int:
        return len(next(iter(self.inputs.values())))

    def streams(self) -> dict[str, Stream]:
        """Every stream by name, in the order of the nodes."""
        found: dict[str, Stream] = {}
        for n in self.nodes:
            for name, stream in (*zip(n.inputs, n.layer.inputs(), strict=True),
                                 *zip(n.outputs, n.layer.outputs(), strict=True)):
                if found.setdefault(name, stream) != stream:
                    raise ValueError(f"stream {name}: {found[name]} meets {stream} at {n.name}; "
                                     "put a width_converter between them.")
        return found

    def vectors(self) -> dict[str, tuple[Stream, np.ndarray]]:
        """Frames by the name of an outer stream."""
        streams = self.streams()
        return {k: (streams[k], x) for k, x in (self.inputs | self.expected).items()}

    def program(self, name: str = "design") -> str:
        """One source file: the instances, and a testbench that runs them as threads."""
        width = max(max_width(n.layer, n.constants) for n in self.nodes)
        text = [preamble(sorted({n.layer.stem for n in self.nodes}), width)]
        text += [instance(n.layer, n.name, n.constants) for n in self.nodes]
        body = [f'    hls::stream<{beat(s)}> {k}("{k}");' for k, s in self.streams().items()]
        body += [f"    {k}.set_depth({self.depths[k]});" for k in self.streams() if k in self.depths]
        body += [f'    t.feed({k}, "{k}");' for k in self.inputs]
        body.append("    hls::sim::Processes all;")
        for n in self.nodes:
            ports = ", ".join((*n.outputs, *n.inputs))
            loop = f"for (int f = 0; f < {self.frames}; f++) {n.name}({ports});"
            body.append(f'    all.add("{n.name}", [&] {{ {loop} }});')
        body.append("    all.run();")
        body += [f'    t.compare({k}, "{k}");' for k in self.expected]
        body += [f"    t.used_up({k});" for k in self.streams() if k not in self.expected]
        return "\n".join([*text, "int main(int count, char** words) {",
                          '  const std::string folder = count > 1 ? words[1] : ".";',
                          f'  return bhvit_sim::Case("{name}", folder).run([&](bhvit_sim::Case& t) {{', *body,
                          "  }) ? 0 : 1;", "}"]) + "\n"

    def run(self, folder: Path, name: str = "design", **options) -> CsimResult:
        """Compile and run; see :func:`.csim.compile_program` for the options."""
        vectors = {f"{name}_{k}": v for k, v in self.vectors().items()}
        exe = compile_program(self.program(name), vectors, {type(n.layer) for n in self.nodes}, folder, **options)
        return run_program(exe, {name: self.streams()})
