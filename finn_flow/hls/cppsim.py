"""Nodes as C++ programs: what FINN's ``exec_mode=cppsim`` runs, compiled with g++ and the project's own headers.

A program holds one node or several (compiling is nearly all of the time, and each program has a fixed share in it). It
runs the node named on its command line on frames from binary files; see ``hls/sim/node_program.hpp``.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bhvit.errors import UserError
from bhvit.tools import compiler

from ..layers.base import Constants, Layer
from ..wrapper import follows_schedule
from .csim import FLAGS, SANITIZE, compile_source
from .generate import IN_SET, INCLUDE, SETS, SIM, beat, instance, kernel, max_width, ports, preamble


class CppsimFailed(UserError, RuntimeError):
    """A node's program ended with an error; ``why`` says which."""


@dataclass(frozen=True)
class Instance:
    """A node: its name, which becomes that of the top function, and what it is made of."""

    name: str
    layer: Layer
    constants: Constants

    def content(self) -> str:
        """What the node computes, whatever it is called: equal for nodes that may share their code."""
        return instance(self.layer, "node", self.constants)


def _body(node: Instance) -> str:
    """Function that runs the node's frames, and its entry in the program's list."""
    every = ports(node.layer)
    inputs = [p for p, _ in every if p.startswith("in")]
    return "\n".join([
        f"static void run_{node.name}(const std::string& folder, int frames) {{",
        *(f'  hls::stream<{beat(s)}> {p}("{p}");' for p, s in every),
        *(f'  bhvit_sim::feed({p}, folder + "/{p}.bin");' for p in inputs),
        f"  for (int f = 0; f < frames; f++) {node.name}({', '.join(p for p, _ in every)});",
        *(f"  bhvit_sim::used_up({p});" for p in inputs),
        *(f'  bhvit_sim::store({p}, folder + "/{p}.bin");' for p, _ in every if p not in inputs),
        "}", f'static bhvit_sim::Node entry_{node.name}("{node.name}", run_{node.name});', ""])


def program(nodes: Sequence[Instance]) -> str:
    """One source file with all nodes and the main function."""
    head = preamble(sorted({n.layer.stem for n in nodes}), max(max_width(n.layer, n.constants) for n in nodes))
    return (head + '#include "node_program.hpp"\n\n'
            + "\n".join(instance(n.layer, n.name, n.constants) + _body(n) for n in nodes)
            + "\nint main(int count, char** words) { return bhvit_sim::node_program(count, words); }\n")


def digest(text: str, nodes: Sequence[Instance], sanitize: bool = False) -> str:
    """Changes with the program's source, with every header that it may read, the compiler and its flags."""
    h = hashlib.sha256(repr((text, str(compiler()), FLAGS, SANITIZE if sanitize else ())).encode())
    headers = {*SIM.glob("*.h*"), *(INCLUDE / "bhvit").glob("*.hpp"), *(kernel(type(n.layer)) for n in nodes)}
    for f in sorted(headers):
        h.update(f.name.encode() + b"\0" + f.read_bytes())
    return h.hexdigest()


def compile_nodes(nodes: Sequence[Instance], folder: Path, *, sanitize: bool = False) -> Path:
    """Compile one program with all nodes into ``folder``, unless the folder holds that very program.

    Raises:
        HlsCompileError: a kernel cannot be compiled; ``why`` is the compiler's first error.
    """
    text, mark = program(nodes), Path(folder) / "digest"
    want = digest(text, nodes, sanitize)
    if mark.exists() and mark.read_text() == want and (Path(folder) / "csim").exists():
        return Path(folder) / "csim"
    mark.unlink(missing_ok=True)
    exe = compile_source(text, {type(n.layer) for n in nodes}, folder, sanitize=sanitize)
    mark.write_text(want)
    return exe


def run_node(exe: Path, name: str, layer: Layer, inputs: Sequence[np.ndarray],
             timeout: float = 3600) -> list[np.ndarray]:
    """Run frames through a node of a compiled program.

    Args:
        inputs: integers (F, *dims) per stream. Returns: int64 (F, *dims) per output stream.
    Raises:
        CppsimFailed: the program ended with an error, or wrote another number of beats than the layer declares.
    """
    frames = len(inputs[0])
    with tempfile.TemporaryDirectory(prefix="bhvit-cppsim-") as tmp:
        for i, (st, x) in enumerate(zip(layer.inputs(), inputs, strict=True)):
            (Path(tmp) / f"in{i}.bin").write_bytes(st.pack(x).tobytes())
        if follows_schedule(layer):
            sets = layer.set_of_frame(frames).reshape(-1, 1, 1)
            (Path(tmp) / f"{IN_SET}.bin").write_bytes(SETS.pack(sets).tobytes())
        try:
            p = subprocess.run([exe, name, str(frames), tmp], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise CppsimFailed(f"The C++ program of node {name} has not ended after {timeout:.0f} s.", exe,
                               "it stands still, or the machine is too busy") from error
        if p.returncode:
            said = [x for x in p.stderr.splitlines() if re.search(r"ERROR|error|Assertion|terminate", x)]
            raise CppsimFailed(f"The C++ program of node {name} failed (exit code {p.returncode}).", exe,
                               said[0] if said else p.stderr[-300:].strip() or None)
        outputs = []
        for i, st in enumerate(layer.outputs()):
            raw = np.fromfile(Path(tmp) / f"out{i}.bin", dtype=np.uint8)
            want = frames * st.beats * st.padded_width // 8
            if raw.size != want:
                raise CppsimFailed(f"The C++ program of node {name} wrote {raw.size} bytes to out{i}.", exe,
                                   f"the layer declares {want} for {frames} frames")
            outputs.append(st.unpack(raw.reshape(frames * st.beats, -1)))
    return outputs
