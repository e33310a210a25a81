"""A stand-in for Vivado: evaluates the scripts for real, with commands that check what they are given.

Every command that the scripts use is declared with its options; an unknown command, option, file, cell, pin, interface
or property is an error, as it would be in Vivado. Pins and interfaces of the project's own parts come from the Verilog
that was generated for them. As a program (`python -m tests.shell.fake_vivado -mode batch ... -source FILE`) it writes
a bit file, a hwh and sample reports; FAKE_VIVADO says how it ends: ok, timing, error, clock, memory,
no_report, no_hwh.
"""

from __future__ import annotations

import os
import re
import sys
import tkinter
from pathlib import Path

from .vivado_commands import COMMANDS, IP, PARTS, PROPERTIES

SAMPLES = Path(__file__).with_name("samples")
#: property with the clock that a processing system makes -> its cell, and the property with the clock asked for
ACTUAL = {"CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ":
          ("zynq_ultra_ps_e_0", "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"),
          "CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ":
          ("processing_system7_0", "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ")}

class Refused(Exception):
    """What Vivado would not do."""


def verilog_ports(files: list[Path], top: str) -> set[str]:
    """Port names of a generated Verilog module."""
    text = next(t for t in (f.read_text() for f in files if f.suffix == ".v") if re.search(rf"module {top}\b", t))
    head = text[text.index(f"module {top}"): text.index(");", text.index(f"module {top}"))]
    return set(re.findall(r"(\w+)\s*(?=,|\n|$)", head.split("(", 1)[1]))


def interfaces(ports: set[str]) -> set[str]:
    """Bus interfaces that the packager infers from port names."""
    found = {m[1] for p in ports if (m := re.match(r"(\w+)_(?:aw|ar)valid$", p))}
    return found | {m[1] for p in ports if (m := re.match(r"(\w+)_tvalid$", p, re.I))}


class FakeVivado:
    """A Tcl interpreter with Vivado's commands. calls: all of them; nets, buses: pairs that were connected."""

    def __init__(self, root: Path, ends: str = "ok", boards: bool = True) -> None:
        self.root, self.ends, self.boards = root, ends, boards
        self.calls: list[tuple[str, ...]] = []
        self.cells: dict[str, tuple[set[str], set[str], str]] = {}
        self.cores: dict[str, tuple[set[str], set[str]]] = {}
        self.nets: list[tuple[str, str]] = []
        self.buses: list[tuple[str, str]] = []
        self.values: dict[str, dict[str, str]] = {}
        self.files: list[Path] = []
        self.objects: dict[str, str] = {}
        self.tcl = tkinter.Tcl()
        self.tcl.eval("namespace eval ipx {}")
        self.tcl.createcommand("_python", self._call)
        for name in COMMANDS:
            self.tcl.eval(f"proc {name} {{args}} {{ lassign [_python {name} {{*}}$args] bad value;"
                          " if {$bad} {error $value}; return $value }")

    def source(self, script: Path) -> None:
        """Evaluate a script; raises tkinter.TclError where Vivado would end with an error."""
        self.tcl.eval(f"source {{{script}}}")

    def _call(self, name: str, *args: str) -> tuple[int, str]:
        self.calls.append((name, *args))
        try:
            with_value, without, least, most = COMMANDS[name]
            options: dict[str, str] = {}
            rest: list[str] = []
            todo = list(args)
            while todo:
                a = todo.pop(0)
                if a in with_value:
                    options[a] = todo.pop(0)
                elif a in without:
                    options[a] = ""
                elif re.match(r"-[a-z]", a):
                    raise Refused(f"{name}: unknown option {a}")
                else:
                    rest.append(a)
            if not least <= len(rest) <= most:
                raise Refused(f"{name}: {len(rest)} arguments")
            method = getattr(self, "do_" + name.replace("::", "_"), None)
            return 0, (method(options, *rest) if method else None) or ""
        except Refused as e:
            return 1, str(e)

    def split(self, text: str) -> tuple[str, ...]:
        return tuple(self.tcl.splitlist(text))

    def new(self, kind: str, name: str) -> str:
        handle = f"{kind}:{name}"
        self.objects[handle] = kind
        return handle

    # ---- projects and files
    def do_create_project(self, o, _name, folder="."):
        if o.get("-part") not in PARTS:
            raise Refused(f"part {o.get('-part')} is not installed")
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.files, self.project = [], Path(folder)

    def do_current_project(self, o):
        return self.new("project", "current")

    def do_current_fileset(self, o):
        return self.new("fileset", "sources_1")

    def do_add_files(self, o, f):
        if not Path(f).is_file():
            raise Refused(f"there is no file {f}")
        self.files.append(Path(f))

    def do_get_board_parts(self, o, pattern):
        return pattern.replace("*", "part0:1.0") if self.boards else ""

    def do_set_property(self, o, *rest):
        handle = rest[-1]
        kind = self.objects.get(handle)
        if kind is None:
            raise Refused(f"set_property: no object {handle}")
        pairs = list(self.split(o["-dict"])) if "-dict" in o else list(rest[:2])
        for key, value in zip(pairs[::2], pairs[1::2]):
            if kind == "cell":
                prefix = self.cells[handle.removeprefix("cell:")][2]
                if not prefix or not key.startswith("CONFIG." + prefix):
                    raise Refused(f"{handle} has no property {key}")
            elif key not in PROPERTIES[kind]:
                raise Refused(f"{handle} has no property {key}")
            self.values.setdefault(handle, {})[key] = value

    def do_get_property(self, o, key, handle):
        if handle not in self.objects:
            raise Refused(f"get_property: no object {handle}")
        if self.objects[handle] == "run":
            bad = self.ends == "error" and handle == "run:impl_1"
            return {"PROGRESS": "40%" if bad else "100%", "STATUS": "route_design ERROR" if bad else "complete",
                    "DIRECTORY": str(self.project)}[key]
        if key in ACTUAL and handle == f"cell:{ACTUAL[key][0]}":  # a board whose PLL has a divider for every clock
            return "187.498" if self.ends == "clock" else self.values[handle][ACTUAL[key][1]]
        if key != "name":
            raise Refused(f"{handle} has no property {key}")
        return handle.split(":", 1)[1]

    # ---- packager
    def do_ipx_package_project(self, o):
        top = self.values["fileset:sources_1"]["top"]
        self.ports = verilog_ports(self.files, top)
        self.vlnv = [o["-vendor"], o["-library"]]
        Path(o["-root_dir"]).mkdir(parents=True)
        self.new("map", "automatic")

    def do_ipx_current_core(self, o):
        return self.new("core", "current")

    def do_ipx_get_bus_interfaces(self, o, name):
        self.of_core(o["-of_objects"])
        if name in interfaces(self.ports):
            return self.new("bus", name)
        if "-quiet" not in o:
            raise Refused(f"no interface {name}")

    def of_core(self, handle):
        if self.objects.get(handle) != "core":
            raise Refused(f"{handle} is no core")

    def do_ipx_associate_bus_interfaces(self, o, core):
        self.of_core(core)
        if "-busif" in o and o["-busif"] not in interfaces(self.ports):
            raise Refused(f"no interface {o['-busif']}")
        for port in (o.get("-clock"), o.get("-reset")):
            if port is not None and port not in self.ports:
                raise Refused(f"no port {port}")

    def do_ipx_get_memory_maps(self, o, *_):
        self.of_core(o["-of_objects"])
        return "map:automatic"

    def do_ipx_remove_memory_map(self, o, name, core):
        if name != "automatic":
            raise Refused(f"no memory map {name}")

    def _child(kind, parent):
        def add(self, o, name, above):
            if self.objects.get(above) != parent:
                raise Refused(f"{above} is no {parent}")
            return self.new(kind, f"{above}/{name}")

        return add

    do_ipx_add_memory_map = _child("map", "core")
    do_ipx_add_address_block = _child("block", "map")
    do_ipx_add_register = _child("register", "block")
    do_ipx_add_field = _child("field", "register")
    do_ipx_add_user_parameter = _child("parameter", "core")
    do_ipx_add_bus_parameter = _child("busparameter", "bus")

    def do_ipx_get_ports(self, o, name):
        self.of_core(o["-of_objects"])
        if name not in self.ports:
            raise Refused(f"no port {name}")
        return self.new("port", name)

    def do_ipx_save_core(self, o, core):
        v = self.values["core:current"]
        self.cores[":".join([*self.vlnv, v["name"], v["version"]])] = (self.ports, interfaces(self.ports))

    # ---- block design
    def do_create_bd_cell(self, o, name):
        if o["-vlnv"] in self.cores:
            self.cells[name] = (*self.cores[o["-vlnv"]], "")
        elif o["-vlnv"].removeprefix("xilinx.com:ip:") in IP:
            self.cells[name] = IP[o["-vlnv"].removeprefix("xilinx.com:ip:")]
        else:
            raise Refused(f"no IP {o['-vlnv']} in the catalog")
        return self.new("cell", name)

    def do_get_bd_cells(self, o, name):
        if name not in self.cells:
            raise Refused(f"no cell {name}")
        return f"cell:{name}"

    def _pin(index):
        def get(self, o, path):
            cell, _, pin = path.partition("/")
            if cell not in self.cells or pin not in self.cells[cell][index]:
                raise Refused(f"no {'interface' if index else 'pin'} {path}")
            return path

        return get

    do_get_bd_pins, do_get_bd_intf_pins = _pin(0), _pin(1)

    def do_apply_bd_automation(self, o, handle):
        if handle not in self.objects or o["-rule"].rsplit(":", 1)[1] not in IP:
            raise Refused(f"no rule {o['-rule']} for {handle}")

    def do_connect_bd_net(self, o, a, b):
        self.nets.append((a, b))

    def do_connect_bd_intf_net(self, o, a, b):
        self.buses.append((a, b))

    def do_get_bd_addr_segs(self, o, path):
        cell, bus, block = path.split("/")
        if bus not in self.cells[cell][1] or block != "reg0":
            raise Refused(f"no segment {path}")
        return path

    def do_get_bd_addr_spaces(self, o, path):
        if path.split("/")[0] not in self.cells:
            raise Refused(f"no address space {path}")
        return path

    def do_get_files(self, o, name):
        return self.new("file", name)

    def do_generate_target(self, o, what, handle):
        if self.ends != "no_hwh":
            at = self.project / "bhvit.gen/sources_1/bd/bhvit/hw_handoff"
            at.mkdir(parents=True, exist_ok=True)
            (at / "bhvit.hwh").write_text("<EDKSYSTEM/>")

    def do_make_wrapper(self, o):
        wrapper = self.project / "bhvit_wrapper.v"
        wrapper.write_text("module bhvit_wrapper; endmodule\n")
        return str(wrapper)

    # ---- runs and reports
    def do_get_runs(self, o, name):
        if name not in ("synth_1", "impl_1"):
            raise Refused(f"no run {name}")
        return self.new("run", name)

    def do_launch_runs(self, o, name):
        log = self.project / "bhvit.runs" / f"bhvit_{name}" / "runme.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("CRITICAL WARNING: [Synth 8-4445] could not open $readmem data file 'a.mem'; please ..."
                       if self.ends == "memory" else "all is well\n")
        if o.get("-to_step") == "write_bitstream":
            (self.project / "bhvit_wrapper.bit").write_bytes(b"FAKE\n")

    def _report(sample):
        def write(self, o):
            name = "hierarchy" if "-hierarchical" in o else sample
            if name == "timing" and self.ends == "timing":
                name = "timing_failed"
            if not (name == "power" and self.ends == "no_report"):
                Path(o["-file"]).write_text((SAMPLES / f"{name}.rpt").read_text())

        return write

    do_report_timing_summary, do_report_utilization, do_report_power = map(_report, ("timing", "utilization", "power"))

    def do_version(self, o):
        return "2024.2"


def main() -> int:
    script = Path(sys.argv[sys.argv.index("-source") + 1])
    try:
        FakeVivado(Path.cwd(), os.environ.get("FAKE_VIVADO", "ok")).source(script.resolve())
    except tkinter.TclError as e:
        print(f"ERROR: [Fake 1-1] {e}")
        return 1
    print("BHVIT DONE bhvit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
