"""Which of AMD's HLS tools is there, and the commands that take a project through its steps with it.

Classic: one `vitis_hls -f run.tcl` for all steps. Unified (2023.1 and later): `v++ -c --mode hls` synthesizes,
`vitis-run --mode hls` does the rest, each step with the project's hls.cfg (UG1702, vitis-run Command). A `vitis-run`
without `v++` runs the Tcl script. AMD removes `vitis_hls` from releases, so a tool is looked up, never guessed from a
version.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from bhvit.tools import ToolMissing

STEPS = ("csim", "csynth", "cosim", "export")
TOOLS = ("auto", "vitis_hls", "vitis-run")
#: working folder of the unified tools, project of the classic ones
WORK, PROJECT = "work", "prj"
#: what the report calls them
NAMES = {"vitis_hls": "vitis_hls", "unified": "v++ and vitis-run", "tcl": "vitis-run --tcl"}
_UNIFIED = {"csim": "--csim", "cosim": "--cosim", "export": "--package"}


@dataclass(frozen=True)
class Tool:
    """kind: vitis_hls, unified (`v++` and `vitis-run`) or tcl (`vitis-run` as the Tcl shell)."""

    kind: str
    paths: dict[str, str]

    @property
    def name(self) -> str:
        return NAMES[self.kind]

    def commands(self, steps: tuple[str, ...]) -> list[tuple[tuple[str, ...], list[str]]]:
        """The commands, to be run in a project's folder in this order, each with the steps that it takes."""
        if self.kind == "vitis_hls":
            return [(steps, [self.paths["vitis_hls"], "-f", "run.tcl"])]
        run = [self.paths["vitis-run"], "--mode", "hls"]
        if self.kind == "tcl":
            return [(steps, [*run, "--tcl", "run.tcl"])]
        config = ["--config", "hls.cfg", "--work_dir", WORK]
        synthesize = [self.paths.get("v++", "v++"), "-c", "--mode", "hls"]
        return [((s,), [*(synthesize if s == "csynth" else [*run, _UNIFIED[s]]), *config]) for s in steps]


#: both ways with the tools' bare names, for the scripts that a project carries
CLASSIC = Tool("vitis_hls", {"vitis_hls": "vitis_hls"})
UNIFIED = Tool("unified", {"vitis-run": "vitis-run", "v++": "v++"})


def find(wanted: str = "auto") -> Tool:
    """The tool that is on PATH; with "auto" the unified ones before the classic.

    Raises:
        ToolMissing: one sentence.
    """
    paths = {n: p for n in ("vitis-run", "v++", "vitis_hls") if (p := shutil.which(n))}
    if wanted in ("auto", "vitis-run") and "vitis-run" in paths:
        if "v++" in paths:
            return Tool("unified", paths)
        if wanted == "vitis-run" or "vitis_hls" not in paths:
            return Tool("tcl", paths)
    if wanted in ("auto", "vitis_hls") and "vitis_hls" in paths:
        return Tool("vitis_hls", paths)
    which = "neither `vitis-run` nor `vitis_hls` is" if wanted == "auto" else f"`{wanted}` is not"
    raise ToolMissing(f"Vitis HLS was not found: {which} on PATH (source the settings64.sh of a Vitis installation; "
                      "without it `bhvit hls csim` simulates the kernels with g++).")
