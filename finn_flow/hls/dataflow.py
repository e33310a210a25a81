"""Several HLS kernels as one dataflow simulation: a thread per node, bounded streams between them.

What a sequential C simulation cannot show, shows here: a FIFO that is too short ends the run with a deadlock that names
the stream and the processes that wait. :mod:`.chain` makes such a design from any part of a hardware graph. An engine
that blocks share is one with its gate; one process more hands the sets that the gate chooses to the layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..layers.base import Constants, Layer
from ..layers.loop import Loop
from ..streams import Stream
from ..wrapper import follows_schedule
from .csim import CsimResult, compile_source, hex_beats, run_program
from .generate import SETS, beat, instance, max_width, preamble, prototype

#: instances in a source file; a design of many nodes is compiled in pieces, several at a time
NODES_PER_FILE = 24


@dataclass(frozen=True)
class HlsNode:
    """One layer instance and the names of the streams at its ports. gate: name of the gate whose sets it follows."""

    layer: Layer
    name: str
    constants: Constants
    inputs: Sequence[str]
    outputs: Sequence[str]
    gate: str = ""

    @property
    def set_stream(self) -> list[str]:
        """Name of the stream of sets at a gate, or at a layer that follows one."""
        return [f"{self.name}_sets"] if isinstance(self.layer, Loop) or follows_schedule(self.layer) else []

    @property
    def arguments(self) -> list[str]:
        """Streams in the order of the top function."""
        if isinstance(self.layer, Loop):
            return [*self.outputs, *self.set_stream, *self.inputs]
        return [*self.outputs, *self.inputs, *self.set_stream]


def _beats(s: Stream) -> tuple:
    """What the two ends of a stream must agree on."""
    return s.dtype, s.SIMD, s.TP, s.tokens, s.channels


@dataclass
class HlsDataflow:
    """A design: nodes, the depth of every inner stream, and the frames that go in and must come out.

    unused: streams that nobody reads and whose frames are in no order that is known beforehand.
    """

    nodes: list[HlsNode]
    depths: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    unused: Collection[str] = ()

    @property
    def frames(self) -> int:
        return len(next(iter(self.inputs.values())))

    def streams(self) -> dict[str, Stream]:
        """Every stream by name, in the order of the nodes."""
        found: dict[str, Stream] = {}
        for n in self.nodes:
            for name, stream in (*zip(n.inputs, n.layer.inputs(), strict=True),
                                 *zip(n.outputs, n.layer.outputs(), strict=True)):
                if _beats(found.setdefault(name, stream)) != _beats(stream):
                    raise ValueError(f"stream {name}: {found[name]} meets {stream} at {n.name}; "
                                     "put a width_converter between them.")
        return found

    def vectors(self) -> dict[str, tuple[Stream, np.ndarray]]:
        """Frames by the name of an outer stream."""
        streams = self.streams()
        return {k: (streams[k], x) for k, x in (self.inputs | self.expected).items()}

    def _width(self) -> int:
        return max(max_width(n.layer, n.constants) for n in self.nodes)

    def parts(self) -> list[str]:
        """Source files with the instances."""
        groups = [self.nodes[i : i + NODES_PER_FILE] for i in range(0, len(self.nodes), NODES_PER_FILE)]
        return ["\n".join([preamble(sorted({n.layer.stem for n in g}), self._width()),
                           *(instance(n.layer, n.name, n.constants) for n in g)]) for g in groups]

    def _sets(self) -> tuple[list[str], list[str]]:
        """Declarations of the streams of sets, and the processes that take them from the gates to the layers.

        The program prints the order that a gate has chosen as ``schedule GATE SET SET ...``.
        """
        declared, processes = [], []
        for gate in (n for n in self.nodes if isinstance(n.layer, Loop)):
            to = [s for n in self.nodes if n.gate == gate.name for s in n.set_stream]
            (source,) = gate.set_stream
            # a set that a layer has not taken yet belongs to a frame under way: the schedule of the RTL needs no more
            declared += [f'    hls::stream<{beat(SETS)}> {s}("{s}");\n    {s}.set_depth({gate.layer.in_flight});'
                         for s in (source, *to)]
            writes = "".join(f" {s}.write(set);" for s in to)
            declared.append(f"    std::string {gate.name}_order;")
            processes.append(f'    all.add("{gate.name}_schedule", [&] {{ for (int f = 0; f < '
                             f"{self.frames * gate.layer.rounds}; f++) {{ const auto set = {source}.read();{writes} "
                             f'{gate.name}_order += " " + std::to_string(int(set)); }} }});')
        return declared, processes

    def testbench(self, name: str = "design") -> str:
        """Source file with the main function, which runs the instances as threads."""
        streams = self.streams()
        declared, processes = self._sets()
        body = [f'    hls::stream<{beat(s)}> {k}("{k}");' for k, s in streams.items()] + declared
        body += [f"    {k}.set_depth({self.depths[k]});" for k in streams if k in self.depths]
        reader = {k: n.name for n in self.nodes for k in n.inputs}
        body += [f'    {k}.set_ends("{n.name}", "{reader[k]}");' for n in self.nodes for k in n.outputs if k in reader]
        body += [f'    t.feed({k}, "{k}");' for k in self.inputs]
        body.append("    hls::sim::Processes all;")
        for n in self.nodes:
            loop = f"for (int f = 0; f < {self.frames * n.layer.passes}; f++) {n.name}({', '.join(n.arguments)});"
            body.append(f'    all.add("{n.name}", [&] {{ {loop} }});')
        body += [*processes, "    all.run();"]
        body += [f"    while (!{k}.empty()) {k}.read();" for k in self.unused]
        body += [f'    std::cout << "schedule {n.name}" << {n.name}_order << std::endl;' for n in self.nodes
                 if isinstance(n.layer, Loop)]
        body += [f'    t.compare({k}, "{k}");' for k in self.expected]
        body += [f"    t.used_up({k});" for k in streams if k not in self.expected]
        return "\n".join([preamble([], self._width()), *(f"{prototype(n.layer, n.name)};" for n in self.nodes),
                          "int main(int count, char** words) {",
                          '  const std::string folder = count > 1 ? words[1] : ".";',
                          f'  return bhvit_sim::Case("{name}", folder).run([&](bhvit_sim::Case& t) {{', *body,
                          "  }) ? 0 : 1;", "}"]) + "\n"

    def compile(self, folder: Path, name: str = "design", *, jobs: int = 1, objects: Sequence[Path] | None = None,
                **options) -> tuple[Path, list[Path]]:
        """Write vectors and sources into ``folder`` and compile them.

        Args:
            objects: compiled instances of a design that differs only in depths and frames (the second result of an
                earlier call). options: see :func:`.csim.compile_source`.
        Returns:
            The program, and the object files of the instances.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for k, (stream, frames) in self.vectors().items():
            (folder / f"{name}_{k}.hex").write_text(hex_beats(stream, frames))
        kernels = {type(n.layer) for n in self.nodes}
        if objects is None:
            parts = self.parts()
            with ThreadPoolExecutor(jobs) as pool:
                objects = list(pool.map(lambda i: compile_source(parts[i], kernels, folder, name=f"part{i}",
                                                                 objects=None, **options), range(len(parts))))
        exe = compile_source(self.testbench(name), kernels, folder, name="csim", objects=objects, **options)
        return exe, list(objects)

    def run(self, folder: Path, name: str = "design", **options) -> CsimResult:
        """Compile and run; see :meth:`compile` for the options."""
        exe, _ = self.compile(folder, name, **options)
        return run_program(exe, {name: self.streams()})
