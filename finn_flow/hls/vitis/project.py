"""An HLS project on disk: one instance of a layer with its golden data, for the classic and for the unified tools.

    <name>.cpp           top function, parameters and memory images (:mod:`..generate`)
    <name>_tb.cpp        testbench: feeds the inputs, compares every output beat
    <name>_<port>.hex    golden data, the beats that the C simulation with g++ uses
    include/bhvit/       the kernels, testbench.hpp beside them: the folder can be carried to another machine
    run.tcl              the script (hls/tcl/run.tcl), settings.tcl: what it is to do
    hls.cfg              the same for `v++` and `vitis-run`
    vitis_hls.sh, unified.sh   the commands
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from bhvit.errors import UserError

from ..csim import HlsCase, hex_beats, testbench
from ..generate import HLS, INCLUDE, SIM, kernel, max_width, ports, preamble, prototype, source
from .tools import CLASSIC, PROJECT, UNIFIED

TCL = HLS / "tcl" / "run.tcl"
CFLAGS = "-std=c++14"
#: widest ap_uint in synthesis: UG1399 says 4096, FINN found 8191 to work (finn.util.basic.MAX_ALLOWED_AP_INT_W)
WIDEST = 8191


@dataclass(frozen=True)
class Target:
    """For what is synthesized, and which steps are taken."""

    part: str
    clock_mhz: float
    steps: tuple[str, ...]

    @property
    def period(self) -> str:
        """Clock period in ns."""
        return f"{1000 / self.clock_mhz:.3f}"


def tcl_word(text: str) -> str:
    """A text as one word of a Tcl command."""
    return "".join("\\" + c if c in '{}[]$"\\; ' else c for c in text) or "{}"


def tcl_list(items: list[str]) -> str:
    """Texts as one word that is a list."""
    return "[list " + " ".join(map(tcl_word, items)) + "]"


@dataclass(frozen=True)
class Project:
    """The project of one case in a folder of its own."""

    case: HlsCase
    folder: Path
    target: Target

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def data(self) -> list[str]:
        return [f"{self.name}_{p}.hex" for p, _ in ports(self.case.layer)]

    def testbench(self) -> str:
        width = max_width(self.case.layer, self.case.constants)
        head = preamble([], width) + '#include "testbench.hpp"\n\n' + prototype(self.case.layer, self.name) + ";\n\n"
        return head + testbench([self.case])

    def settings(self) -> str:
        """settings.tcl: the variables of run.tcl."""
        words = {"project": PROJECT, "top": self.name, "part": self.target.part, "period": self.target.period,
                 "cflags": CFLAGS}
        lists = {"sources": [f"{self.name}.cpp"], "testbench": [f"{self.name}_tb.cpp"], "data": self.data,
                 "steps": list(self.target.steps)}
        lines = [f"set {k} {tcl_word(v)}" for k, v in words.items()]
        lines += [f"set {k} {tcl_list(v)}" for k, v in lists.items()]
        return "# Generated: what run.tcl is to do.\n" + "\n".join(lines) + "\n"

    def config(self) -> str:
        """hls.cfg (UG1399, HLS Config File Commands). Files are relative to it, include folders absolute."""
        flags = f"{CFLAGS} -I{self.folder / 'include'} -I{self.folder}"
        entries = [("flow_target", "vivado"), ("clock", f"{self.target.period}ns"), ("syn.top", self.name),
                   ("syn.file", f"{self.name}.cpp"), ("syn.cflags", flags), ("tb.file", f"{self.name}_tb.cpp"),
                   *(("tb.file", d) for d in self.data), ("tb.cflags", flags), ("cosim.rtl", "verilog"),
                   ("cosim.tool", "xsim"), ("cosim.trace_level", "none"), ("package.output.format", "ip_catalog"),
                   ("package.output.syn", "false")]
        return "\n".join([f"part={self.target.part}", "", "[hls]", *(f"{k}={v}" for k, v in entries)]) + "\n"

    def files(self) -> dict[str, str]:
        """Everything that is written, by relative name."""
        layer = self.case.layer
        found = {f"{self.name}.cpp": source(layer, self.name, self.case.constants),
                 f"{self.name}_tb.cpp": self.testbench(), "testbench.hpp": (SIM / "testbench.hpp").read_text(),
                 "run.tcl": TCL.read_text(), "settings.tcl": self.settings(), "hls.cfg": self.config()}
        found |= {f"include/bhvit/{f.name}": f.read_text() for f in sorted((INCLUDE / "bhvit").glob("*.hpp"))}
        if (own := kernel(type(layer))).parent != INCLUDE / "bhvit":  # a layer outside this tree
            found[own.name] = own.read_text()
        found |= {f"{self.name}_{p}.hex": hex_beats(s, x) for p, (s, x) in self.case.vectors().items()}
        for script, tool in (("vitis_hls.sh", CLASSIC), ("unified.sh", UNIFIED)):
            lines = [shlex.join(c) for _, c in tool.commands(self.target.steps)]
            found[script] = "\n".join(["#!/bin/sh", "set -e", 'cd "$(dirname "$0")"', *lines]) + "\n"
        return found

    def write(self) -> str:
        """Write the project and return the digest of its files. What an earlier run with other files left is removed.

        Raises:
            UserError: the folder's name does not survive compiler flags, or a word is too wide for synthesis.
        """
        if any(c.isspace() for c in str(self.folder)):
            raise UserError("HLS projects cannot lie in a folder with a blank in its name.", self.folder,
                            "it becomes part of compiler flags, which blanks separate", "choose another one with -o")
        width = max_width(self.case.layer, self.case.constants)
        if width > WIDEST:
            raise UserError(f"{self.name} has words of {width} bits; Vitis HLS takes at most {WIDEST}.",
                            self.case.layer.stem, "a beat or a word of a memory is one ap_uint",
                            "choose a smaller PE, SIMD or TP for this layer")
        files = self.files()
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        mark = self.folder / "digest"
        if not mark.exists() or mark.read_text() != digest:
            if self.folder.exists():
                shutil.rmtree(self.folder)
            for name, text in files.items():
                file = self.folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                if name.endswith(".sh"):
                    file.chmod(0o755)
            mark.write_text(digest)
        return digest
